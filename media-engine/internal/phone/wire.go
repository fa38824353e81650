package phone

import (
	"net/netip"
	"sync"
	"time"

	"github.com/trunkline/trunkline/media-engine/internal/impair"
	"github.com/trunkline/trunkline/media-engine/internal/monotime"
	"github.com/trunkline/trunkline/media-engine/internal/protocol"
)

// datagram is a packet and the other side's address.
type datagram struct {
	bytes []byte
	peer  netip.AddrPort
}

// wire is the network in one direction: each packet comes out of it in its time, or not at all.
type wire struct {
	perfect bool
	deliver func(d datagram, atUs int64)
	moved   chan struct{}

	mu   sync.Mutex
	link *impair.Link[datagram]
}

func newWire(network impair.Network, link *impair.Link[datagram], deliver func(datagram, int64)) *wire {
	return &wire{perfect: network == impair.Network{}, deliver: deliver, moved: make(chan struct{}, 1), link: link}
}

// push sends a packet into it; a perfect one delivers it before it returns.
func (w *wire) push(d datagram, nowUs int64) {
	if w.perfect {
		w.deliver(d, nowUs)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.link.Push(d, nowUs)
	select {
	case w.moved <- struct{}{}:
	default:
	}
}

// run delivers what is due, until stopped.
func (w *wire) run(stopped <-chan struct{}) {
	if w.perfect {
		return
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-stopped:
			return
		case <-w.moved:
		case <-timer.C:
		}
		if nextUs, waiting := w.flush(monotime.Us()); waiting {
			timer.Reset(monotime.Until(nextUs))
		}
	}
}

// flush delivers what is due now and tells when the next packet is.
func (w *wire) flush(nowUs int64) (nextUs int64, waiting bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		d, outUs, ok := w.link.Pop(nowUs)
		if !ok {
			return w.link.NextUs()
		}
		w.deliver(d, max(outUs, nowUs))
	}
}

// told is what was done to packets so far; nil for a perfect wire.
func (w *wire) told() *protocol.Network {
	if w.perfect {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	stats := w.link.Stats()
	return &protocol.Network{
		Packets: stats.Pushed, Lost: stats.Lost + stats.Overflowed, Reordered: stats.Reordered, Duplicated: stats.Duplicated,
	}
}
