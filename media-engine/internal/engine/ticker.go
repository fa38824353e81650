package engine

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trunkline/trunkline/media-engine/internal/mediapb"
	"github.com/trunkline/trunkline/media-engine/internal/monotime"
)

const (
	tickUs = 20_000
	// slots of a tick: legs speak in one of them each, so that their packets do not queue up behind each other in the
	// SFU and at the other end.
	slots  = 4
	slotUs = tickUs / slots
	// slotLegs of consecutive numbers share a slot.
	slotLegs = 25
	// lateUs after its instant a tick counts as late.
	lateUs = 10_000
	// catchUpUs is the longest delay that is made up for, tick by tick; of a longer one, ticks are left out.
	catchUpUs = 5 * tickUs
	// shareLegs is how many legs are worth waking another processor for.
	shareLegs = 8
)

// ticker drives all legs: every 20 ms of CLOCK_MONOTONIC it hears 20 ms of each, all at once, since the worker is to be
// told in one message; and each speaks 20 ms, spread over the tick.
type ticker struct {
	engine *Engine
	legs   atomic.Pointer[ticked]
	quit   chan struct{}
	done   chan struct{}

	// Of the present slot. Slots are counted from the start, so that number is that of the tick.
	slot    int64
	dueUs   int64
	ticking []*leg
	heard   []*mediapb.Frame
	next    atomic.Int64
	crew    []chan struct{}
	working sync.WaitGroup

	frames mediapb.Frames
}

// ticked are all legs, and those that speak in each slot.
type ticked struct {
	all      []*leg
	speaking [slots][]*leg
}

func newTicker(e *Engine) *ticker {
	t := &ticker{engine: e, slot: slots, quit: make(chan struct{}), done: make(chan struct{})}
	t.set(nil)
	for range runtime.GOMAXPROCS(0) - 1 {
		wake := make(chan struct{})
		t.crew = append(t.crew, wake)
		go t.help(wake)
	}
	go t.run()
	return t
}

// set says which legs there are from the next slot on.
func (t *ticker) set(legs map[uint32]*leg) {
	list := &ticked{all: make([]*leg, 0, len(legs))}
	for _, each := range legs {
		list.all = append(list.all, each)
		list.speaking[each.slot()] = append(list.speaking[each.slot()], each)
	}
	t.legs.Store(list)
}

func (t *ticker) stop() {
	close(t.quit)
	<-t.done
}

func (t *ticker) run() {
	defer close(t.done)
	defer func() {
		for _, wake := range t.crew {
			close(wake)
		}
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for dueUs := monotime.Us(); ; dueUs += slotUs {
		timer.Reset(monotime.Until(dueUs))
		select {
		case <-timer.C:
		case <-t.quit:
			return
		}
		behindUs := monotime.Us() - dueUs
		if behindUs > lateUs && t.slot%slots == 0 {
			t.engine.lateTicks.Add(1)
		}
		if behindUs > catchUpUs {
			// Time goes on for everybody else: what is left out is a gap, not a delay that stays.
			missed := behindUs / tickUs
			t.slot += missed * slots
			dueUs += missed * tickUs
		}
		t.tick(dueUs)
		t.slot++
		for t.empty() {
			t.slot++
			dueUs += slotUs
		}
	}
}

// empty tells if nobody speaks in this slot and nobody hears: not worth waking up for.
func (t *ticker) empty() bool { return !t.hears() && len(t.legs.Load().speaking[t.slot%slots]) == 0 }

func (t *ticker) number() int64 { return t.slot / slots }

// hears tells if this is the slot in which all legs hear.
func (t *ticker) hears() bool { return t.slot%slots == 0 }

func (t *ticker) tick(dueUs int64) {
	if !t.turn(dueUs) || !t.hears() {
		return
	}
	t.frames.AtUs = dueUs
	t.frames.Frames = t.frames.Frames[:0]
	for _, frame := range t.heard[:len(t.ticking)] {
		if frame != nil {
			t.frames.Frames = append(t.frames.Frames, frame)
		}
	}
	// Also without a frame: silence of all legs is something else than an engine that hangs.
	t.engine.report(&t.frames)
}

// turn has all legs whose turn it is in this slot hear or speak; false where there are none.
func (t *ticker) turn(dueUs int64) bool {
	legs := t.legs.Load()
	t.ticking = legs.speaking[t.slot%slots]
	if t.hears() {
		t.ticking = legs.all
	}
	if len(t.ticking) == 0 {
		return false
	}
	t.dueUs = dueUs
	if len(t.heard) < len(t.ticking) {
		t.heard = make([]*mediapb.Frame, len(t.ticking))
	}
	helpers := min(len(t.crew), (len(t.ticking)-1)/shareLegs)
	t.next.Store(0)
	t.working.Add(helpers)
	for _, wake := range t.crew[:helpers] {
		wake <- struct{}{}
	}
	t.work()
	t.working.Wait()
	return true
}

func (t *ticker) help(wake <-chan struct{}) {
	for range wake {
		t.work()
		t.working.Done()
	}
}

// work takes legs of the present slot until none is left.
func (t *ticker) work() {
	for {
		i := int(t.next.Add(1)) - 1
		if i >= len(t.ticking) {
			return
		}
		leg := t.ticking[i]
		if t.hears() {
			t.heard[i] = leg.hear(t.number(), t.dueUs)
		} else {
			leg.speak(t.number())
		}
	}
}
