// Package engine carries the audio of all calls of one worker: each call is a leg, a participant of ours in a room.
//
// In come the worker's commands, out go events and, every 20 ms, one message with the frames of all legs; see
// media.proto. One ticker drives all legs.
package engine

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/trunkline/trunkline/media-engine/internal/jitter"
	"github.com/trunkline/trunkline/media-engine/internal/mediapb"
	"github.com/trunkline/trunkline/media-engine/internal/monotime"
	"github.com/trunkline/trunkline/media-engine/internal/wireio"
)

const (
	joinLimit   = 5 * time.Second
	absentLimit = 10 * time.Second
	endLimit    = 700 * time.Millisecond
	closeLimit  = 100 * time.Millisecond
	maxLegs     = 1000
	// maxGone is how many legs that ended by themselves are remembered until the worker tells them to leave.
	maxGone = 4096
)

// Config is what the engine is started with.
type Config struct {
	Version string
	Jitter  jitter.Config
	// HeardByAll lets everybody in the room subscribe to a leg's track, not only the one it listens to.
	HeardByAll bool
}

// Engine serves one worker.
type Engine struct {
	config Config
	rooms  newRoom
	limits limits
	out    *wireio.Writer
	ticker *ticker

	lateTicks atomic.Uint64
	refused   atomic.Uint64

	mu   sync.Mutex
	legs map[uint32]*leg
	gone map[uint32]bool // ended by themselves, and not told to leave
	past *mediapb.Stats  // of the legs that ended
}

// Serve serves the worker at the other end of this connection until it ends or the context does, and leaves all rooms.
//
// The error is why it ended, nil where the worker closed the connection or the context ended.
func Serve(ctx context.Context, worker net.Conn, config Config) error {
	return serve(ctx, worker, config, newLiveKitRooms(config.HeardByAll), limits{joinLimit, absentLimit})
}

func serve(ctx context.Context, worker net.Conn, config Config, rooms newRoom, l limits) error {
	e := &Engine{
		config: config, rooms: rooms, limits: l, out: wireio.NewWriter(worker),
		legs: make(map[uint32]*leg), gone: make(map[uint32]bool), past: &mediapb.Stats{},
	}
	e.ticker = newTicker(e)
	e.event(&mediapb.Event{AtUs: monotime.Us(), What: &mediapb.Event_Ready{Ready: &mediapb.Ready{Version: config.Version}}})
	read := make(chan error, 1)
	go func() { read <- e.read(worker) }()
	var err error
	select {
	case err = <-read:
	case <-e.out.Done():
		if err = e.out.Err(); errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
			err = nil
		}
	case <-ctx.Done():
	}
	e.end()
	return err
}

// end leaves all rooms and stops everything.
func (e *Engine) end() {
	all := e.all()
	for _, each := range all {
		each.leave()
	}
	for limit := time.Now().Add(endLimit); len(e.all()) > 0 && time.Now().Before(limit); {
		time.Sleep(5 * time.Millisecond)
	}
	if stuck := len(e.all()); stuck > 0 {
		slog.Warn("not all rooms could be left in time", "rooms", stuck)
	}
	e.ticker.stop()
	e.out.Close(closeLimit)
	if dropped := e.out.Dropped(); dropped > 0 {
		slog.Warn("the worker read too slowly", "dropped_ticks", dropped)
	}
	if refused := e.refused.Load(); refused > 0 {
		slog.Info("commands were refused", "commands", refused)
	}
}

// read obeys commands until the connection ends.
func (e *Engine) read(worker io.Reader) error {
	in := wireio.NewReader(worker)
	for {
		message, err := in.Next()
		if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.ECONNRESET) {
			return nil
		}
		if err != nil {
			return err
		}
		command := &mediapb.Command{}
		if err := proto.Unmarshal(message, command); err != nil {
			e.refuse(0, "not a command")
			continue
		}
		e.obey(command)
	}
}

// report sends 20 ms of all legs.
func (e *Engine) report(frames *mediapb.Frames) {
	e.send(&mediapb.Report{What: &mediapb.Report_Frames{Frames: frames}}, e.out.Audio)
}

func (e *Engine) event(event *mediapb.Event) {
	if event.GetRefused() != nil {
		e.refused.Add(1)
	}
	e.send(&mediapb.Report{What: &mediapb.Report_Event{Event: event}}, e.out.Event)
}

// send never waits. Where the connection has ended, serve notices.
func (e *Engine) send(report *mediapb.Report, by func(wireio.Message) error) {
	err := by(func(buf []byte) ([]byte, error) { return proto.MarshalOptions{}.MarshalAppend(buf, report) })
	if err != nil && !errors.Is(err, e.out.Err()) {
		slog.Error("a message could not be sent", "error", err)
	}
}

func (e *Engine) refuse(number uint32, why string) {
	e.event(&mediapb.Event{
		Leg: number, AtUs: monotime.Us(), What: &mediapb.Event_Refused{Refused: &mediapb.Refused{Why: why}},
	})
}

func (e *Engine) all() []*leg {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := make([]*leg, 0, len(e.legs))
	for _, each := range e.legs {
		all = append(all, each)
	}
	return all
}

// ended lets go of a leg that is out of its room.
func (e *Engine) ended(l *leg) {
	stats := l.stats()
	_, told := l.ending()
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.legs, l.number)
	add(e.past, stats)
	if !told {
		if len(e.gone) >= maxGone {
			clear(e.gone)
		}
		e.gone[l.number] = true
	}
	e.ticker.set(e.legs)
}

// stats are those of all legs there ever were.
func (e *Engine) stats() *mediapb.Stats {
	all := e.all()
	e.mu.Lock()
	total := proto.CloneOf(e.past)
	e.mu.Unlock()
	for _, each := range all {
		add(total, each.stats())
	}
	// With those that no leg was there for.
	total.Refused = e.refused.Load()
	return e.stamped(total, len(all))
}

// stamped adds what is the same for all legs.
func (e *Engine) stamped(stats *mediapb.Stats, legs int) *mediapb.Stats {
	stats.LateTicks, stats.DroppedTicks, stats.Legs = e.lateTicks.Load(), e.out.Dropped(), uint32(legs)
	return stats
}

func add(total, each *mediapb.Stats) {
	total.Received += each.Received
	total.Lost += each.Lost
	total.Late += each.Late
	total.Duplicate += each.Duplicate
	total.Concealed += each.Concealed
	total.FecUsed += each.FecUsed
	total.Sent += each.Sent
	total.RanDry += each.RanDry
	total.Malformed += each.Malformed
	total.TargetMs = max(total.TargetMs, each.TargetMs)
}
