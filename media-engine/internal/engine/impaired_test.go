package engine

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtp"

	"github.com/trunkline/trunkline/media-engine/internal/impair"
	"github.com/trunkline/trunkline/media-engine/internal/jitter"
	"github.com/trunkline/trunkline/media-engine/internal/mediapb"
	"github.com/trunkline/trunkline/media-engine/internal/opus"
)

func impaired(config string) *mediapb.Command {
	return &mediapb.Command{Do: &mediapb.Command_Impair{Impair: &mediapb.Impair{Config: config}}}
}

// speaker is a leg that nothing drives but the test.
func speaker(t testing.TB, config string) (*leg, *fakeRoom) {
	t.Helper()
	r := &fakeRoom{isReady: true}
	l := newLeg(1, func(roomListener) room { return r }, jitter.Config{}, shortLimits, func(*mediapb.Event) {}, func(*leg) {})
	if err := l.mouth.start(); err != nil {
		t.Fatal(err)
	}
	if config != "" {
		if why := l.impair(&mediapb.Impair{Config: config}); why != "" {
			t.Fatal(why)
		}
	}
	return l, r
}

// say speaks noise for so many ticks, in no time.
func say(l *leg, ticks int) {
	random := rand.New(rand.NewPCG(1, 1))
	pcm := make([]int16, ticks*opus.FrameSamples)
	for i := range pcm {
		pcm[i] = int16(random.IntN(8000) - 4000)
	}
	l.mouth.play(1, pcm)
	for number := range int64(ticks) {
		l.tick(number+1, (number+1)*tickUs)
	}
}

// numbers are how far the packets are behind the first that could have come.
func (r *fakeRoom) numbers(first uint16) (numbers []int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, packet := range r.packets {
		numbers = append(numbers, int(packet.SequenceNumber-first))
	}
	return numbers
}

// tick is a whole tick, as the ticker makes it.
func (l *leg) tick(number, dueUs int64) *mediapb.Frame {
	frame := l.hear(number, dueUs)
	if l.slot() != 0 {
		l.speak(number)
	}
	return frame
}

func TestTheSamePacketsAreLostWithTheSameSeed(t *testing.T) {
	const ticks = 500
	run := func(config string) []int {
		l, r := speaker(t, config)
		first := l.mouth.packet.SequenceNumber
		say(l, ticks)
		if l.mouth.packets() != ticks {
			t.Fatalf("%d were sent", l.mouth.packets())
		}
		return r.numbers(first)
	}
	const text = `{"seed": 7, "sent": {"loss": 0.05, "burst": 3}}`
	came := run(text)
	config, _ := impair.Parse([]byte(text))
	link := impair.NewSent[int](config)
	var want []int
	for number := range ticks {
		if link.Push(number, 0) {
			want = append(want, number)
		}
	}
	if !slices.Equal(came, want) || !slices.Equal(came, run(text)) || len(came) == ticks {
		t.Errorf("%d came, want those %d of each run with this seed", len(came), len(want))
	}
	if slices.Equal(came, run(strings.Replace(text, "7", "8", 1))) {
		t.Error("the same ones came with another seed")
	}
}

func TestPacketsComeLateInAnotherOrderAndTwice(t *testing.T) {
	const ticks = 60
	clean, want := speaker(t, "")
	say(clean, ticks)
	l, r := speaker(t, `{"seed": 3, "sent": {"jitter_ms": 40, "reorder": 0.2, "duplicate": 0.2}}`)
	first := l.mouth.packet.SequenceNumber
	say(l, ticks)
	waitFor(t, "all packets", func() bool {
		l.mouth.impaired.out.mu.Lock()
		defer l.mouth.impaired.out.mu.Unlock()
		_, more := l.mouth.impaired.out.link.NextUs()
		return !more
	})
	numbers := r.numbers(first)
	stats := l.mouth.impaired.out.link.Stats()
	if stats.Duplicated == 0 || stats.Reordered == 0 || len(numbers) != ticks+int(stats.Duplicated) {
		t.Errorf("%d came, %+v", len(numbers), stats)
	}
	if slices.IsSorted(numbers) {
		t.Error("all came in order")
	}
	for i, number := range numbers {
		packet, plain := r.packets[i], want.packets[number]
		if !bytes.Equal(packet.Payload, plain.Payload) || packet.Timestamp-r.packets[0].Timestamp != uint32(number-numbers[0])*rtpFrameTime {
			t.Fatalf("packet %d is not what was sent", number)
		}
	}
}

func TestWhatIsUnderWayIsDroppedWithTheLeg(t *testing.T) {
	l, r := speaker(t, `{"sent": {"delay_ms": 30}}`)
	say(l, 3)
	line := l.mouth.impaired.out
	l.heal()
	time.Sleep(60 * time.Millisecond)
	line.mu.Lock()
	line.release()
	line.mu.Unlock()
	if came := r.numbers(0); len(came) > 0 {
		t.Errorf("%d packets came after the end", len(came))
	}
	l.mouth.play(2, tone(opus.FrameSamples))
	l.mouth.end(1)
	for number := range int64(3) {
		l.tick(number+10, 0)
	}
	// Silence ends what was said before, and what is said now.
	if came := r.numbers(0); len(came) != 3 {
		t.Errorf("%d packets of a leg that is well again", len(came))
	}
}

func TestNoiseGoesOnWhileNothingIsSaidExceptInSilence(t *testing.T) {
	l, r := speaker(t, `{"seed": 1, "sound": {"noise": {"kind": "white", "level_dbov": -40},
		"silence": {"every_ms": 500, "lasts_ms": 200}}}`)
	for number := range int64(400) {
		l.tick(number+1, 0)
	}
	pauses := 0
	for i, packet := range r.packets[1:] {
		step := packet.Timestamp - r.packets[i].Timestamp
		if packet.SequenceNumber-r.packets[i].SequenceNumber != 1 || step != rtpFrameTime && step != 11*rtpFrameTime {
			t.Fatalf("packet %d: %d after the one before", i+1, step)
		}
		if step > rtpFrameTime {
			pauses++
		}
		if packet.Marker != (step > rtpFrameTime) {
			t.Fatalf("packet %d: marker %v", i+1, packet.Marker)
		}
	}
	if pauses < 3 || len(r.packets) > 400-10*pauses {
		t.Errorf("%d packets, %d pauses", len(r.packets), pauses)
	}
}

func TestEchoOfWhatIsHeardIsSent(t *testing.T) {
	const delayMs, gainDb, ticks = 120, -12.0, 200
	l, r := speaker(t, `{"sound": {"echo": {"delay_ms": 120, "gain_db": -12}}}`)
	heard := siren(ticks * opus.FrameSamples)
	for number := range int64(ticks) {
		pcm := make([]byte, 0, frameBytes)
		for _, sample := range heard[number*opus.FrameSamples : (number+1)*opus.FrameSamples] {
			pcm = binary.LittleEndian.AppendUint16(pcm, uint16(sample))
		}
		l.mouth.hear(&mediapb.Frame{Pcm: pcm})
		l.mouth.tick(number+1, r)
	}
	decoder, err := opus.NewDecoder()
	if err != nil {
		t.Fatal(err)
	}
	sent := make([]int16, ticks*opus.FrameSamples)
	first := r.packets[0].Timestamp
	begun := ticks - len(r.packets)
	for _, packet := range r.packets {
		at := begun*opus.FrameSamples + int(packet.Timestamp-first)/3
		if _, err := decoder.Decode(packet.Payload, sent[at:]); err != nil && at+opus.FrameSamples <= len(sent) {
			t.Fatal(err)
		}
	}
	lag, gain := echoIn(heard, sent, opus.RateHz/5)
	if lagMs := float64(lag) * 1000 / opus.RateHz; lagMs < delayMs || lagMs > delayMs+10 {
		t.Errorf("the echo is %.1f ms late, want %d and what the codec takes", lagMs, delayMs)
	}
	if gain < gainDb-1.5 || gain > gainDb+1.5 {
		t.Errorf("the echo is at %.1f dB, want %g", gain, gainDb)
	}
}

// siren is a sound that correlates with itself only where it is the same, and that a codec keeps.
func siren(samples int) []int16 {
	pcm := make([]int16, samples)
	phase := 0.0
	for i := range pcm {
		phase += 2 * math.Pi * (700 + 400*math.Sin(2*math.Pi*1.3*float64(i)/opus.RateHz)) / opus.RateHz
		pcm[i] = int16(8000 * math.Sin(phase))
	}
	return pcm
}

// echoIn finds one sound in another, by correlation: how many samples late, and how loud in dB.
func echoIn(of, in []int16, mostLag int) (lag int, gainDb float64) {
	const second = opus.RateHz
	best := 0.0
	for late := range mostLag {
		sum := 0.0
		for i, sample := range of[second : 2*second] {
			sum += float64(sample) * float64(in[second+i+late])
		}
		if sum > best {
			best, lag = sum, late
		}
	}
	return lag, 10 * math.Log10(power(in[second+lag:2*second+lag])/power(of[second:2*second]))
}

func power(samples []int16) (sum float64) {
	for _, sample := range samples {
		sum += float64(sample) * float64(sample)
	}
	return sum
}

func TestACallersClockDrifts(t *testing.T) {
	for _, each := range []struct{ ppm, frames int }{{10_000, 1010}, {-10_000, 990}} {
		config := `{"sound": {"drift_ppm": 10000, "noise": {"kind": "hum", "level_dbov": -40}}}`
		if each.ppm < 0 {
			config = strings.Replace(config, "10000", "-10000", 1)
		}
		l, r := speaker(t, config)
		l.mouth.impaired.out.link = impair.NewSent[*rtp.Packet](impair.Config{})
		for number := range int64(1000) {
			l.tick(number+1, 0)
		}
		if sent := int(l.mouth.packets()); sent < each.frames-1 || sent > each.frames+1 {
			t.Errorf("%d ppm: %d frames in 1000 ticks", each.ppm, sent)
		}
		var dueUs []int64
		b := l.mouth.impaired
		for b.frames = range int64(1000) {
			dueUs = append(dueUs, b.sentUs())
		}
		if took := dueUs[999] - dueUs[0]; math.Abs(float64(took)-999*20_000/(1+float64(each.ppm)/1e6)) > 2 {
			t.Errorf("%d ppm: 1000 frames in %d us", each.ppm, took)
		}
		_ = r
	}
}

func TestAfterAStandstillTheClockDoesNotCatchUp(t *testing.T) {
	l, r := speaker(t, `{"sound": {"noise": {"kind": "hum", "level_dbov": -40}}}`)
	for _, number := range []int64{1, 2, 3, 500, 501} {
		l.tick(number, 0)
	}
	var steps []uint32
	for i, packet := range r.packets[1:] {
		steps = append(steps, (packet.Timestamp-r.packets[i].Timestamp)/rtpFrameTime)
	}
	if !slices.Equal(steps, []uint32{1, 1, 497, 1}) {
		t.Errorf("steps of %v frames", steps)
	}
}

func TestPacketsAreLostBeforeTheJitterBuffer(t *testing.T) {
	const packets = 400
	const text = `{"seed": 5, "received": {"loss": 0.1, "burst": 2, "duplicate": 0.1, "jitter_ms": 40}}`
	config, _ := impair.Parse([]byte(text))
	link := impair.NewReceived[int](config)
	for i := range packets {
		link.Push(i, int64(i)*tickUs)
	}
	want := link.Stats()
	l, _ := speaker(t, text)
	audio := make(fakeTrack)
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.ear.follow(audio)
	}()
	for i := range packets {
		packet, err := (&rtp.Packet{
			Header:  rtp.Header{Version: 2, SequenceNumber: uint16(i), Timestamp: uint32(i) * rtpFrameTime},
			Payload: []byte{0x48, 0x80, byte(i)},
		}).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		audio <- packet
		if i%50 == 49 {
			l.ear.tick(math.MaxInt64 / 2)
		}
	}
	close(audio)
	<-done
	l.ear.tick(math.MaxInt64 / 2)
	stats := l.ear.stats()
	if stats.Received != want.Pushed-want.Lost+want.Duplicated || stats.Duplicate == 0 {
		t.Errorf("%+v, want what comes of %+v", stats, want)
	}
}

func TestImpairmentsThatMakeNoSenseAreRefused(t *testing.T) {
	w, _ := joined(t, nil)
	for config, why := range map[string]string{
		`{"sent": {"loss": 2}}`: "impairments: sent.loss: 2 is not between 0 and 1",
		`{"loss": 2}`:           `impairments: json: unknown field "loss"`,
		``:                      "impairments: EOF",
	} {
		w.tell(1, impaired(config))
		if told := w.until(1, "refused").GetRefused().GetWhy(); told != why {
			t.Errorf("%s: %q", config, told)
		}
	}
}

// silentRoom takes packets and forgets them.
type silentRoom struct{ *fakeRoom }

func (silentRoom) send(*rtp.Packet) error { return nil }
func (silentRoom) ready() bool            { return true }

func TestALegThatIsNotImpairedAllocatesNothingForIt(t *testing.T) {
	l, r := speaker(t, "")
	l.room = silentRoom{r}
	l.mouth.play(1, siren(60*opus.RateHz))
	number := int64(1)
	if allocated := testing.AllocsPerRun(1000, func() {
		l.tick(number, number*tickUs)
		number++
	}); allocated != 0 {
		t.Errorf("%.1f allocations a tick", allocated)
	}
}

func BenchmarkTick(b *testing.B) {
	for name, config := range map[string]string{
		"agent":  "",
		"caller": `{"sent": {"loss": 0.05, "burst": 3}, "sound": {"echo": {"delay_ms": 100}, "noise": {"kind": "pink", "level_dbov": -50}}}`,
	} {
		b.Run(name, func(b *testing.B) {
			l, r := speaker(b, config)
			l.room = silentRoom{r}
			if l.mouth.impaired != nil {
				l.mouth.impaired.out.room = l.room
			}
			pcm := siren(10 * opus.RateHz)
			for number := range int64(b.N) {
				if number%500 == 0 {
					l.mouth.play(1, pcm)
				}
				l.tick(number+1, (number+1)*tickUs)
			}
		})
	}
}
