package engine

import (
	"testing"

	"github.com/trunkline/trunkline/media-engine/internal/impair"
	"github.com/trunkline/trunkline/media-engine/internal/mediapb"
	"github.com/trunkline/trunkline/media-engine/internal/opus"
)

// lostBetween is how many packets the network loses between the first and the last that come out.
func lostBetween(t *testing.T, link *impair.Link[int], packets int) uint64 {
	t.Helper()
	var lost, since uint64
	came := false
	for number := range packets {
		if link.Push(number, int64(number)*tickUs) {
			lost, since, came = lost+since, 0, true
		} else if came {
			since++
		}
		for ok := true; ok; {
			_, _, ok = link.Pop(int64(number) * tickUs)
		}
	}
	if lost == 0 {
		t.Fatal("nothing is lost with this seed")
	}
	return lost
}

// checkHeard checks that speech came through a bad line: all of it, with what was lost covered up.
func checkHeard(t *testing.T, who string, frames []*mediapb.Frame, stats *mediapb.Stats, packets int, lost uint64) {
	t.Helper()
	t.Logf("%s: %d frames, %v, %d lost on the line", who, len(frames), stats, lost)
	if len(frames) < packets*9/10 {
		t.Errorf("%s: %d frames of %d packets", who, len(frames), packets)
	}
	for i := 1; i < len(frames); i++ {
		if gap := frames[i].GetSequence() - frames[i-1].GetSequence(); gap > 10 {
			t.Errorf("%s: nothing for %d ticks", who, gap)
		}
	}
	// A packet or two may be lost on a machine that is busy.
	if stats.GetLost() < lost || stats.GetLost() > lost+2 {
		t.Errorf("%s: %d are lost, want %d", who, stats.GetLost(), lost)
	}
	if stats.GetFecUsed() == 0 || stats.GetConcealed() == 0 || stats.GetFecUsed()+stats.GetConcealed() < lost*8/10 {
		t.Errorf("%s: %d copies used and %d guessed of %d lost", who, stats.GetFecUsed(), stats.GetConcealed(), lost)
	}
	if target := stats.GetTargetMs(); target < 20 || target > 60 {
		t.Errorf("%s: the buffer aims at %d ms", who, target)
	}
}

func TestSpeechComesThroughABadLine(t *testing.T) {
	const seconds, packets = 8, 8 * 50
	const text = `{"seed": 7,
		"sent": {"loss": 0.05, "burst": 2, "jitter_ms": 40, "reorder": 0.05, "duplicate": 0.05},
		"received": {"loss": 0.05, "burst": 2, "jitter_ms": 40, "reorder": 0.05, "duplicate": 0.05}}`
	config, err := impair.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	s := startSFU(t)
	w := realEngine(t)
	call(t, s, w)
	w.tell(caller, impaired(text))
	for _, leg := range []uint32{caller, agent} {
		w.tell(leg, saying(1, siren(seconds*opus.RateHz)))
		w.tell(leg, end(1))
	}
	stats := map[uint32]*mediapb.Stats{}
	for _, leg := range []uint32{caller, agent} {
		if last := w.until(leg, "last_packet").GetLastPacket(); last.GetSamples() != seconds*opus.RateHz {
			t.Errorf("%d samples of leg %d were sent", last.GetSamples(), leg)
		}
	}
	w.eventually("the end", func() bool { return len(w.heard[agent]) > packets*9/10 && len(w.heard[caller]) > packets*9/10 })
	for _, leg := range []uint32{caller, agent} {
		w.tell(leg, askStats())
		stats[leg] = w.until(leg, "stats").GetStats()
	}
	checkHeard(t, "agent", w.frames(agent), stats[agent], packets, lostBetween(t, impair.NewSent[int](config), packets))
	checkHeard(t, "caller", w.frames(caller), stats[caller], packets, lostBetween(t, impair.NewReceived[int](config), packets))
	if stats[caller].GetDuplicate() == 0 {
		t.Error("the caller got nothing twice")
	}
}
