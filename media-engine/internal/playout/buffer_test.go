package playout

import (
	"math/rand/v2"
	"testing"

	"github.com/trunkline/trunkline/media-engine/internal/codec"
)

const depth = 320 // 40 ms

// packet n of a steady 20 ms stream, whose codes are all n+1.
func packet(n int) Packet {
	codes := make([]codec.Code, 160)
	for i := range codes {
		codes[i] = codec.Code(n + 1)
	}
	return Packet{SSRC: 7, Sequence: uint16(65530 + n), Timestamp: uint32(4294967000 + 160*n), Codes: codes}
}

// hear pulls so many samples.
func hear(b *Buffer, samples int) []codec.Code {
	out := make([]codec.Code, samples)
	b.Pull(out)
	return out
}

func TestFirstPacketIsHeardFortyMillisecondsAfterItArrived(t *testing.T) {
	b := New(depth)
	b.Push(packet(0), 1000)
	out := hear(b, 2000)
	for i, sample := range out {
		if want := i >= 1320 && i < 1480; (sample != 0) != want {
			t.Fatalf("sample %d is %d", i, sample)
		}
	}
}

func TestJitterAndReorderingWithinTheDepthAreNotHeard(t *testing.T) {
	b := New(depth)
	for _, arrival := range []struct{ n, at int }{{0, 0}, {2, 161}, {1, 470}, {3, 790}, {4, 900}, {5, 900}} {
		b.Push(packet(arrival.n), int64(arrival.at))
	}
	for i, sample := range hear(b, 320+6*160)[320:] {
		if sample != codec.Code(i/160+1) {
			t.Fatalf("sample %d is %d", i, sample)
		}
	}
	if b.Stats.Late != 0 || b.Stats.Lost() != 0 || b.Stats.Received != 6 || b.Stats.Resyncs != 0 {
		t.Errorf("%+v", b.Stats)
	}
}

func TestLatePacketIsDroppedAndMissingOneIsSilence(t *testing.T) {
	b := New(depth)
	b.Push(packet(0), 0)
	b.Push(packet(1), 320+160+1) // one sample after its playout
	b.Push(packet(3), 480)
	out := hear(b, 320+4*160)
	for i, sample := range out[480:800] {
		if sample != 0 {
			t.Fatalf("sample %d is %d, not concealed", 480+i, sample)
		}
	}
	if out[320+3*160] != 4 || b.Stats.Late != 1 || b.Stats.Lost() != 1 {
		t.Errorf("%d, %+v, lost %d", out[800], b.Stats, b.Stats.Lost())
	}
}

func TestDuplicatesAreCountedOnce(t *testing.T) {
	b := New(depth)
	for range 3 {
		b.Push(packet(0), 0)
	}
	if b.Stats.Duplicate != 2 || b.Stats.Lost() != 0 || b.Stats.Received != 3 {
		t.Errorf("%+v", b.Stats)
	}
}

func TestASenderWhoseTimeStoodStillInAPauseIsHeardInTime(t *testing.T) {
	b := New(depth)
	b.Push(packet(0), 0)
	hear(b, 16000)
	b.Push(packet(1), 16000) // its timestamp says 160
	out := hear(b, 1000)
	if out[319] != 0 || out[320] != 2 || b.Stats.Resyncs != 1 || b.Stats.Late != 0 {
		t.Errorf("%v, %+v", out[310:330], b.Stats)
	}
}

func TestASenderWhoseTimeWentOnInAPauseKeepsItsTimeline(t *testing.T) {
	b := New(depth)
	b.Push(packet(0), 0)
	hear(b, 16000)
	b.Push(packet(100), 16030) // 30 samples of jitter
	out := hear(b, 1000)
	if out[319] != 0 || out[320] != 101 || b.Stats.Resyncs != 0 {
		t.Errorf("%+v", b.Stats)
	}
}

func TestAJumpInTimeIsFollowedAfterFourPackets(t *testing.T) {
	b := New(depth)
	b.Push(packet(0), 0)
	at := int64(160)
	for n := 1; n <= 6; n++ {
		p := packet(n)
		p.Timestamp += 1 << 30
		b.Push(p, at)
		hear(b, 160)
		at += 160
	}
	if b.Stats.Resyncs != 1 || b.Stats.Late != 3 {
		t.Errorf("%+v", b.Stats)
	}
	if out := hear(b, 480); out[479] == 0 {
		t.Error("nothing is heard after the jump")
	}
}

func TestAnotherSourceTakesOverOnlyIfItLasts(t *testing.T) {
	b := New(depth)
	b.Push(packet(0), 0)
	stray := packet(1)
	stray.SSRC, stray.Sequence = 99, 5
	b.Push(stray, 160)
	b.Push(packet(1), 160)
	if b.Stats.Resyncs != 0 || b.Stats.Lost() != 0 {
		t.Fatalf("one stray packet: %+v", b.Stats)
	}
	for n := range 5 {
		other := packet(2 + n)
		other.SSRC, other.Sequence = 99, uint16(100+n)
		b.Push(other, int64(320+160*n))
	}
	if b.Stats.Resyncs != 1 || b.ssrc != 99 || b.Stats.Lost() != 0 {
		t.Errorf("%+v, lost %d", b.Stats, b.Stats.Lost())
	}
}

func TestDepthIsRestoredWhenTheFirstPacketWasSlow(t *testing.T) {
	b := New(depth)
	b.Push(packet(0), 400) // 50 ms slower than all others
	for n := 1; n < 120; n++ {
		b.Push(packet(n), int64(160*n))
		if n > 2 {
			hear(b, 160)
		}
	}
	if b.Stats.Resyncs != 1 || b.offset+int64(packet(0).Timestamp) != depth {
		t.Errorf("offset %d, %+v", b.offset+int64(packet(0).Timestamp), b.Stats)
	}
}

func TestNothingAPeerSendsCanHarm(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	b := New(depth)
	now := int64(0)
	for range 20000 {
		b.Push(Packet{SSRC: random.Uint32N(3), Sequence: uint16(random.Uint32()), Timestamp: random.Uint32(), Codes: make([]codec.Code, random.IntN(1400))}, now)
		if random.IntN(3) == 0 {
			hear(b, 160)
			now += 160
		}
	}
	if b.Stats.Lost() < 0 {
		t.Errorf("%+v", b.Stats)
	}
}

func FuzzBuffer(f *testing.F) {
	f.Add([]byte{0, 1, 0, 0, 0, 5, 160})
	f.Add([]byte{255, 255, 255, 255, 255, 255, 255, 1, 2, 3, 4, 5, 6, 7})
	f.Fuzz(func(t *testing.T, script []byte) {
		b := New(depth)
		now := int64(0)
		for ; len(script) >= 7; script = script[7:] {
			p := Packet{SSRC: uint32(script[0] & 1), Sequence: uint16(script[1]) << 8, Codes: make([]codec.Code, script[6])}
			p.Timestamp = uint32(script[2])<<24 | uint32(script[3])<<16 | uint32(script[4])<<8
			now += int64(script[5])
			b.Push(p, now)
			hear(b, 80)
		}
		if b.Stats.Lost() < 0 || b.Stats.Late > b.Stats.Received {
			t.Fatalf("%+v", b.Stats)
		}
	})
}
