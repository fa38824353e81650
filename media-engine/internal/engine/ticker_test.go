package engine

import (
	"testing"

	"github.com/trunkline/trunkline/media-engine/internal/opus"
)

func TestLegsSpeakSpreadOverTheTick(t *testing.T) {
	driven := &ticker{engine: &Engine{}, slot: slots}
	var rooms []*fakeRoom
	all := map[uint32]*leg{}
	for number := range uint32(2 * slots) {
		l, r := speaker(t, "")
		l.number = number * slotLegs
		l.mouth.play(1, tone(10*opus.FrameSamples))
		all[number], rooms = l, append(rooms, r)
	}
	driven.set(all)
	const ticks = 3
	for slot := range int64(ticks * slots) {
		driven.turn(slot * slotUs)
		driven.slot++
		for number, r := range rooms {
			due := slot / slots
			if int64(number)%slots <= slot%slots {
				due++
			}
			if sent := int64(len(r.packets)); sent != due {
				t.Fatalf("leg %d has sent %d packets by slot %d, not %d", number, sent, slot, due)
			}
		}
	}
	for number, r := range rooms {
		for i, packet := range r.packets[1:] {
			if step := packet.Timestamp - r.packets[i].Timestamp; step != rtpFrameTime {
				t.Fatalf("leg %d: RTP time moved by %d", number, step)
			}
		}
	}
}

func TestALegThatIsHealedSpeaksOnceInATick(t *testing.T) {
	l, r := speaker(t, `{"sent": {"loss": 0.000001}}`)
	l.number = 1
	l.mouth.play(1, tone(10*opus.FrameSamples))
	l.hear(5, 0)
	sent := len(r.packets)
	l.heal()
	l.speak(5)
	if len(r.packets) != sent {
		t.Fatal("two packets for the same 20 ms")
	}
	l.speak(6)
	if len(r.packets) != sent+1 {
		t.Fatal("it has gone silent")
	}
}

func TestSlotsInWhichNobodySpeaksAreLeftOut(t *testing.T) {
	driven := &ticker{engine: &Engine{}, slot: slots}
	a, _ := speaker(t, "")
	b, _ := speaker(t, "")
	a.number, b.number = slotLegs-1, 2*slotLegs
	driven.set(map[uint32]*leg{1: a, 2: b})
	for slot, want := range []bool{false, true, false, true} {
		driven.slot = slots + int64(slot)
		if driven.empty() != want {
			t.Errorf("slot %d: empty is %v", slot, !want)
		}
	}
}
