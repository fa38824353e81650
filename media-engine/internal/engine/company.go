package engine

import (
	"sync"
	"time"

	"github.com/trunkline/trunkline/media-engine/internal/mediapb"
)

// company is who else is in the room. Those who vanish together with our connection are held back: nobody says that
// they left before it is certain.
type company struct {
	grace  time.Duration
	joined func(participant)
	left   func(identity string)

	mu      sync.Mutex
	members map[string]*member
	// broken is true while our own connection is.
	broken bool
	closed bool
}

type member struct {
	kind mediapb.ParticipantJoined_Kind
	// waiting runs while somebody is missed, and the connection is there.
	waiting *time.Timer
}

func newCompany(grace time.Duration, joined func(participant), left func(string)) *company {
	return &company{grace: grace, joined: joined, left: left, members: make(map[string]*member)}
}

// add tells of somebody who is new; who comes back within the time of grace was never away.
func (c *company) add(who participant) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	if known := c.members[who.identity]; known != nil {
		known.back()
		return
	}
	c.members[who.identity] = &member{kind: who.kind}
	c.joined(who)
}

// isPhone tells if somebody who is known came over SIP.
func (c *company) isPhone(identity string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.members[identity]
	return known != nil && known.kind == mediapb.ParticipantJoined_PHONE
}

// remove tells that somebody left, later and only if they stay away where the connection may be to blame.
func (c *company) remove(identity string, forGood bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.members[identity]
	switch {
	case known == nil || c.closed:
	case forGood && !c.broken:
		c.drop(identity)
	default:
		c.wait(identity, known)
	}
}

// lost says that our own connection broke.
func (c *company) lost() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broken = true
	for _, known := range c.members {
		known.back()
	}
}

// found says that it is back, and who is in the room now; others have a little time to come back too.
func (c *company) found(present []participant) {
	here := make(map[string]bool, len(present))
	for _, who := range present {
		here[who.identity] = true
		c.add(who)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broken = false
	for identity, known := range c.members {
		if !here[identity] {
			c.wait(identity, known)
		}
	}
}

// close forgets everybody, and tells nothing any more.
func (c *company) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, known := range c.members {
		known.back()
	}
	clear(c.members)
}

func (c *company) wait(identity string, known *member) {
	// While it is broken nobody is counted as missing: found looks who is there.
	if known.waiting != nil || c.broken || c.closed {
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(c.grace, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		// Stopped too late: it was for an absence that is over, or the connection broke again.
		if known.waiting != timer {
			return
		}
		c.drop(identity)
	})
	known.waiting = timer
}

func (c *company) drop(identity string) {
	c.members[identity].back()
	delete(c.members, identity)
	c.left(identity)
}

func (m *member) back() {
	if m.waiting != nil {
		m.waiting.Stop()
		m.waiting = nil
	}
}
