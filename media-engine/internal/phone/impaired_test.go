package phone

import (
	"math"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/pion/rtp"

	"github.com/trunkline/trunkline/media-engine/internal/codec"
	"github.com/trunkline/trunkline/media-engine/internal/impair"
	"github.com/trunkline/trunkline/media-engine/internal/pcm"
	"github.com/trunkline/trunkline/media-engine/internal/protocol"
)

// call is an answered one in PCMU with impairments.
func impaired(t *testing.T, config impair.Config) *exchange {
	t.Helper()
	x := newExchange(t)
	x.dial(func(d *protocol.Dial) { d.Impair = config })
	x.answer("0")
	return x
}

func (x *exchange) hangUp() protocol.Stats {
	x.t.Helper()
	x.do(protocol.Hangup{})
	x.reply(x.request(sip.BYE), 200, "OK", "")
	return *x.event("ended").Stats
}

func TestLossOnTheWayOutIsTheSeeds(t *testing.T) {
	var first []uint16
	for range 2 {
		x := impaired(t, impair.Config{Seed: 3, Sent: impair.Network{Loss: 0.5}})
		var sequences []uint16
		for len(sequences) < 10 {
			sequences = append(sequences, packet(t, x.rtp, of(codec.PCMU)).SequenceNumber)
		}
		for i := range sequences[1:] {
			sequences[len(sequences)-1-i] -= sequences[len(sequences)-2-i] // steps
		}
		stats := x.hangUp()
		if sent := stats.ImpairedSent; sent == nil || sent.Lost == 0 || sent.Packets != uint64(stats.Sent) || stats.ImpairedReceived != nil {
			t.Errorf("%+v, %+v", stats, sent)
		}
		if first == nil {
			first = sequences
		}
		for i := range sequences[1:] {
			if sequences[i+1] != first[i+1] {
				t.Fatalf("steps %v and %v", first[1:], sequences[1:])
			}
		}
	}
}

func TestWhatIsLostOnTheWayInIsCountedOnBothSides(t *testing.T) {
	t.Parallel()
	x := impaired(t, impair.Config{Seed: 5, Received: impair.Network{Loss: 0.3, Burst: 2}})
	x.voice(codec.PCMU, 30)
	x.event("heard_stop")
	stats := x.hangUp()
	in := stats.ImpairedReceived
	if in == nil || in.Packets != 30 || in.Lost < 3 || int64(in.Packets-in.Lost) != stats.Received {
		t.Fatalf("%+v, %+v", stats, in)
	}
	// Those lost at the very start and end are not missed by anybody.
	if stats.Lost == 0 || stats.Lost > int64(in.Lost) || stats.Gaps.MaxMs < 35 {
		t.Errorf("%+v", stats)
	}
}

func TestDuplicatesAndReorderingReachTheEar(t *testing.T) {
	t.Parallel()
	x := impaired(t, impair.Config{Seed: 5, Received: impair.Network{Duplicate: 1, Reorder: 0.2, JitterMs: 5}})
	x.voice(codec.PCMU, 30)
	x.event("heard_stop")
	stats := x.hangUp()
	if stats.Received != 60 || stats.Duplicate != 30 || stats.Lost != 0 || stats.ImpairedReceived.Reordered == 0 {
		t.Errorf("%+v, %+v", stats, stats.ImpairedReceived)
	}
}

func TestNoiseIsHeardBehindTheCaller(t *testing.T) {
	t.Parallel()
	x := impaired(t, impair.Config{Sound: impair.Sound{Noise: &impair.Noise{Kind: impair.White, LevelDbov: -30}}})
	frame := x.frame()
	if level := pcm.LevelDbfs(frame); math.Abs(level+30) > 4 {
		t.Errorf("%.1f dBFS", level)
	}
}

func TestNoiseThatIsGivenKeepsItsPitch(t *testing.T) {
	given := impair.Config{Sound: impair.Sound{Noise: &impair.Noise{Kind: impair.Given, PCM: tone(pcm.Wide, 16000)}}}
	slower, want := atRate(given, pcm.Narrow).Sound.Noise.PCM, tone(pcm.Narrow, 8000)
	for i := 100; i < 7900; i++ {
		if math.Abs(float64(slower[i])-float64(want[i])) > 20 {
			t.Fatalf("sample %d is %d, want %d", i, slower[i], want[i])
		}
	}
	if len(atRate(given, pcm.Wide).Sound.Noise.PCM) != 16000 || len(given.Sound.Noise.PCM) != 16000 {
		t.Error("noise of the line's own rate was changed")
	}
}

// frame is the sound of the next packet.
func (x *exchange) frame() []int16 {
	x.t.Helper()
	frame := make([]int16, codec.FrameBytes)
	codec.NewDecoder(pcm.Narrow).Decode(frame, codec.Codes(codec.PCMU, packet(x.t, x.rtp, of(codec.PCMU)).Payload))
	return frame
}

func TestTheAgentComesBackAsEcho(t *testing.T) {
	t.Parallel()
	x := impaired(t, impair.Config{Sound: impair.Sound{Echo: &impair.Echo{GainDb: -12, DelayMs: 40}}})
	x.voice(codec.PCMU, 12)
	limit, level := time.Now().Add(patience), pcm.SilenceDbfs
	for level < -40 && time.Now().Before(limit) {
		level = pcm.LevelDbfs(x.frame())
	}
	level = pcm.LevelDbfs(x.frame())
	if want := pcm.LevelDbfs(tone(pcm.Narrow, 800)) - 12; math.Abs(level-want) > 1 {
		t.Errorf("echo of %.1f dBFS, want %.1f", level, want)
	}
}

func TestInSilenceNothingIsSentAndSpeechIsToldFromWhenItIsHeard(t *testing.T) {
	t.Parallel()
	x := impaired(t, impair.Config{Seed: 1, Sound: impair.Sound{Silence: &impair.Silence{EveryMs: 100, LastsMs: 100}}})
	last := packet(t, x.rtp, of(codec.PCMU))
	for range 30 {
		next := packet(t, x.rtp, of(codec.PCMU))
		pause := next.Timestamp-last.Timestamp > codec.FrameBytes
		if next.SequenceNumber != last.SequenceNumber+1 || next.Marker != pause {
			t.Fatalf("%+v after %+v", next.Header, last.Header)
		}
		if pause {
			return
		}
		last = next
	}
	t.Error("there was no silence")
}

func TestAFastClockSendsTooMuch(t *testing.T) {
	c := clock{startUs: 1_000_000, sound: impair.Sound{DriftPpm: 10_000}}
	if due := c.dueUs(101) - c.startUs; due < 1_999_000 || due > 2_001_000 {
		t.Errorf("frame 101 is due after %d us", due)
	}
	if ticks := c.ticks(3_000_000); ticks != 16_160 {
		t.Errorf("2 s are %d ticks", ticks)
	}
	if us := c.us(2_020_000); us != 3_000_000 {
		t.Errorf("2.02 s on it are over at %d", us)
	}
}

func TestGapsAreFoundBetweenWhatBelongsTogether(t *testing.T) {
	type arrival struct {
		sequence uint16
		stamp    uint32
		atMs     int64
		sounding bool
	}
	for name, test := range map[string]struct {
		arrivals   []arrival
		all, long  int64
		speech     int64
		maxMs      float64
		keysBefore int
	}{
		"steady":            {[]arrival{{1, 0, 0, false}, {2, 160, 20, true}, {3, 320, 41, false}}, 2, 0, 2, 21, 0},
		"stalled":           {[]arrival{{1, 0, 0, true}, {2, 160, 90, false}, {3, 320, 91, false}}, 2, 1, 1, 90, 0},
		"lost between":      {[]arrival{{1, 0, 0, false}, {4, 480, 60, false}}, 1, 1, 0, 60, 0},
		"pause":             {[]arrival{{1, 0, 0, true}, {2, 8000, 1000, true}}, 0, 0, 0, 0, 0},
		"lost and pause":    {[]arrival{{1, 0, 0, true}, {3, 8000, 1000, true}}, 0, 0, 0, 0, 0},
		"overtaken":         {[]arrival{{1, 0, 0, false}, {3, 320, 30, false}, {2, 160, 31, false}, {4, 480, 60, false}}, 2, 0, 0, 30, 0},
		"twice":             {[]arrival{{1, 0, 0, false}, {1, 0, 5, false}, {2, 160, 20, false}}, 1, 0, 0, 20, 0},
		"keys between":      {[]arrival{{1, 0, 0, false}, {9, 1280, 160, false}}, 0, 0, 0, 0, 1},
		"around the end":    {[]arrival{{65535, 0xffffffa0, 0, false}, {0, 64, 20, false}}, 1, 0, 0, 20, 0},
		"clocks apart":      {[]arrival{{1, 0, 20, false}, {2, 160, 17, false}, {3, 320, 40, false}}, 2, 0, 0, 23, 0},
		"time stood still":  {[]arrival{{1, 0, 0, false}, {2, 0, 20, false}}, 0, 0, 0, 0, 0},
		"nothing was there": {nil, 0, 0, 0, 0, 0},
	} {
		var g gaps
		for i, a := range test.arrivals {
			if test.keysBefore > 0 && i == test.keysBefore {
				g.paused()
			}
			g.arrived(rtp.Header{SequenceNumber: a.sequence, Timestamp: a.stamp}, 160, a.atMs*1000, a.sounding)
		}
		all, speech := g.all.told(), g.speech.told()
		if all.Count != test.all || all.Long != test.long || speech.Count != test.speech || all.MaxMs != test.maxMs {
			t.Errorf("%s: %+v, speech %+v", name, all, speech)
		}
	}
}

func TestQuantilesOfGaps(t *testing.T) {
	var h histogram
	for range 98 {
		h.add(20_100)
	}
	h.add(59_999)
	h.add(5_000_000)
	if got := h.told(); got.P50Ms != 21 || got.P99Ms != 5000 && got.P99Ms != 2001 || got.Long != 1 || got.MaxMs != 5000 {
		t.Errorf("%+v", got)
	}
	if got := (&histogram{}).told(); got != (protocol.Gaps{}) {
		t.Errorf("%+v", got)
	}
}
