package phone

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/trunkline/trunkline/media-engine/internal/monotime"
	"github.com/trunkline/trunkline/media-engine/internal/protocol"
	"github.com/trunkline/trunkline/media-engine/internal/sipua"
	"github.com/trunkline/trunkline/media-engine/internal/wav"
)

const (
	// callLimit is the longest call, as with carriers.
	callLimit = 4 * time.Hour
	// byeLimit is how long the far end may take to acknowledge that we hung up.
	byeLimit = 4 * time.Second
	// silentLimit without a packet, the far end is asked if the call still exists; it has aliveLimit to answer.
	silentLimit = 15 * time.Second
	aliveLimit  = 10 * time.Second

	queueCommands = 64
)

// Why a call's context ended.
var (
	errHungUp   = errors.New("hung up")
	errStopping = errors.New("the phone is switched off")
	errRinging  = errors.New("not answered in time")
	errCallOver = errors.New("longer than a call may be")
	errGone     = errors.New("the far end is gone")
)

// call is one call from dial to its last event.
type call struct {
	name     string
	dial     protocol.Dial
	agent    *sipua.Agent
	tellAll  func(protocol.Event)
	commands chan any // bounded; a command that does not fit is refused with an error event
	ctx      context.Context
	hangUp   context.CancelCauseFunc
	line     *line
	media    *media
}

func newCall(ctx context.Context, name string, dial protocol.Dial, agent *sipua.Agent, tell func(protocol.Event)) *call {
	c := &call{name: name, dial: dial, agent: agent, tellAll: tell, commands: make(chan any, queueCommands)}
	c.ctx, c.hangUp = context.WithCancelCause(ctx)
	return c
}

func (c *call) tell(event protocol.Event) {
	event.Call = c.name
	if event.AtUs == 0 {
		event.AtUs = monotime.Us()
	}
	c.tellAll(event)
}

// run lives through the call; the last event it tells is refused, failed or ended. Its name is free just before.
func (c *call) run(free func()) {
	defer c.hangUp(nil)
	dialog, err := c.prepare()
	if err != nil {
		free()
		c.tell(protocol.Event{Ev: "failed", Reason: err.Error()})
		return
	}
	obeying, stopObeying := context.WithCancel(context.Background())
	obeyed := make(chan struct{})
	go func() { defer close(obeyed); c.obey(obeying) }()
	event := c.converse(dialog)
	stopObeying()
	<-obeyed
	stats, err := c.line.close()
	if err != nil {
		c.tell(protocol.Event{Ev: "error", Message: "the recording is incomplete: " + err.Error()})
	}
	if event.Ev == "ended" {
		event.Stats = &stats
		if c.line.clock.startUs != 0 {
			event.RecordingUs = c.line.clock.startUs
		}
	}
	if c.dial.WAV != "" && c.line.clock.startUs == 0 {
		_ = os.Remove(c.dial.WAV) // nothing was heard or said
	}
	free()
	c.tell(event)
}

// prepare checks the command, opens the RTP socket and the recording.
func (c *call) prepare() (*sipua.Dialog, error) {
	target, err := sipua.ParseTarget(c.dial.URI)
	if err != nil {
		return nil, err
	}
	dialog, err := c.agent.Prepare(c.ctx, target)
	if err != nil {
		return nil, err
	}
	if c.line, err = newLine(dialog.LocalIP(), c.dial, c.tell, dialog.RemoteIP()); err != nil {
		return nil, err
	}
	c.media = newMedia(c.line, c.dial.Codecs)
	if c.dial.WAV != "" {
		if c.line.recorder, err = wav.Create(c.dial.WAV, int(c.line.rate)); err != nil {
			return nil, errors.Join(fmt.Errorf("the recording can't be made: %w", err), c.line.socket.Close())
		}
	}
	return dialog, nil
}

// converse dials, waits for the call's end and returns its last event.
func (c *call) converse(dialog *sipua.Dialog) protocol.Event {
	ringing := time.AfterFunc(c.dial.RingTimeout, func() { c.hangUp(errRinging) })
	answer, err := dialog.Invite(c.ctx, sipua.Offer{
		From: c.dial.From, Username: c.dial.Username, Password: c.dial.Password,
		SDP:      c.media.Offer(),
		Progress: c.progress,
	})
	ringing.Stop()
	var refused *sipua.Refused
	switch {
	case errors.As(err, &refused):
		return protocol.Event{Ev: "refused", Status: refused.Status, Reason: refused.Reason}
	case errors.Is(err, sipua.ErrCancelled) && context.Cause(c.ctx) == errRinging:
		return protocol.Event{Ev: "failed", Reason: fmt.Sprintf("not answered in %g s", c.dial.RingTimeout.Seconds())}
	case errors.Is(err, sipua.ErrCancelled):
		return protocol.Event{Ev: "ended", By: protocol.ByCaller, Reason: context.Cause(c.ctx).Error() + " before it was answered"}
	case err != nil:
		return protocol.Event{Ev: "failed", Reason: err.Error()}
	}
	answeredUs := monotime.Us()
	to, err := c.media.answered(answer)
	if err != nil {
		c.bye(dialog)
		return protocol.Event{Ev: "failed", Reason: err.Error()}
	}
	c.line.connect(to)
	c.tell(protocol.Event{
		Ev: "answered", AtUs: answeredUs, Codec: to.codecs[0].String(), PlayoutMs: playoutMs, RecordingUs: c.line.clock.startUs,
	})
	dialog.Confirm(c.media)
	return c.untilEnd(dialog)
}

// progress tells that it rings, and starts audio where the far end sends early media.
func (c *call) progress(status int, body []byte) {
	if status == 180 || status == 183 {
		c.tell(protocol.Event{Ev: "ringing", Status: status})
	}
	if len(body) == 0 {
		return
	}
	to, err := c.media.answered(body)
	if err != nil {
		slog.Warn("early media can't be heard", "call", c.name, "error", err)
		return
	}
	first := !c.line.live()
	c.line.connect(to)
	if first {
		c.tell(protocol.Event{
			Ev: "early_media", Status: status, Codec: to.codecs[0].String(), PlayoutMs: playoutMs,
			RecordingUs: c.line.clock.startUs,
		})
	}
}

func (c *call) untilEnd(dialog *sipua.Dialog) protocol.Event {
	over := time.NewTimer(callLimit)
	defer over.Stop()
	look := time.NewTicker(silentLimit / 3)
	defer look.Stop()
	for {
		select {
		case <-dialog.Ended():
			return protocol.Event{Ev: "ended", By: protocol.ByAgent, Reason: dialog.EndReason()}
		case to := <-dialog.Referred():
			c.tell(protocol.Event{Ev: "refer", To: to})
		case <-c.ctx.Done():
			return c.bye(dialog)
		case <-over.C:
			c.hangUp(errCallOver)
		case <-look.C:
			if monotime.Until(c.line.receiver.heardUs.Load()) < -silentLimit && !c.alive(dialog) {
				c.hangUp(errGone)
			}
		}
	}
}

func (c *call) alive(dialog *sipua.Dialog) bool {
	ctx, cancel := context.WithTimeout(c.ctx, aliveLimit)
	defer cancel()
	err := dialog.Alive(ctx)
	return err == nil || c.ctx.Err() != nil
}

// bye hangs up and returns the call's last event.
func (c *call) bye(dialog *sipua.Dialog) protocol.Event {
	c.hangUp(nil)
	cause := context.Cause(c.ctx)
	event := protocol.Event{Ev: "ended", By: protocol.ByCaller, Reason: cause.Error(), AtUs: monotime.Us()}
	if errors.Is(cause, errCallOver) || errors.Is(cause, errGone) {
		event.By = protocol.ByError
	}
	ctx, cancel := context.WithTimeout(context.Background(), byeLimit)
	defer cancel()
	if err := dialog.Bye(ctx); err != nil {
		slog.Warn("hang-up not acknowledged", "call", c.name, "error", err)
	}
	return event
}

// obey does what the user says about a call that is under way, one thing after the other.
func (c *call) obey(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case command := <-c.commands:
			if err := c.do(command); err != nil {
				c.tell(protocol.Event{Ev: "error", Message: err.Error()})
			}
		}
	}
}

func (c *call) do(command any) error {
	switch command := command.(type) {
	case protocol.Play:
		clip, err := load(command.ID, command.WAV, c.line.rate)
		if err != nil {
			return fmt.Errorf("play %s: %w", command.ID, err)
		}
		return c.line.mouth.play(clip)
	case protocol.Stop:
		for _, clip := range c.line.mouth.hush() {
			c.line.tellEnd(clip, monotime.Us(), true)
		}
	case protocol.DTMF:
		if !c.line.live() {
			return errors.New("dtmf: the call is not answered yet")
		}
		if c.line.far.Load().events == 0 {
			return errors.New("dtmf: the far end takes no telephone-events")
		}
		c.line.mouth.press(command.Digits)
	}
	return nil
}
