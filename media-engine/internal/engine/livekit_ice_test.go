package engine

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// mediaRoad passes datagrams on to the SFU, and back, unless it is closed.
type mediaRoad struct {
	near   *net.UDPConn
	to     *net.UDPAddr
	closed atomic.Bool
	mu     sync.Mutex
	far    map[string]*net.UDPConn
}

func newMediaRoad(t *testing.T, to int) *mediaRoad {
	t.Helper()
	near, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	r := &mediaRoad{near: near, to: &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: to}, far: map[string]*net.UDPConn{}}
	t.Cleanup(func() {
		near.Close()
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, each := range r.far {
			each.Close()
		}
	})
	go r.run()
	return r
}

func (r *mediaRoad) port() int { return r.near.LocalAddr().(*net.UDPAddr).Port }

func (r *mediaRoad) run() {
	buf := make([]byte, 2048)
	for {
		n, from, err := r.near.ReadFromUDP(buf)
		if err != nil {
			return
		}
		if far := r.farOf(from); far != nil && !r.closed.Load() {
			_, _ = far.Write(buf[:n])
		}
	}
}

func (r *mediaRoad) farOf(from *net.UDPAddr) *net.UDPConn {
	r.mu.Lock()
	defer r.mu.Unlock()
	if known := r.far[from.String()]; known != nil {
		return known
	}
	far, err := net.DialUDP("udp4", nil, r.to)
	if err != nil {
		return nil
	}
	r.far[from.String()] = far
	go func() {
		buf := make([]byte, 2048)
		for {
			n, err := far.Read(buf)
			if err != nil {
				return
			}
			if !r.closed.Load() {
				_, _ = r.near.WriteToUDP(buf[:n], from)
			}
		}
	}()
	return far
}

// startSFUBehind starts a server that the agent reaches over a road for signals and one for media.
func startSFUBehind(t *testing.T) (*sfu, *mediaRoad) {
	t.Helper()
	s := newSFU(t)
	text, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	// Lite: it sends no checks of its own, which would find a way around the road.
	if err := os.WriteFile(s.config, append(text, "  use_ice_lite: true\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	s.start()
	t.Cleanup(s.kill)
	media := newMediaRoad(t, s.udp)
	signal := newFrailRoad(t, strings.TrimPrefix(s.http, "http://"))
	// The server's address in its candidates is that of the road from now on. Both numbers have five digits.
	announced, wanted := fmt.Sprintf(" %d typ host", s.udp), fmt.Sprintf(" %d typ host", media.port())
	if len(announced) != len(wanted) {
		t.Skip("ports of different lengths")
	}
	signal.rewrite = func(data []byte) []byte {
		return bytes.ReplaceAll(data, []byte(announced), []byte(wanted))
	}
	s.agentURL = "ws://" + signal.listener.Addr().String()
	return s, media
}

func TestMediaThatIsCutOffComesBackWithoutAWord(t *testing.T) {
	for _, gap := range []time.Duration{3 * time.Second, 12 * time.Second, 40 * time.Second} {
		if gap > 5*time.Second && os.Getenv(longEnv) == "" {
			continue
		}
		t.Run(gap.String(), func(t *testing.T) {
			s, media := startSFUBehind(t)
			w := realEngine(t)
			call(t, s, w)
			w.tell(caller, saying(1, tone(3*16000)))
			w.tell(caller, end(1))
			w.eventually("the first tone", func() bool { return loud(w.heard[agent]) >= 40 })
			media.closed.Store(true)
			time.Sleep(gap)
			w.mu.Lock()
			clear(w.heard)
			w.mu.Unlock()
			media.closed.Store(false)
			opened := time.Now()
			for range 3 {
				w.tell(caller, saying(2, tone(20*16000)))
				w.tell(agent, saying(2, tone(20*16000)))
			}
			w.eventually("both tones again", func() bool { return loud(w.heard[agent]) > 40 && loud(w.heard[caller]) > 40 })
			names := w.names(agent)
			t.Logf("heard again after %v; events %v", time.Since(opened), names)
			for _, name := range names {
				if name == "participant_left" || name == "disconnected" {
					t.Errorf("the agent was told %v", name)
				}
			}
			if began := slices.Contains(names, "reconnecting"); began != (gap > 30*time.Second) {
				t.Errorf("after %v without media: %v", gap, names)
			}
		})
	}
}
