package phone

import (
	"math/rand/v2"
	"sync"

	"github.com/trunkline/trunkline/media-engine/internal/codec"
	"github.com/trunkline/trunkline/media-engine/internal/protocol"
)

// media is our side of a call's session descriptions: what was offered, and what the line does by what was agreed.
type media struct {
	line *line

	mu      sync.Mutex
	near    near
	offered []codec.Kind
	last    string // description, without its version
}

func newMedia(l *line, codecs []codec.Kind) *media {
	return &media{line: l, offered: codecs, near: near{address: l.local(), session: rand.Uint64() >> 2}}
}

// Offer is our description, with all codecs of the call.
func (m *media) Offer() []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.say(func(n near) string { return n.describe(m.offered, eventPayloadType, sendRecv) })
}

// answered reads the answer to our offer. A call may be answered without a description if there was early media.
func (m *media) answered(body []byte) (far, error) {
	if known := m.line.far.Load(); len(body) == 0 && known != nil {
		return *known, nil
	}
	return understand(body, m.offered)
}

// Answer follows an offer in the call, and tells what has changed. All our codecs may be chosen from.
func (m *media) Answer(offer []byte) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	to, err := understand(offer, codec.All)
	if err != nil {
		return nil, err
	}
	m.follow(to)
	return m.say(func(n near) string { return n.answer(to) }), nil
}

// Answered follows what the far end says to an offer that it had asked for. If it can't be read, nothing changes.
func (m *media) Answered(answer []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if to, err := understand(answer, m.offered); err == nil {
		m.follow(to)
	}
}

func (m *media) follow(to far) {
	before := m.line.far.Load()
	m.line.connect(to)
	if before.codecs[0] != to.codecs[0] || before.address != to.address || before.sends() != to.sends() ||
		before.direction != to.direction {
		m.line.tell(protocol.Event{Ev: "media_changed", Codec: to.codecs[0].String(), Direction: string(to.direction)})
	}
}

// say is our next description; its version goes up when it says something else than the last (RFC 3264 8). m.mu is held.
func (m *media) say(describe func(near) string) []byte {
	plain := m.near
	plain.version = 0
	if text := describe(plain); text != m.last {
		m.last = text
		m.near.version++
	}
	return []byte(describe(m.near))
}
