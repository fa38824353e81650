package impair

import (
	"math"
	"math/rand/v2"
	"slices"
)

// maxWaiting is how many packets a link holds; one more is lost.
const maxWaiting = 512

// Streams of random numbers: each choice has its own, so that packets lost with a seed are lost with any jitter.
const (
	streamSent uint64 = 16 * (iota + 1)
	streamReceived
	streamNoise
	streamSilence
)

const (
	choiceLoss uint64 = iota
	choiceJitter
	choiceReorder
	choiceDuplicate
)

// LinkStats counts what happened to packets so far.
type LinkStats struct {
	// Pushed is how many were sent into it. Of these, Lost were lost, and Overflowed did not fit into the queue.
	Pushed, Lost, Overflowed uint64
	// Reordered were held up on their own, Duplicated came twice.
	Reordered, Duplicated uint64
}

// Link is a network in one direction. What happens to a packet depends on the seed and on how many were pushed before
// it, and not on time. It is not safe for concurrent use.
//
// T is whatever stands for a packet; it is passed on as it is, a duplicate too.
type Link[T any] struct {
	network Network
	loss    *rand.Rand
	jitter  *rand.Rand
	reorder *rand.Rand
	double  *rand.Rand
	started bool
	losing  bool  // in a burst
	lastUs  int64 // when the newest packet that kept its order is out
	waiting []transit[T]
	stats   LinkStats
}

type transit[T any] struct {
	dueUs  int64
	packet T
}

// NewSent is the network from the caller of a valid Config.
func NewSent[T any](config Config) *Link[T] { return newLink[T](config.Sent, config.Seed, streamSent) }

// NewReceived is the network to the caller of a valid Config.
func NewReceived[T any](config Config) *Link[T] {
	return newLink[T](config.Received, config.Seed, streamReceived)
}

func newLink[T any](network Network, seed, stream uint64) *Link[T] {
	if network.JitterLimitMs == 0 {
		network.JitterLimitMs = 3 * network.JitterMs
	}
	if network.ReorderMs == 0 {
		network.ReorderMs = defaultReorder
	}
	return &Link[T]{
		network: network,
		loss:    source(seed, stream+choiceLoss),
		jitter:  source(seed, stream+choiceJitter),
		reorder: source(seed, stream+choiceReorder),
		double:  source(seed, stream+choiceDuplicate),
	}
}

func source(seed, stream uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, stream)) }

// Push sends a packet into the network at sentUs, which must not go back. False where it does not come out.
func (l *Link[T]) Push(packet T, sentUs int64) bool {
	l.stats.Pushed++
	// All is drawn for every packet, lost or not: else the fate of one would change that of those after it.
	lost := l.loses()
	jitterUs := l.jitterUs()
	reordered := l.network.Reorder > 0 && l.reorder.Float64() < l.network.Reorder
	doubled := l.network.Duplicate > 0 && l.double.Float64() < l.network.Duplicate
	if lost {
		l.stats.Lost++
		return false
	}
	dueUs := max(l.lastUs, sentUs+int64(l.network.DelayMs)*1000+jitterUs)
	if reordered {
		dueUs += int64(l.network.ReorderMs) * 1000
	}
	if !l.hold(packet, dueUs) {
		return false
	}
	if reordered {
		l.stats.Reordered++
	} else {
		l.lastUs = dueUs
	}
	if doubled && l.hold(packet, dueUs) {
		l.stats.Duplicated++
	}
	return true
}

// Pop hands out the next packet that is out at nowUs, and when it came out; ok is false where there is none yet.
func (l *Link[T]) Pop(nowUs int64) (packet T, outUs int64, ok bool) {
	if len(l.waiting) == 0 || l.waiting[0].dueUs > nowUs {
		return packet, 0, false
	}
	first := l.waiting[0]
	l.waiting = slices.Delete(l.waiting, 0, 1)
	return first.packet, first.dueUs, true
}

// NextUs is when the next packet is out; ok is false where none is under way.
func (l *Link[T]) NextUs() (us int64, ok bool) {
	if len(l.waiting) == 0 {
		return 0, false
	}
	return l.waiting[0].dueUs, true
}

// Stats counts what happened so far.
func (l *Link[T]) Stats() LinkStats { return l.stats }

// hold keeps a packet until it is due, behind those that are due at the same time.
func (l *Link[T]) hold(packet T, dueUs int64) bool {
	if len(l.waiting) >= maxWaiting {
		l.stats.Overflowed++
		return false
	}
	at := len(l.waiting)
	for at > 0 && l.waiting[at-1].dueUs > dueUs {
		at--
	}
	l.waiting = slices.Insert(l.waiting, at, transit[T]{dueUs, packet})
	return true
}

// loses draws if a packet is lost. In bursts, a good network goes bad and a bad one good again, packet by packet, so
// often that both the share of the bad ones and their run are as told.
func (l *Link[T]) loses() bool {
	n := &l.network
	if n.Loss == 0 {
		return false
	}
	draw := l.loss.Float64()
	switch {
	case n.Burst == 0 || !l.started:
		l.losing = draw < n.Loss
	case l.losing:
		l.losing = draw >= 1/n.Burst
	default:
		l.losing = draw*n.Burst*(1-n.Loss) < n.Loss
	}
	l.started = true
	return l.losing
}

func (l *Link[T]) jitterUs() int64 {
	n := &l.network
	if n.JitterMs == 0 {
		return 0
	}
	var share float64
	switch n.JitterShape {
	case Normal:
		share = math.Abs(l.jitter.NormFloat64())
	case Exponential:
		share = l.jitter.ExpFloat64()
	default:
		share = l.jitter.Float64()
	}
	return int64(min(share*float64(n.JitterMs), float64(n.JitterLimitMs)) * 1000)
}
