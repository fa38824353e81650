package engine

import (
	"sync"
	"time"
)

const (
	// messageBurst may come at once, and messageRate in each second.
	messageBurst = 100
	messageRate  = 50
)

// throttle lets so many messages of a leg's participant pass. The zero value is ready.
type throttle struct {
	mu    sync.Mutex
	taken float64
	at    time.Time
}

// pass tells if one more message may go through now.
func (t *throttle) pass(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.taken = t.taken - now.Sub(t.at).Seconds()*messageRate; t.taken < 0 {
		t.taken = 0
	}
	t.at = now
	if t.taken+1 > messageBurst {
		return false
	}
	t.taken++
	return true
}
