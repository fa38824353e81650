package phone

import (
	"bytes"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/rtp"

	"github.com/trunkline/trunkline/media-engine/internal/codec"
	"github.com/trunkline/trunkline/media-engine/internal/dtmf"
	"github.com/trunkline/trunkline/media-engine/internal/playout"
	"github.com/trunkline/trunkline/media-engine/internal/protocol"
)

const datagramBytes = 2048

// receiver is what a line has received: the reader fills it, the ticker plays it.
type receiver struct {
	heardUs  atomic.Int64 // arrival of the last packet; the start of the audio before the first
	sounding atomic.Bool  // the agent is heard

	mu      sync.Mutex
	buffer  *playout.Buffer
	decoder *codec.Decoder
	gaps    gaps
	keys    dtmf.Receiver
	invalid int64
	// agreed holds all codecs so far: packets of the last one are still under way when the next is agreed upon.
	agreed [128]bool
}

// follow takes a new description of the far end.
func (r *receiver) follow(to far) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, kind := range to.codecs {
		r.agreed[kind] = true
	}
	r.gaps.paused()
}

// play is the next frame for the ear.
func (r *receiver) play(frame []int16) {
	var codes [codec.FrameBytes]codec.Code
	r.mu.Lock()
	defer r.mu.Unlock()
	r.buffer.Pull(codes[:])
	r.decoder.Decode(frame, codes[:])
}

func (r *receiver) stats() protocol.Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	stats := r.buffer.Stats
	return protocol.Stats{
		Received: stats.Received, Lost: stats.Lost(), Late: stats.Late, Duplicate: stats.Duplicate, Resyncs: stats.Resyncs,
		Invalid: r.invalid, Gaps: r.gaps.all.told(), SpeechGaps: r.gaps.speech.told(),
	}
}

func (l *line) readAll() {
	space, control := make([]byte, datagramBytes), make([]byte, controlBytes)
	for {
		size, controlSize, _, from, err := l.socket.ReadMsgUDPAddrPort(space, control)
		if err != nil {
			select {
			case <-l.closing:
				return
			default:
				time.Sleep(time.Millisecond) // an ICMP error of an earlier packet
				continue
			}
		}
		datagram := datagram{space[:size], from}
		if !l.in.perfect {
			datagram.bytes = bytes.Clone(datagram.bytes)
		}
		l.in.push(datagram, arrivalUs(control[:controlSize]))
	}
}

// receive takes one datagram, whatever is in it.
func (l *line) receive(d datagram, arrivedUs int64) {
	r := &l.receiver
	r.mu.Lock()
	defer r.mu.Unlock()
	to, from := l.far.Load(), d.peer.Addr().Unmap()
	var packet rtp.Packet
	if (from != to.address.Addr() && from != l.trusted) || packet.Unmarshal(d.bytes) != nil || packet.Version != 2 {
		r.invalid++
		return
	}
	switch kind := packet.PayloadType; {
	case r.agreed[kind]:
		r.buffer.Push(playout.Packet{
			SSRC: packet.SSRC, Sequence: packet.SequenceNumber, Timestamp: packet.Timestamp,
			Codes: codec.Codes(codec.Kind(kind), packet.Payload),
		}, l.clock.ticks(arrivedUs))
		r.gaps.arrived(packet.Header, len(packet.Payload), arrivedUs, r.sounding.Load())
	case kind == eventPayloadType, kind == to.events && to.events != 0:
		r.buffer.Note(packet.SSRC, packet.SequenceNumber)
		r.gaps.paused()
		if key, ok := r.keys.Receive(packet.Payload, packet.Timestamp); ok {
			l.tell(protocol.Event{Ev: "dtmf", Digit: string(key), AtUs: arrivedUs})
		}
	default:
		r.invalid++
		return
	}
	r.heardUs.Store(arrivedUs)
}
