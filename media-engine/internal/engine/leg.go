package engine

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trunkline/trunkline/media-engine/internal/jitter"
	"github.com/trunkline/trunkline/media-engine/internal/mediapb"
	"github.com/trunkline/trunkline/media-engine/internal/monotime"
)

const (
	maxJobs       = 64
	maxDetail     = 200
	leaveLimit    = time.Second
	dtmfKeys      = "0123456789*#ABCD"
	maxDtmfDigits = 64
	maxDataBytes  = 15_000
	maxTopicBytes = 256
)

// leg is our end of one call.
//
// What may take a while is done one after the other by run; what is said and heard does not wait for it.
type leg struct {
	number   uint32
	limits   limits
	room     room
	ear      ear
	mouth    mouth
	company  *company
	report   func(*mediapb.Event)
	ended    func(*leg)
	jobs     chan func()
	audible  chan struct{} // there is audio to subscribe to
	returned chan struct{} // the connection is back
	over     chan struct{}
	// firstTick is used by the ticker only.
	firstTick int64
	// messages keeps somebody who sends them without end from drowning the worker.
	messages throttle
	impaired atomic.Bool

	ranDry    atomic.Uint64
	refused   atomic.Uint64
	malformed atomic.Uint64

	mu        sync.Mutex
	listening string
	published bool
	hidden    bool
	muted     bool // the one we listen to
	isOver    bool // nothing is told any more, except Left
	told      bool // to leave
	finished  bool // out of the room
}

// limits are times that tests shorten.
type limits struct {
	join   time.Duration
	absent time.Duration
}

func newLeg(number uint32, make newRoom, heard jitter.Config, l limits, report func(*mediapb.Event), ended func(*leg)) *leg {
	leg := &leg{
		number: number, limits: l, report: report, ended: ended, ear: ear{config: heard},
		jobs: newJobs(), audible: newSignal(), returned: newSignal(), over: newSignal(),
	}
	leg.mouth.tell = leg.tellUtterance
	leg.company = newCompany(l.absent, leg.tellJoined, leg.tellLeft)
	leg.room = make(leg)
	return leg
}

func newJobs() chan func()     { return make(chan func(), maxJobs) }
func newSignal() chan struct{} { return make(chan struct{}, 1) }

// run joins, and ends when the leg is over and out of the room.
func (l *leg) run(to invitation) {
	ctx, cancel := context.WithTimeout(context.Background(), l.limits.join)
	joining := make(chan error, 1)
	go func() { joining <- l.room.join(ctx, to) }()
	joined := false
	defer func() {
		cancel()
		l.company.close()
		l.ear.forget()
		l.heal()
		l.goAway(joining, joined)
	}()
	select {
	case err := <-joining:
		joined = true
		if err != nil {
			l.disconnect(joinFailure(ctx), err.Error(), false)
			return
		}
	case <-ctx.Done():
		l.disconnect("join_timeout", "no answer within "+l.limits.join.String(), false)
		return
	case <-l.over:
		return
	}
	for _, who := range l.room.present() {
		l.company.add(who)
	}
	l.tell(&mediapb.Event{What: &mediapb.Event_Joined{Joined: &mediapb.Joined{}}})
	go l.work()
	<-l.over
}

func joinFailure(ctx context.Context) string {
	if ctx.Err() != nil {
		return "join_timeout"
	}
	return "join_failed"
}

// work does the jobs, one after the other. The last one may outlive the leg by the time limits of the SDK.
func (l *leg) work() {
	for {
		select {
		case <-l.over:
			return
		default:
		}
		select {
		case job := <-l.jobs:
			job()
		case <-l.audible:
			l.subscribe()
		case <-l.returned:
			l.settle()
		case <-l.over:
			return
		}
	}
}

// goAway leaves the room; a join that is still under way is waited for, since it may succeed yet.
func (l *leg) goAway(joining <-chan error, joined bool) {
	if !joined {
		l.finish()
		<-joining
		l.room.leave()
		return
	}
	left := make(chan struct{})
	go func() {
		defer close(left)
		l.room.leave()
	}()
	select {
	case <-left:
	case <-time.After(leaveLimit):
	}
	l.finish()
}

// finish lets go of the leg, and tells Left to a worker that asked for it.
func (l *leg) finish() {
	l.ended(l)
	stats := l.stats()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.finished = true
	if l.told {
		l.report(leftEvent(l.number, stats))
	}
}

// leave ends the leg; nothing but Left is told any more. False where it was told before.
func (l *leg) leave() bool {
	stats := l.stats()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.told {
		return false
	}
	l.told = true
	if !l.isOver {
		l.isOver = true
		close(l.over)
	}
	if l.finished {
		l.report(leftEvent(l.number, stats))
	}
	return true
}

// disconnect ends the leg by itself; nothing is told any more.
func (l *leg) disconnect(reason, detail string, byServer bool) {
	detail = strings.ToValidUTF8(withoutTokens(detail), "?")
	if len(detail) > maxDetail {
		// A character may have been cut in two.
		detail = strings.ToValidUTF8(detail[:maxDetail], "")
	}
	stats := l.stats()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isOver {
		return
	}
	l.isOver = true
	close(l.over)
	l.report(&mediapb.Event{Leg: l.number, AtUs: monotime.Us(), What: &mediapb.Event_Disconnected{
		Disconnected: &mediapb.Disconnected{Reason: reason, Detail: detail, ByServer: byServer, Stats: stats},
	}})
}

// do has run do a job; false where too many wait.
func (l *leg) do(job func()) bool {
	select {
	case l.jobs <- job:
		return true
	default:
		return false
	}
}

// stats takes locks that are held while something is told: not to be called with the leg's own lock held.
func (l *leg) stats() *mediapb.Stats {
	heard := l.ear.stats()
	return &mediapb.Stats{
		Received: heard.Received, Lost: heard.Lost, Late: heard.Late, Duplicate: heard.Duplicate,
		Concealed: heard.Concealed, FecUsed: heard.FECUsed, Sent: l.mouth.packets(), TargetMs: uint32(heard.TargetMs),
		RanDry: l.ranDry.Load(), Malformed: l.malformed.Load() + l.ear.malformed.Load(), Refused: l.refused.Load(),
	}
}

func (l *leg) ending() (over, told bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.isOver, l.told
}

func (l *leg) listeningTo() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.listening
}

func (l *leg) isPublished() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.published
}

// slot is the part of each tick in which the leg speaks: the same one for a few calls, for which waking up more often
// is not worth it.
func (l *leg) slot() int64 { return int64(l.number/slotLegs) % slots }

// hear hears the 20 ms that are due, and speaks if it is the leg's slot; the frame is valid until the next tick, nil
// where nothing was heard. Impaired legs always speak here: what they heard is in what they say.
func (l *leg) hear(number, dueUs int64) *mediapb.Frame {
	var frame *mediapb.Frame
	if l.impaired.Load() {
		frame = l.tickImpaired(number, dueUs)
	} else {
		if l.slot() == 0 {
			l.mouth.tick(number, l.room)
		}
		frame = l.ear.tick(dueUs)
	}
	if l.firstTick == 0 {
		l.firstTick = number
	}
	if frame != nil {
		frame.Leg, frame.Sequence = l.number, uint32(number-l.firstTick)
	}
	return frame
}

// speak sends the 20 ms that are due, in any slot but the first.
func (l *leg) speak(number int64) {
	if !l.impaired.Load() {
		l.mouth.tick(number, l.room)
	}
}
