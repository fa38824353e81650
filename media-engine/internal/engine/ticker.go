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
	// lateUs after its instant a tick counts as late.
	lateUs = 10_000
	// catchUpUs is the longest delay that is made up for, tick by tick; of a longer one, ticks are left out.
	catchUpUs = 5 * tickUs
	// shareLegs is how many legs are worth waking another processor for.
	shareLegs = 8
)

// ticker drives all legs: every 20 ms of CLOCK_MONOTONIC it sends and hears 20 ms of each.
type ticker struct {
	engine *Engine
	legs   atomic.Pointer[[]*leg]
	quit   chan struct{}
	done   chan struct{}

	// Of the present tick.
	number  int64
	dueUs   int64
	ticking []*leg
	heard   []*mediapb.Frame
	next    atomic.Int64
	crew    []chan struct{}
	working sync.WaitGroup

	frames mediapb.Frames
}

func newTicker(e *Engine) *ticker {
	t := &ticker{engine: e, number: 1, quit: make(chan struct{}), done: make(chan struct{})}
	t.set(nil)
	for range runtime.GOMAXPROCS(0) - 1 {
		wake := make(chan struct{})
		t.crew = append(t.crew, wake)
		go t.help(wake)
	}
	go t.run()
	return t
}

// set says which legs there are from the next tick on.
func (t *ticker) set(legs map[uint32]*leg) {
	list := make([]*leg, 0, len(legs))
	for _, each := range legs {
		list = append(list, each)
	}
	t.legs.Store(&list)
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
	for dueUs := monotime.Us(); ; dueUs += tickUs {
		timer.Reset(monotime.Until(dueUs))
		select {
		case <-timer.C:
		case <-t.quit:
			return
		}
		behindUs := monotime.Us() - dueUs
		if behindUs > lateUs {
			t.engine.lateTicks.Add(1)
		}
		if behindUs > catchUpUs {
			// Time goes on for everybody else: what is left out is a gap, not a delay that stays.
			missed := behindUs / tickUs
			t.number += missed
			dueUs += missed * tickUs
		}
		t.tick(dueUs)
		t.number++
	}
}

func (t *ticker) tick(dueUs int64) {
	t.ticking = *t.legs.Load()
	if len(t.ticking) == 0 {
		return
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

func (t *ticker) help(wake <-chan struct{}) {
	for range wake {
		t.work()
		t.working.Done()
	}
}

// work takes legs of the present tick until none is left.
func (t *ticker) work() {
	for {
		i := int(t.next.Add(1)) - 1
		if i >= len(t.ticking) {
			return
		}
		t.heard[i] = t.ticking[i].tick(t.number, t.dueUs)
	}
}
