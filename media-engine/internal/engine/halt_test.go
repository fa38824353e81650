package engine

import (
	"testing"
	"time"

	"github.com/pion/rtp"

	"github.com/trunkline/trunkline/media-engine/internal/mediapb"
	"github.com/trunkline/trunkline/media-engine/internal/opus"
)

// steepest is the tone's own largest step from one sample to the next, and half of it more for the codec.
const steepest = 1415 * 3 / 2

// played is what was sent so far, as packets and as the sound that a receiver makes of them.
func (r *fakeRoom) played(t *testing.T) ([]rtp.Packet, []int16) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	decoder, err := opus.NewDecoder()
	if err != nil {
		t.Fatal(err)
	}
	var sound []int16
	for _, packet := range r.packets {
		frame := make([]int16, opus.FrameSamples)
		if _, err := decoder.Decode(packet.Payload, frame); err != nil {
			t.Fatal(err)
		}
		sound = append(sound, frame...)
	}
	return append([]rtp.Packet(nil), r.packets...), sound
}

func checkNoClick(t *testing.T, sound []int16) {
	t.Helper()
	// The tone itself begins without a fade.
	for i := opus.FrameSamples + 1; i < len(sound); i++ {
		if step := int(sound[i]) - int(sound[i-1]); step > steepest || step < -steepest {
			t.Fatalf("a step of %d in packet %d", step, i/opus.FrameSamples)
		}
	}
}

func checkEndsSilent(t *testing.T, sound []int16) {
	t.Helper()
	for _, sample := range sound[len(sound)-opus.FrameSamples/10:] {
		if sample > 300 || sample < -300 {
			t.Fatalf("the last packet ends with %v", sound[len(sound)-opus.FrameSamples/10:])
		}
	}
}

func TestPauseAndFlushAreSilentOnePacketLater(t *testing.T) {
	w, r := joined(t, func(r *fakeRoom) { r.isReady = true })
	w.tell(1, publish())
	for i, halt := range []func() *mediapb.Command{pause, flush} {
		w.tell(1, saying(uint32(i+1), tone(16000)))
		w.until(1, "first_packet")
		time.Sleep(100 * time.Millisecond)
		began := len(r.packetsSent())
		w.tell(1, halt())
		sent := w.until(1, "halted").GetHalted().GetSamples()
		time.Sleep(100 * time.Millisecond)
		packets, sound := r.played(t)
		checkNoClick(t, sound)
		checkEndsSilent(t, sound)
		// Between our count and the halt one may have gone out; after it only the fade, and silence.
		if late := len(packets) - began; late > 4 {
			t.Fatalf("%d packets after the halt", late)
		}
		if i > 0 {
			continue
		}
		if after := len(packets) - int(sent)/opus.FrameSamples; after != 1+hushFrames {
			t.Fatalf("%d packets of fade and silence", after)
		}
		w.tell(1, resume())
		w.tell(1, end(1))
		if sent := w.until(1, "last_packet").GetLastPacket().GetSamples(); sent != 16000 {
			t.Fatalf("%d samples of 16000 were sent", sent)
		}
		_, sound = r.played(t)
		checkNoClick(t, sound)
	}
}

func (r *fakeRoom) packetsSent() []rtp.Packet {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.packets
}

func TestAReceiverHasNothingToGuessAfterTheLastPacket(t *testing.T) {
	w, r := joined(t, func(r *fakeRoom) { r.isReady = true })
	w.tell(1, publish())
	for i, stop := range []func(uint32) *mediapb.Command{end, func(uint32) *mediapb.Command { return flush() }} {
		w.tell(1, saying(uint32(i+1), tone(8000)))
		w.until(1, "first_packet")
		w.tell(1, stop(uint32(i+1)))
		time.Sleep(700 * time.Millisecond)
		decoder, err := opus.NewDecoder()
		if err != nil {
			t.Fatal(err)
		}
		frame := make([]int16, opus.FrameSamples)
		for _, packet := range r.packetsSent() {
			if _, err := decoder.Decode(packet.Payload, frame); err != nil {
				t.Fatal(err)
			}
		}
		if err := decoder.Conceal(frame); err != nil {
			t.Fatal(err)
		}
		// Without the silence the guess is 7,000 loud.
		for _, sample := range frame {
			if sample > 100 || sample < -100 {
				t.Fatalf("%d: a guess of %d after the end", i, sample)
			}
		}
	}
}
