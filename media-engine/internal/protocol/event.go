package protocol

import (
	"encoding/json"
	"io"
	"log/slog"
	"sync/atomic"
	"time"
)

// Who ended a call.
const (
	ByCaller = "caller"
	ByAgent  = "agent"
	ByError  = "error"
)

// queueEvents is how many events wait for a slow reader. When it is full, events are lost, and an error tells how many:
// audio never waits for a reader.
const queueEvents = 8192

// Gaps are the times between the arrivals of two packets, of which the later one carries what was spoken right after the
// earlier one, or after packets that were lost between them. Where a sender pauses, there is no gap.
type Gaps struct {
	Count int64 `json:"count"`
	// Long is how many were of 60 ms or more, so that a buffer of 40 ms ran dry.
	Long  int64   `json:"long"`
	P50Ms float64 `json:"p50_ms"`
	P99Ms float64 `json:"p99_ms"`
	MaxMs float64 `json:"max_ms"`
}

// Network is what was done on purpose to packets of one direction.
type Network struct {
	Packets    uint64 `json:"packets"`
	Lost       uint64 `json:"lost"`
	Reordered  uint64 `json:"reordered"`
	Duplicated uint64 `json:"duplicated"`
}

// Stats are a call's packets.
type Stats struct {
	Sent       int64   `json:"sent"`
	Received   int64   `json:"received"`
	Lost       int64   `json:"lost"`
	Late       int64   `json:"late"`
	Duplicate  int64   `json:"duplicate"`
	Resyncs    int64   `json:"resyncs"`
	Invalid    int64   `json:"invalid"`
	Gaps       Gaps    `json:"gaps"`
	SpeechGaps Gaps    `json:"speech_gaps"` // those of Gaps while the agent was heard
	MaxSendMs  float64 `json:"max_send_late_ms"`
	SkippedMs  int64   `json:"skipped_ms"`
	Recordings int64   `json:"recording_dropped_ms"`

	ImpairedSent     *Network `json:"impaired_sent,omitempty"`
	ImpairedReceived *Network `json:"impaired_received,omitempty"`
}

// Event is one line of output. AtUs and the other instants are microseconds of CLOCK_MONOTONIC.
type Event struct {
	Ev          string   `json:"ev"`
	Call        string   `json:"call,omitempty"`
	ID          string   `json:"id,omitempty"`
	AtUs        int64    `json:"at_us,omitempty"`
	Status      int      `json:"status,omitempty"`
	Reason      string   `json:"reason,omitempty"`
	Codec       string   `json:"codec,omitempty"`
	Direction   string   `json:"direction,omitempty"`
	PlayoutMs   int      `json:"playout_ms,omitempty"`
	RecordingUs int64    `json:"recording_us,omitempty"`
	OffsetUs    *int64   `json:"offset_us,omitempty"`
	SpeechEndUs *int64   `json:"speech_end_us,omitempty"`
	Stopped     *bool    `json:"stopped,omitempty"`
	LevelDbfs   *float64 `json:"level_dbfs,omitempty"`
	Digit       string   `json:"digit,omitempty"`
	By          string   `json:"by,omitempty"`
	To          string   `json:"to,omitempty"`
	Stats       *Stats   `json:"stats,omitempty"`
	Message     string   `json:"message,omitempty"`
}

// Out writes events, one line each, in the order in which they were told.
type Out struct {
	queue chan Event
	over  chan struct{}
	done  chan struct{}
	lost  atomic.Int64
	// broken is set by the writer when nobody reads any more.
	broken bool
}

// NewOut starts writing to a stream.
func NewOut(stream io.Writer) *Out {
	out := &Out{queue: make(chan Event, queueEvents), over: make(chan struct{}), done: make(chan struct{})}
	go out.drain(stream)
	return out
}

// Tell queues an event; it never blocks.
func (o *Out) Tell(event Event) {
	select {
	case o.queue <- event:
	default:
		o.lost.Add(1)
	}
}

// Close writes what is queued, for at most the given time. What is told afterwards is dropped.
func (o *Out) Close(limit time.Duration) {
	close(o.over)
	select {
	case <-o.done:
	case <-time.After(limit):
		slog.Warn("events not read in time")
	}
}

func (o *Out) drain(stream io.Writer) {
	defer close(o.done)
	encoder := json.NewEncoder(stream)
	encoder.SetEscapeHTML(false)
	for {
		select {
		case event := <-o.queue:
			o.write(encoder, event)
		case <-o.over:
			for len(o.queue) > 0 {
				o.write(encoder, <-o.queue)
			}
			return
		}
	}
}

func (o *Out) write(encoder *json.Encoder, event Event) {
	if o.broken {
		return
	}
	if lost := o.lost.Swap(0); lost > 0 {
		slog.Error("events lost", "count", lost)
		_ = encoder.Encode(Event{Ev: "error", Message: "events were not read in time, and some are lost"})
	}
	if err := encoder.Encode(event); err != nil {
		slog.Error("events can't be written", "error", err)
		o.broken = true
	}
}
