package jitter

import (
	"fmt"
	"strings"
	"testing"
)

// opus is a packet of a configuration and so many frames; SILK ones carry a copy.
func opus(configuration byte, frames int) []byte {
	switch frames {
	case 1:
		return []byte{configuration << 3, 0xff, 1}
	case 2:
		return []byte{configuration<<3 | 1, 0xff, 1}
	default:
		return []byte{configuration<<3 | 3, byte(frames), 1}
	}
}

// pushed is what a test lets arrive: the number of the packet, its RTP time in ms, when, and what.
type pushed struct {
	number, rtpMs, ms int
	payload           []byte
}

// told pulls every 20 ms from 5 ms on, and tells what came in a letter each; a tick of several pulls joins them.
func told(b *Buffer, untilMs int, packets []pushed) string {
	var ticks []string
	for ms := 5; ms < untilMs; ms += 20 {
		for len(packets) > 0 && packets[0].ms <= ms {
			p := packets[0]
			packets = packets[1:]
			b.Push(uint16(65_534+p.number), uint32(4_294_966_000+48*p.rtpMs), p.payload, int64(p.ms)*1000)
		}
		tick := ""
		for got := 0; got < 20; {
			out := b.Pull(int64(ms) * 1000)
			got += out.Ms
			tick += [...]string{"-", "p", "f", "c", "r"}[out.Kind]
			if out.Ms != 20 {
				tick += fmt.Sprint(out.Ms)
			}
		}
		ticks = append(ticks, tick)
	}
	return strings.Join(ticks, " ")
}

func TestWhatIsHandedOut(t *testing.T) {
	silk, celt, dtx := opus(9, 1), opus(31, 1), []byte{9 << 3}
	for name, each := range map[string]struct {
		packets []pushed
		want    string
		minMs   int
	}{
		"nothing": {want: "- - -"},
		"the end of speech is concealed for three ticks at most": {
			[]pushed{{0, 0, 0, silk}, {1, 20, 20, silk}}, "p p c c c - - -", 0,
		},
		"a pause that was announced is not concealed": {
			[]pushed{{0, 0, 0, silk}, {1, 20, 20, dtx}, {2, 420, 420, dtx}, {3, 440, 440, silk}},
			"p p" + strings.Repeat(" -", 19) + " p p c c c -", 0,
		},
		"a lost packet with nothing behind it, then with the next": {
			[]pushed{{0, 0, 0, silk}, {2, 40, 40, silk}, {3, 60, 60, silk}}, "p c p p c c c", 0,
		},
		"a lost packet whose copy has come in time": {
			[]pushed{{0, 0, 0, silk}, {2, 40, 40, silk}, {3, 60, 60, silk}}, "- p f p p c c c", 40,
		},
		"CELT carries no copy": {
			[]pushed{{0, 0, 0, celt}, {2, 40, 40, celt}, {3, 60, 60, celt}}, "- p c p p c c c", 40,
		},
		"three lost: two guessed, one recovered": {
			[]pushed{{0, 0, 0, silk}, {4, 80, 80, silk}, {5, 100, 100, silk}}, "- p c c f p p c", 40,
		},
		"a long gap is silence": {
			[]pushed{{0, 0, 0, silk}, {10, 200, 200, silk}, {11, 220, 220, silk}}, "p c c c - - - - - - p p c", 0,
		},
		"overtaken": {
			[]pushed{{0, 0, 0, silk}, {2, 40, 40, silk}, {1, 20, 41, silk}, {3, 60, 60, silk}}, "- p p p p c c c", 40,
		},
		"overtaken at the start": {
			[]pushed{{1, 20, 21, silk}, {0, 0, 22, silk}, {2, 40, 41, silk}}, "- p p p c c c", 40,
		},
		"the time after the pause starts between ticks": {
			[]pushed{{0, 0, 0, silk}, {1, 131, 131, silk}, {2, 151, 151, silk}}, "p c c c - - - p p c", 0,
		},
		"packets of 10 ms": {
			[]pushed{{0, 0, 0, opus(8, 1)}, {1, 10, 5, opus(8, 1)}, {2, 20, 15, opus(8, 1)}, {3, 30, 25, opus(8, 1)}},
			"p10p10 p10p10 c10c10 c10-10 - -", 0,
		},
		"packets of 40 ms": {
			[]pushed{{0, 0, 0, opus(10, 1)}, {1, 40, 40, opus(9, 2)}}, "p40 r p40 r c c c -", 0,
		},
		"packets of 60 ms": {
			[]pushed{{0, 0, 0, opus(11, 1)}, {1, 60, 60, opus(11, 1)}}, "p60 r r p60 r r c c c -", 0,
		},
		"packets of 30 ms": {
			[]pushed{{0, 0, 0, opus(8, 3)}, {1, 30, 5, opus(8, 3)}, {2, 60, 60, opus(8, 3)}, {3, 90, 65, opus(8, 3)}},
			"p30 r10p30 r p30 r10p30 r c c c -", 0,
		},
		"a lost packet of 60 ms": {
			[]pushed{{0, 0, 0, opus(11, 1)}, {2, 120, 120, opus(11, 1)}}, "- - - p60 r r f60 r r p60 r r c", 80,
		},
	} {
		t.Run(name, func(t *testing.T) {
			ticks := len(strings.Fields(each.want))
			if got := told(New(Config{MinMs: each.minMs}), ticks*20, each.packets); got != each.want {
				t.Errorf("\n got %s\nwant %s", got, each.want)
			}
		})
	}
}

func TestPaddingAndMalformedPacketsAreNeitherPlayedNorLost(t *testing.T) {
	b := New(Config{})
	told(b, 100, []pushed{
		{0, 0, 0, opus(9, 1)}, {1, 0, 1, nil}, {2, 20, 20, []byte{9<<3 | 3}}, {3, 20, 21, opus(9, 1)}, {4, 40, 40, opus(16, 1)},
	})
	if s := b.Stats(); s.Received != 5 || s.Lost != 0 || s.Late != 0 || s.Concealed == 0 {
		t.Errorf("%+v", s)
	}
}

func TestNoMoreThanFiftyPacketsWait(t *testing.T) {
	b := New(Config{})
	for n := range 500 {
		b.Push(uint16(n), uint32(960*n), voice(n), int64(20_000*n))
	}
	if len(b.waiting) != maxPackets || b.Stats().Late != 450 {
		t.Errorf("%d wait, %+v", len(b.waiting), b.Stats())
	}
	// What waited too long is not played: the delay is right at once.
	if out := b.Pull(499*20_000 + 5_000); out.Kind != Packet || numberOf(out.Payload) != 499 {
		t.Errorf("%+v", out)
	}
}

func TestTheTargetKeepsItsBounds(t *testing.T) {
	for _, each := range []struct {
		config      Config
		quiet, loud int
	}{
		{Config{}, 20, 60},
		{Config{MinMs: 40, MaxMs: 50}, 40, 50},
		{Config{MinMs: 80}, 80, 80},
		{Config{MinMs: -5, MaxMs: 1 << 40}, 20, 422},
	} {
		b := New(each.config)
		if got := b.Stats().TargetMs; got != each.quiet {
			t.Errorf("%+v: %d ms at the start", each.config, got)
		}
		for n := range 100 {
			b.Push(uint16(n), uint32(960*n), voice(n), int64(20_000*n+n%2*400_000))
		}
		if got := b.Stats().TargetMs; got != each.loud {
			t.Errorf("%+v: %d ms", each.config, got)
		}
	}
}

func TestASlowRoadIsLeftSlowly(t *testing.T) {
	b := New(Config{})
	target := 60
	for n := range 1_000 {
		lateUs := 0
		if n < 10 {
			lateUs = n % 2 * 40_000
		}
		b.Push(uint16(n), uint32(960*n), voice(n), int64(20_000*n+lateUs))
		b.Pull(int64(20_000*n + 5_000))
		if n < 10 {
			continue
		}
		now := b.Stats().TargetMs
		if now > target || now < target-1 {
			t.Fatalf("packet %d: from %d to %d ms", n, target, now)
		}
		target = now
	}
	if target != 20 {
		t.Errorf("%d ms at the end", target)
	}
}

func TestAForeignPacketAloneChangesNothing(t *testing.T) {
	b := New(Config{})
	for n := range 50 {
		b.Push(uint16(n), uint32(960*n), voice(n), int64(20_000*n))
		if n == 20 || n == 30 {
			b.Push(uint16(n*1_000), uint32(n)*100_000_000, voice(7), int64(20_000*n))
		}
		if out := b.Pull(int64(20_000*n + 5_000)); out.Kind != Packet || numberOf(out.Payload) != n {
			t.Fatalf("packet %d: %+v", n, out)
		}
	}
	if s := b.Stats(); s.Late != 2 || s.Lost != 0 {
		t.Errorf("%+v", s)
	}
}

func TestTicksThatWereMissedAddNoDelay(t *testing.T) {
	b := New(Config{})
	for n := range 100 {
		b.Push(uint16(n), uint32(960*n), voice(n), int64(20_000*n))
		if n > 20 && n < 30 {
			continue
		}
		if out := b.Pull(int64(20_000*n + 5_000)); out.Kind != Packet || numberOf(out.Payload) != n {
			t.Fatalf("packet %d: %+v", n, out)
		}
	}
}

func TestPushAndPullAllocateNothing(t *testing.T) {
	b, payload, n := New(Config{}), voice(1), 0
	if allocated := testing.AllocsPerRun(1_000, func() {
		b.Push(uint16(n), uint32(960*n), payload, int64(20_000*n))
		b.Pull(int64(20_000*n + 5_000))
		n++
	}); allocated != 0 {
		t.Errorf("%v allocations", allocated)
	}
}

func BenchmarkPushAndPull(bench *testing.B) {
	b, payload, n := New(Config{}), voice(1), 0
	for bench.Loop() {
		b.Push(uint16(n), uint32(960*n), payload, int64(20_000*n+n%7*1_000))
		b.Pull(int64(20_000*n + 9_000))
		n++
	}
}
