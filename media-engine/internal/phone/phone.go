// Package phone is a telephone with many calls at once: it dials over SIP, speaks and listens over RTP, records what
// was said and heard on one clock, and tells each instant that matters.
//
// In: commands of package protocol. Out: its events.
package phone

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/trunkline/trunkline/media-engine/internal/protocol"
	"github.com/trunkline/trunkline/media-engine/internal/sipua"
)

// Phone holds the calls of a process.
type Phone struct {
	agent    *sipua.Agent
	maxCalls int
	tell     func(protocol.Event)
	ctx      context.Context
	stop     context.CancelCauseFunc
	calls    sync.WaitGroup

	mu     sync.Mutex
	active map[string]*call
}

// New makes a phone. Events may be told from any goroutine, and telling must not block.
func New(config sipua.Config, maxCalls int, tell func(protocol.Event)) *Phone {
	p := &Phone{agent: sipua.New(config), maxCalls: maxCalls, tell: tell, active: map[string]*call{}}
	p.ctx, p.stop = context.WithCancelCause(context.Background())
	return p
}

// Do carries out a command. It does not block; what goes wrong later is told as an event.
func (p *Phone) Do(command protocol.Command) error {
	if dial, ok := command.Do.(protocol.Dial); ok {
		return p.dial(command.Call, dial)
	}
	p.mu.Lock()
	c := p.active[command.Call]
	p.mu.Unlock()
	if c == nil {
		return fmt.Errorf("there is no call %q", command.Call)
	}
	if _, ok := command.Do.(protocol.Hangup); ok {
		c.hangUp(errHungUp)
		return nil
	}
	select {
	case c.commands <- command.Do:
		return nil
	default:
		return fmt.Errorf("%d commands are waiting", queueCommands)
	}
}

func (p *Phone) dial(name string, dial protocol.Dial) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.ctx.Err() != nil:
		return errStopping
	case p.active[name] != nil:
		return fmt.Errorf("call %q is under way already", name)
	case len(p.active) >= p.maxCalls:
		return fmt.Errorf("%d calls at once are the limit (--max-calls)", p.maxCalls)
	}
	c := newCall(p.ctx, name, dial, p.agent, p.tell)
	p.active[name] = c
	p.calls.Add(1)
	go func() {
		defer p.calls.Done()
		// One call must not hurt another: a bug in it ends this call only.
		defer func() {
			if bug := recover(); bug != nil {
				slog.Error("call crashed", "call", name, "error", bug)
				p.forget(name)
				p.tell(protocol.Event{Ev: "failed", Call: name, Reason: fmt.Sprint("bug: ", bug)})
			}
		}()
		c.run(func() { p.forget(name) })
	}()
	return nil
}

func (p *Phone) forget(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.active, name)
}

// Close hangs up all calls and finishes their recordings, for at most the given time. It tells if all was done in time.
func (p *Phone) Close(limit time.Duration) bool {
	p.stop(errStopping)
	done := make(chan struct{})
	go func() { p.calls.Wait(); close(done) }()
	timely := true
	select {
	case <-done:
	case <-time.After(limit):
		timely = false
	}
	p.agent.Close()
	return timely
}
