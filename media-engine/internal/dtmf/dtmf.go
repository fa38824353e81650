// Package dtmf carries keys as telephone-events (RFC 4733): the payload, its sender and its receiver.
package dtmf

import (
	"encoding/binary"
	"errors"
	"strings"
)

const (
	keys = "0123456789*#ABCD"

	// EventTicks is how long a key is held: 100 ms in steps of 20 ms.
	EventTicks = 5
	// endRepeats is how often the last packet of a key is sent (RFC 4733 section 2.5.1.4).
	endRepeats = 3
	// pauseTicks follow each key.
	pauseTicks = 3

	tickSamples  = 160
	payloadBytes = 4
	volumeDbm0   = 10
	endBit       = 0x80
	volumeBits   = 0x3f
	firstNonKey  = byte(len(keys))
	// oldWindow is how far behind the last key a packet is taken for a late one of it, or of one before it: 10 s.
	oldWindow = 80_000
)

// ErrNotKey is told for events that are no key, such as a modem's tone.
var ErrNotKey = errors.New("dtmf: not a key")

// Event is the payload of one packet.
type Event struct {
	Key      byte // as written on it: 0-9, *, #, A-D
	End      bool
	Volume   uint8
	Duration uint16
}

// Valid tells if all of digits are keys, and there is at least one.
func Valid(digits string) bool {
	return digits != "" && strings.Trim(strings.ToUpper(digits), keys) == ""
}

// Parse reads a payload.
func Parse(payload []byte) (Event, error) {
	if len(payload) < payloadBytes {
		return Event{}, errors.New("dtmf: payload is cut short")
	}
	if payload[0] >= firstNonKey {
		return Event{}, ErrNotKey
	}
	return Event{
		Key:      keys[payload[0]],
		End:      payload[1]&endBit != 0,
		Volume:   payload[1] & volumeBits,
		Duration: binary.BigEndian.Uint16(payload[2:]),
	}, nil
}

// Payload is an event's 4 bytes. A key that does not exist is sent as 0.
func (e Event) Payload() []byte {
	out := make([]byte, payloadBytes)
	out[0] = byte(max(0, strings.IndexByte(keys, e.Key)))
	out[1] = e.Volume & volumeBits
	if e.End {
		out[1] |= endBit
	}
	binary.BigEndian.PutUint16(out[2:], e.Duration)
	return out
}

// Send is one packet to be sent: all packets of a key carry the timestamp of its first.
type Send struct {
	Event
	// First is set on the first packet of a key, which carries the marker bit and sets the timestamp.
	First bool
}

// Sender spreads keys over 20 ms ticks.
type Sender struct {
	queue []byte
	tick  int
}

// Add queues keys; they must be Valid.
func (s *Sender) Add(digits string) { s.queue = append(s.queue, strings.ToUpper(digits)...) }

// Busy tells if a key is being sent, or its pause.
func (s *Sender) Busy() bool { return len(s.queue) > 0 }

// Next is what to send in this tick: no packets in a pause. Call it only while Busy.
func (s *Sender) Next() []Send {
	tick := s.tick
	s.tick++
	key := s.queue[0]
	if s.tick == EventTicks+pauseTicks {
		s.queue, s.tick = s.queue[1:], 0
	}
	event := Event{Key: key, Volume: volumeDbm0, Duration: uint16((tick + 1) * tickSamples)}
	switch {
	case tick >= EventTicks:
		return nil
	case tick == EventTicks-1:
		event.End = true
		sends := make([]Send, endRepeats)
		for i := range sends {
			sends[i] = Send{Event: event}
		}
		return sends
	}
	return []Send{{Event: event, First: tick == 0}}
}

// Receiver tells each key once, though its packets come many times and in any order.
type Receiver struct {
	timestamp uint32
	key       byte
}

// Receive takes a payload with the timestamp of its packet; ok if a key starts with it.
func (r *Receiver) Receive(payload []byte, timestamp uint32) (key byte, ok bool) {
	event, err := Parse(payload)
	if err != nil {
		return 0, false
	}
	behind := r.timestamp - timestamp
	if r.key != 0 && behind < oldWindow {
		return 0, false
	}
	r.timestamp, r.key = timestamp, event.Key
	return event.Key, true
}
