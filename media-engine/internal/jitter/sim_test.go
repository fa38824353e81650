package jitter

import (
	"container/heap"
	"math/rand/v2"
	"testing"
)

// silkByte0 starts a SILK wideband packet of 20 ms, mono, one frame.
const silkByte0 = 9 << 3

// voice is a packet that carries a copy of the one before it, and its own number.
func voice(n int) []byte {
	return []byte{silkByte0, 0xc0, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
}

func numberOf(payload []byte) int {
	return int(payload[2])<<24 | int(payload[3])<<16 | int(payload[4])<<8 | int(payload[5])
}

// road is how a sender's packets come to the buffer. Times are in microseconds of the receiver's clock.
type road struct {
	seconds   int
	travelUs  func(n int, r *rand.Rand) int64 // of packet n, beyond the fastest
	lost      func(n int, r *rand.Rand) bool
	duplicate func(r *rand.Rand) bool
	ppm       int64             // by which the sender's clock is fast
	pauseUs   func(n int) int64 // before packet n
	standing  bool              // RTP time stands still in pauses
	restart   int               // before this packet: new sequence numbers, new RTP time
	phaseUs   int64             // from a departure to the next tick
}

// heard is what came of it.
type heard struct {
	numbers []int   // of the packets played
	waitUs  []int64 // of each: from its departure to its tick
	sent    int
	guessed int // ticks of Conceal and FEC
	longest int // most Conceal in a row
	stats   Stats
}

type arrival struct {
	us        int64
	seq       uint16
	timestamp uint32
	payload   []byte
}
type arrivalHeap []arrival

func (h arrivalHeap) Len() int           { return len(h) }
func (h arrivalHeap) Less(i, j int) bool { return h[i].us < h[j].us }
func (h arrivalHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *arrivalHeap) Push(x any)        { *h = append(*h, x.(arrival)) }
func (h *arrivalHeap) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

// travel sends packets down the road into a buffer, and pulls what is heard.
func (r road) travel(config Config) heard {
	random := rand.New(rand.NewPCG(7, 4))
	const startUs = 1_000_000_000
	var (
		arrivals  arrivalHeap
		departUs  = map[int]int64{}
		h         heard
		sentAt    = int64(startUs) * 1000 // nanoseconds, for the drift
		seq       = uint16(65_500)
		timestamp = uint32(4_294_960_000)
		run       int
	)
	end := int64(startUs + r.seconds*1_000_000)
	for n := 0; sentAt/1000 < end; n++ {
		if r.pauseUs != nil && r.pauseUs(n) > 0 {
			sentAt += r.pauseUs(n) * 1000
			if !r.standing {
				timestamp += uint32(r.pauseUs(n) * 48 / 1000)
			}
		}
		if r.restart > 0 && n == r.restart {
			seq, timestamp = seq+30_000, timestamp+2_000_000_000
		}
		if departUs[n] = sentAt / 1000; departUs[n] >= end {
			break
		}
		h.sent++
		if r.lost == nil || !r.lost(n, random) {
			at := departUs[n]
			if r.travelUs != nil {
				at += r.travelUs(n, random)
			}
			a := arrival{at, seq, timestamp, voice(n)}
			heap.Push(&arrivals, a)
			if r.duplicate != nil && r.duplicate(random) {
				a.us += 3_000
				heap.Push(&arrivals, a)
			}
		}
		seq++
		timestamp += 960
		sentAt += 20_000_000 - 20*r.ppm
	}
	b := New(config)
	for tick := int64(startUs) + r.phaseUs; tick < end+200_000; tick += 20_000 {
		for len(arrivals) > 0 && arrivals[0].us <= tick {
			a := heap.Pop(&arrivals).(arrival)
			b.Push(a.seq, a.timestamp, a.payload, a.us)
		}
		out := b.Pull(tick)
		switch out.Kind {
		case Packet:
			n := numberOf(out.Payload)
			h.numbers = append(h.numbers, n)
			h.waitUs = append(h.waitUs, tick-departUs[n])
		case Conceal, FEC:
			h.guessed++
		}
		if run++; out.Kind != Conceal {
			run = 0
		}
		h.longest = max(h.longest, run)
	}
	h.stats = b.Stats()
	return h
}

func exponential(meanUs float64) func(int, *rand.Rand) int64 {
	return func(_ int, r *rand.Rand) int64 { return int64(r.ExpFloat64() * meanUs) }
}

// afterEach75 is a pause after each 1.5 s of speech.
func afterEach75(us int64) func(int) int64 {
	return func(n int) int64 {
		if n%75 == 0 && n > 0 {
			return us
		}
		return 0
	}
}

func TestRoads(t *testing.T) {
	oneIn := func(n int) func(*rand.Rand) bool { return func(r *rand.Rand) bool { return r.IntN(n) == 0 } }
	lostOneIn := func(n int) func(int, *rand.Rand) bool {
		return func(i int, r *rand.Rand) bool { return r.IntN(n) == 0 && i > 0 && i < 2_990 }
	}
	const ending = 3 // packets that are missed when the sender stops, before it is taken for a pause
	for _, each := range []struct {
		name string
		road road
		// What must hold at the end: packets that were sent and not played, ticks guessed, the delay of the last second.
		unplayed, guessed int
		endUs             int64
	}{
		{"clean, all phases good", road{seconds: 30, phaseUs: 7_000}, 0, ending, 7_000},
		{"clean, arriving with the tick", road{seconds: 30}, 0, ending, 20_000},
		{"clean, arriving just before the tick", road{seconds: 30, phaseUs: 1}, 0, ending, 1},
		{"clean, arriving just after the tick", road{seconds: 30, phaseUs: 19_999}, 0, ending, 19_999},
		{"little jitter", road{seconds: 60, phaseUs: 7_000, travelUs: exponential(3_000)}, 3, ending + 3, 27_000},
		{"much jitter", road{seconds: 60, phaseUs: 7_000, travelUs: exponential(8_000)}, 12, ending + 15, 47_000},
		{"reordering", road{seconds: 60, phaseUs: 7_000, travelUs: func(_ int, r *rand.Rand) int64 { return r.Int64N(40_000) }}, 5, ending + 5, 47_000},
		{"lone spikes", road{seconds: 60, phaseUs: 7_000, travelUs: func(n int, r *rand.Rand) int64 {
			if n%200 == 199 {
				return 45_000
			}
			return r.Int64N(3_000)
		}}, 15, ending + 15, 7_000},
		{"duplicates", road{seconds: 30, phaseUs: 7_000, duplicate: oneIn(3)}, 0, ending, 7_000},
		{"loss", road{seconds: 60, phaseUs: 7_000, lost: lostOneIn(20), travelUs: exponential(500)}, 170, ending + 170, 47_000},
		{"a fast sender", road{seconds: 600, phaseUs: 7_000, ppm: 200}, 7, ending, 22_000},
		{"a slow sender", road{seconds: 600, phaseUs: 7_000, ppm: -200}, 0, ending + 7, 22_000},
		{"a fast sender with jitter", road{seconds: 600, phaseUs: 7_000, ppm: 200, travelUs: exponential(200)}, 14, ending + 7, 24_000},
		{"a slow sender with jitter", road{seconds: 600, phaseUs: 7_000, ppm: -200, travelUs: exponential(200)}, 7, ending + 14, 24_000},
		{"pauses", road{seconds: 60, phaseUs: 7_000, pauseUs: afterEach75(1_500_000)}, 0, 21 * ending, 7_000},
		{"pauses with RTP time at a stand", road{seconds: 60, phaseUs: 7_000, pauseUs: afterEach75(1_500_000), standing: true}, 0, 21 * ending, 7_000},
		{"pauses of 0.3 s with RTP time at a stand", road{seconds: 60, phaseUs: 7_000, pauseUs: afterEach75(300_000), standing: true}, 0, 34 * ending, 7_000},
		{"pauses of 10 s", road{seconds: 120, phaseUs: 7_000, pauseUs: afterEach75(10_000_000)}, 0, 11 * ending, 7_000},
		{"short pauses with RTP time at a stand", road{seconds: 60, phaseUs: 7_000, pauseUs: afterEach75(50_000), standing: true}, 140, ending + 160, 60_000},
		{"a restart of the sender", road{seconds: 20, phaseUs: 7_000, restart: 500}, 1, ending + 1, 7_000},
		{"an outage of 200 ms", road{seconds: 30, phaseUs: 7_000, travelUs: func(n int, _ *rand.Rand) int64 {
			return max(0, int64(510-n)*20_000) * int64(n/500)
		}}, 10, ending + 3, 7_000},
	} {
		t.Run(each.name, func(t *testing.T) {
			h := each.road.travel(Config{})
			for i := 1; i < len(h.numbers); i++ {
				if h.numbers[i] <= h.numbers[i-1] {
					t.Fatalf("packet %d was played after %d", h.numbers[i], h.numbers[i-1])
				}
			}
			unplayed := h.sent - len(h.numbers)
			if unplayed > each.unplayed {
				t.Errorf("%d of %d packets were not played", unplayed, h.sent)
			}
			if h.guessed > each.guessed {
				t.Errorf("%d ticks were guessed", h.guessed)
			}
			if h.longest > maxConcealed {
				t.Errorf("%d ticks in a row were concealed", h.longest)
			}
			for _, waitUs := range h.waitUs[len(h.waitUs)-50:] {
				if waitUs > each.endUs {
					t.Fatalf("a delay of %d us at the end", waitUs)
				}
			}
			s := h.stats
			if int(s.Lost+s.Late+s.Skipped) != unplayed || int(s.Concealed+s.FECUsed) != h.guessed {
				t.Errorf("%d not played and %d guessed, but %+v", unplayed, h.guessed, s)
			}
			t.Logf("%d sent, %d not played, %d guessed, %+v", h.sent, unplayed, h.guessed, s)
		})
	}
}
