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
	travelUs  func(n int, r *rand.Rand) int64 // beyond the fastest
	lost      func(n int, r *rand.Rand) bool
	ppm       int64             // by which the sender's clock is fast
	pauseUs   func(n int) int64 // before packet n
	standing  bool              // RTP time stands still in pauses
	phaseUs   int64             // from the first packet's departure to a tick
	duplicate func(r *rand.Rand) bool
	jump      int // SSRC restart before this packet
	ms        int
	tickNoise int64
}

type heard struct {
	outs      []Out
	numbers   []int   // of the packets played
	waitUs    []int64 // between a packet's fastest arrival and its tick
	atUs      []int64
	sent      int
	stats     Stats
	concealed []int64 // when
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
		sentAtUs  = int64(startUs) * 1000 // nanoseconds, for the drift
		seq       = uint16(65_500)
		timestamp = uint32(4_294_960_000)
	)
	end := int64(startUs + r.seconds*1_000_000)
	for n := 0; sentAtUs/1000 < end; n++ {
		if r.pauseUs != nil && r.pauseUs(n) > 0 {
			sentAtUs += r.pauseUs(n) * 1000
			if !r.standing {
				timestamp += uint32(r.pauseUs(n) * 48 / 1000)
			}
		}
		if r.jump > 0 && n == r.jump {
			seq, timestamp = seq+30_000, timestamp+2_000_000_000
		}
		departUs[n] = sentAtUs / 1000
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
		sentAtUs += 20_000_000 - 20*r.ppm*1
	}
	b := New(config)
	for tick := int64(startUs) + r.phaseUs; tick < end+200_000; tick += 20_000 {
		for len(arrivals) > 0 && arrivals[0].us <= tick {
			a := heap.Pop(&arrivals).(arrival)
			b.Push(a.seq, a.timestamp, a.payload, a.us)
		}
		now := tick
		if r.tickNoise > 0 {
			now += random.Int64N(r.tickNoise)
		}
		out := b.Pull(now)
		h.outs = append(h.outs, out)
		switch out.Kind {
		case Packet:
			n := numberOf(out.Payload)
			h.numbers = append(h.numbers, n)
			h.waitUs = append(h.waitUs, tick-departUs[n])
			h.atUs = append(h.atUs, tick-startUs)
		case Conceal, FEC:
			h.concealed = append(h.concealed, tick-startUs)
		}
	}
	h.stats = b.Stats()
	return h
}

func TestScratch(t *testing.T) {
	exp := func(mean float64) func(int, *rand.Rand) int64 {
		return func(_ int, r *rand.Rand) int64 { return int64(r.ExpFloat64() * mean) }
	}
	pauses := func(us int64) func(int) int64 {
		return func(n int) int64 {
			if n%75 == 0 && n > 0 {
				return us
			}
			return 0
		}
	}
	for name, r := range map[string]road{
		"clean":        {seconds: 60, phaseUs: 7_000},
		"clean0":       {seconds: 60, phaseUs: 0},
		"clean1":       {seconds: 60, phaseUs: 1},
		"noise.3":      {seconds: 60, phaseUs: 100, travelUs: exp(100)},
		"noise3":       {seconds: 60, phaseUs: 7_000, travelUs: exp(3000)},
		"noise8":       {seconds: 60, phaseUs: 7_000, travelUs: exp(8000)},
		"uni40":        {seconds: 60, phaseUs: 7_000, travelUs: func(_ int, r *rand.Rand) int64 { return r.Int64N(40_000) }},
		"fast200":      {seconds: 600, phaseUs: 7_000, ppm: 200, travelUs: exp(200)},
		"slow200":      {seconds: 600, phaseUs: 7_000, ppm: -200, travelUs: exp(200)},
		"fast200clean": {seconds: 600, phaseUs: 7_000, ppm: 200},
		"slow200clean": {seconds: 600, phaseUs: 7_000, ppm: -200},
		"pause":        {seconds: 60, phaseUs: 7_000, pauseUs: pauses(1_500_000), travelUs: exp(1000)},
		"pausestand":   {seconds: 60, phaseUs: 7_000, pauseUs: pauses(1_500_000), standing: true, travelUs: exp(1000)},
		"pause50":      {seconds: 60, phaseUs: 7_000, pauseUs: pauses(50_000), standing: true, travelUs: exp(1000)},
		"loss5":        {seconds: 60, phaseUs: 7_000, lost: func(_ int, r *rand.Rand) bool { return r.IntN(20) == 0 }, travelUs: exp(1000)},
		"jump":         {seconds: 20, phaseUs: 7_000, jump: 500, travelUs: exp(1000)},
		"spikes": {seconds: 60, phaseUs: 7_000, travelUs: func(n int, r *rand.Rand) int64 {
			if n%200 == 0 {
				return 45_000
			}
			return r.Int64N(3000)
		}},
		"outage": {seconds: 20, phaseUs: 7_000, travelUs: func(n int, r *rand.Rand) int64 {
			if n >= 500 && n < 510 {
				return int64(510-n) * 20_000
			}
			return r.Int64N(3000)
		}},
		"ticknoise": {seconds: 60, phaseUs: 300, tickNoise: 3000, travelUs: exp(200)},
	} {
		h := r.travel(Config{})
		var sum, last, most int64
		for _, w := range h.waitUs {
			sum += w
			most = max(most, w)
		}
		last = h.waitUs[len(h.waitUs)-1]
		t.Logf("%-13s sent %5d played %5d mean wait %6d max %6d last %6d conc %v %+v", name, h.sent, len(h.numbers), sum/int64(len(h.waitUs)), most, last, len(h.concealed), h.stats)
	}
}
