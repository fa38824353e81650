package engine

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
)

var errNoRoom = errors.New("the token names no room and identity: it can't be shared")

// invitation is where a leg goes.
type invitation struct {
	url, token string
	// shared: as one participant with the other legs that say so, for the same URL, room and identity.
	shared bool
}

// door is what a shared connection is known by.
type door struct{ url, room, identity string }

// sharing are the connections of an engine that may be shared, and what its joins have found out about servers.
type sharing struct {
	mu   sync.Mutex
	open map[door]*connection
	// twoPeers are the servers, by URL, that need two peer connections: see errMuteAnswer.
	twoPeers map[string]bool
}

// connect gives the leg a connection, whose join may still be under way.
func (s *sharing) connect(ctx context.Context, to invitation, leg *liveKitRoom) (*connection, error) {
	if !to.shared {
		return s.connectAlone(ctx, to, leg), nil
	}
	at, err := doorOf(to.url, to.token)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.open[at]
	if c == nil {
		c = newConnection(true)
		c.onEnd = func() { s.forget(at, c) }
		s.open[at] = c
		// The leg that came first may leave before the others are in.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), joinLimit)
		go func() {
			defer cancel()
			s.join(ctx, c, to)
		}()
	}
	c.add(leg)
	return c, nil
}

// connectAlone joins at once, and once more where the server needs two peer connections, which nobody knew.
func (s *sharing) connectAlone(ctx context.Context, to invitation, leg *liveKitRoom) *connection {
	for {
		c := newConnection(false)
		c.add(leg)
		if !errors.Is(s.join(ctx, c, to), errMuteAnswer) || ctx.Err() != nil {
			return c
		}
		c.remove(leg)
		c.room.Disconnect()
	}
}

// join joins in the way that this server is known to need, and remembers if it needs another one.
func (s *sharing) join(ctx context.Context, c *connection, to invitation) error {
	s.mu.Lock()
	onePeer := !s.twoPeers[to.url]
	s.mu.Unlock()
	c.join(ctx, to.url, to.token, onePeer)
	if errors.Is(c.err, errMuteAnswer) {
		slog.Warn("livekit-server enables no video codec, so calls take two peer connections; add video/VP8 to enabled_codecs")
		s.mu.Lock()
		s.twoPeers[to.url] = true
		s.mu.Unlock()
	}
	return c.err
}

// leave takes a leg out of its connection, and the connection with its last leg out of the room.
func (s *sharing) leave(c *connection, leg *liveKitRoom) {
	s.mu.Lock()
	last := c.remove(leg)
	if last {
		// From now on nobody may join it any more.
		s.forgetLocked(c)
	}
	s.mu.Unlock()
	if last {
		c.room.Disconnect()
	} else {
		c.withdraw(leg)
	}
}

func (s *sharing) forget(at door, c *connection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[at] == c {
		delete(s.open, at)
	}
}

func (s *sharing) forgetLocked(c *connection) {
	for at, each := range s.open {
		if each == c {
			delete(s.open, at)
		}
	}
}

// doorOf reads room and identity from a token, whose signature is the server's business.
func doorOf(url, token string) (door, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return door{}, errNoRoom
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return door{}, errNoRoom
	}
	var claims struct {
		Identity string `json:"sub"`
		Video    struct {
			Room string `json:"room"`
		} `json:"video"`
	}
	if json.Unmarshal(text, &claims) != nil || claims.Identity == "" || claims.Video.Room == "" {
		return door{}, errNoRoom
	}
	return door{url, claims.Video.Room, claims.Identity}, nil
}
