// Package utterance holds the agent's audio that waits to be sent: what play, end, pause, resume and flush mean, to
// the sample.
//
// PCM goes in as it is synthesized; the pacer takes one frame of 20 ms at a time and sends it. No I/O, no clock.
package utterance

import "slices"

const (
	// RateHz is the rate of all samples, mono.
	RateHz = 16_000
	// FrameSamples is one frame: 20 ms.
	FrameSamples = RateHz / 50
	// FadeSamples is 10 ms: long enough to hide the cut, short enough to be silent within one frame.
	FadeSamples = RateHz / 100
	// MaxWaitingSamples is the most that may wait, two minutes; more is refused, since no caller listens that long.
	MaxWaitingSamples = 120 * RateHz
	// MaxOpen is the most utterances that may wait; more are refused.
	MaxOpen = 256

	// keepSamples is the longest buffer that is kept for the next utterance: 20 s.
	keepSamples = 20 * RateHz
)

// fadeOut is how loud each of the coming samples still is; a fade in is the same, backwards.
var fadeOut = func() (curve [FadeSamples]float32) {
	for i := range curve {
		curve[i] = 1 - float32(i)/(FadeSamples-1)
	}
	return curve
}()

// Kind tells what happened to an utterance.
type Kind uint8

const (
	// First: this frame is its first.
	First Kind = iota + 1
	// Last: this frame was its last; or it ended without one.
	Last
	// Halted: it was paused or flushed.
	Halted
	// RanDry: nothing was there to play in the middle of it. Told once a gap.
	RanDry
)

// Event tells what happened to an utterance.
type Event struct {
	Kind      Kind
	Utterance uint32
	// Samples is how many of its samples were sent so far, with Last and Halted.
	Samples int64
}

// one is an utterance that is open: begun or waiting, and neither flushed nor played to its end.
type one struct {
	number uint32
	pcm    []int16 // what was given and not thrown away yet
	taken  int     // how much of pcm was sent
	sent   int64
	begun  bool
	ended  bool
	dry    bool
}

func (u *one) waiting() []int16 { return u.pcm[u.taken:] }

// Queue is what waits to be sent on one track. The zero value is empty and ready. It is not safe for concurrent use.
type Queue struct {
	// RefusedSamples counts what was more than MaxWaitingSamples.
	RefusedSamples int64

	open     []one // oldest first; what lies behind its length are spare ones, for their buffers
	newest   uint32
	waiting  int // samples, of all
	paused   bool
	fadingIn bool
	fading   bool // tail is the next frame
	tail     [FrameSamples]int16
	events   [2]Event
}

// Idle is true where nothing is being played: no utterance is open, no fade is due.
func (q *Queue) Idle() bool { return len(q.open) == 0 && !q.fading }

// Paused is true from a pause that found something open, until resume or flush.
func (q *Queue) Paused() bool { return q.paused }

// Ready is true where Next has something to send, or to tell, without waiting for more samples.
func (q *Queue) Ready() bool {
	if q.fading || q.paused || len(q.open) == 0 {
		return q.fading
	}
	u := &q.open[0]
	return u.ended || len(u.waiting()) >= FrameSamples
}

// Play appends a copy of the samples to an utterance; one that was flushed or ended ignores them. A higher number waits
// for the lower to end.
func (q *Queue) Play(utterance uint32, pcm []int16) {
	u := q.find(utterance)
	if u == nil || u.ended {
		return
	}
	if room := MaxWaitingSamples - q.waiting; len(pcm) > room {
		q.RefusedSamples += int64(len(pcm) - room)
		pcm = pcm[:room]
	}
	// Moved to the front at most once for as many samples as are moved: a cost per sample that does not grow.
	if u.taken >= len(u.pcm)-u.taken && len(u.pcm)+len(pcm) > cap(u.pcm) {
		u.pcm = append(u.pcm[:0], u.waiting()...)
		u.taken = 0
	}
	u.pcm = append(u.pcm, pcm...)
	q.waiting += len(pcm)
}

// End says that nothing more comes of this utterance.
func (q *Queue) End(utterance uint32) {
	if u := q.find(utterance); u != nil {
		u.ended = true
	}
}

// Pause fades out and keeps the rest. The faded 10 ms are taken again on resume, so no sample is lost.
//
// The events are valid until the next call.
func (q *Queue) Pause() []Event {
	if q.paused || len(q.open) == 0 {
		return nil
	}
	q.paused = true
	q.fadeOut()
	return q.halted()
}

// Resume goes on where it paused.
func (q *Queue) Resume() {
	if q.paused {
		q.paused, q.fadingIn = false, true
	}
}

// Flush fades out and drops everything.
//
// The events are valid until the next call.
func (q *Queue) Flush() []Event {
	if len(q.open) == 0 {
		return nil
	}
	if !q.paused {
		q.fadeOut()
	}
	events := q.halted()
	for len(q.open) > 0 {
		q.close()
	}
	q.paused, q.fadingIn = false, false
	return events
}

// Next fills the frame that is to be sent now. speaking is false, and the frame untouched, where there is nothing to say.
//
// The events are in order, and valid until the next call.
func (q *Queue) Next(frame *[FrameSamples]int16) (speaking bool, events []Event) {
	if q.fading {
		q.fading = false
		*frame = q.tail
		return true, nil
	}
	if q.paused || len(q.open) == 0 {
		return false, nil
	}
	u := &q.open[0]
	events = q.events[:0]
	left := len(u.waiting())
	if left < FrameSamples && (!u.ended || left == 0) {
		switch {
		case u.ended:
			// Without a sample it was never begun; it ends all the same, so that nobody waits for it.
			events = append(events, Event{Last, u.number, u.sent})
			q.close()
		case u.begun && !u.dry:
			u.dry = true
			events = append(events, Event{Kind: RanDry, Utterance: u.number})
		}
		return false, events
	}
	n := copy(frame[:], u.waiting())
	clear(frame[n:])
	u.taken += n
	u.sent += int64(n)
	q.waiting -= n
	if !u.begun {
		events = append(events, Event{Kind: First, Utterance: u.number})
	}
	u.begun, u.dry = true, false
	if q.fadingIn {
		q.fadingIn = false
		for i := range FadeSamples {
			frame[i] = int16(float32(frame[i]) * fadeOut[FadeSamples-1-i])
		}
	}
	if u.ended && left == n {
		events = append(events, Event{Last, u.number, u.sent})
		q.close()
	}
	return true, events
}

// find is the open utterance of that number, opened if it is a new one; nil if it is over or there are too many.
func (q *Queue) find(number uint32) *one {
	for i := range q.open {
		if q.open[i].number == number {
			return &q.open[i]
		}
	}
	if number <= q.newest || len(q.open) == MaxOpen {
		return nil
	}
	q.newest = number
	at := len(q.open)
	if at == cap(q.open) {
		q.open = slices.Grow(q.open, 1)
	}
	q.open = q.open[:at+1]
	u := &q.open[at]
	*u = one{number: number, pcm: u.pcm[:0]}
	return u
}

// close takes the oldest utterance off, and keeps its buffer for the next one.
func (q *Queue) close() {
	over := q.open[0]
	q.waiting -= len(over.waiting())
	if cap(over.pcm) > keepSamples {
		over.pcm = nil
	}
	last := copy(q.open, q.open[1:])
	q.open[last] = over
	q.open = q.open[:last]
}

func (q *Queue) halted() []Event {
	u := &q.open[0]
	return append(q.events[:0], Event{Halted, u.number, u.sent})
}

// fadeOut makes the next frame a fade over the coming 10 ms, without counting them as sent.
func (q *Queue) fadeOut() {
	u := &q.open[0]
	if !u.begun {
		return
	}
	q.fading = true
	clear(q.tail[:])
	for i, sample := range u.waiting()[:min(FadeSamples, len(u.waiting()))] {
		q.tail[i] = int16(float32(sample) * fadeOut[i])
	}
}
