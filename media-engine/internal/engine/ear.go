package engine

import (
	"encoding/binary"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"

	"github.com/pion/rtp"

	"github.com/trunkline/trunkline/media-engine/internal/impair"
	"github.com/trunkline/trunkline/media-engine/internal/jitter"
	"github.com/trunkline/trunkline/media-engine/internal/mediapb"
	"github.com/trunkline/trunkline/media-engine/internal/monotime"
	"github.com/trunkline/trunkline/media-engine/internal/opus"
)

const (
	frameBytes = 2 * opus.FrameSamples
	frameMs    = 20
	// mtuBytes is room for any packet that comes from a network.
	mtuBytes = 1500
	// dtxBytes is the longest packet that stands for silence (RFC 6716, section 3.1: a TOC byte and nothing to decode).
	dtxBytes = 2
	// quietest level of RFC 6464.
	quietest = 127
	// heldSamples is room for what a long packet leaves over and another long one.
	heldSamples = 2 * opus.MaxPacketSamples
)

// ear turns the packets of the track that we listen to into frames of 20 ms.
type ear struct {
	config jitter.Config
	// malformed counts packets that were none, or could not be decoded.
	malformed atomic.Uint64

	mu      sync.Mutex
	current track
	buffer  *jitter.Buffer
	decoder *opus.Decoder
	past    jitter.Stats          // of the tracks before
	line    *impair.Link[arrival] // nil, except with callers of tests

	held      [heldSamples]int16
	n         int // samples in held
	heard     bool
	concealed bool
	frame     mediapb.Frame
	pcm       [frameBytes]byte
}

// follow listens to this track, and to none before it any more. It returns at the end of the track.
func (e *ear) follow(audio track) {
	decoder, err := opus.NewDecoder()
	if err != nil {
		slog.Error("can't listen", "error", err)
		return
	}
	e.mu.Lock()
	e.past = e.statsLocked()
	e.past.TargetMs = 0
	buffer := jitter.New(e.config)
	e.current, e.buffer, e.decoder = audio, buffer, decoder
	e.n, e.heard = 0, false
	e.mu.Unlock()
	buf := make([]byte, mtuBytes)
	var packet rtp.Packet
	var fillers uint16
	for {
		n, err := audio.read(buf)
		if err != nil {
			return
		}
		arrivedUs := monotime.Us()
		if packet.Unmarshal(buf[:n]) != nil {
			e.malformed.Add(1)
			continue
		}
		if len(packet.Payload) == 0 {
			continue
		}
		if filler(packet.Payload) {
			fillers++
			continue
		}
		payload := append([]byte(nil), packet.Payload...)
		e.mu.Lock()
		if e.current != audio {
			e.mu.Unlock()
			return
		}
		// Without the fillers the numbers have no hole: a pause like any other.
		number := packet.SequenceNumber - fillers
		if e.line == nil {
			buffer.Push(number, packet.Timestamp, payload, arrivedUs)
		} else {
			e.line.Push(arrival{audio, number, packet.Timestamp, payload}, arrivedUs)
		}
		e.mu.Unlock()
	}
}

// filler tells if a packet is one that livekit-server makes up for a track that is silent or muted: digital silence,
// sent a little too slowly, so that it would be taken for a growing delay of the network.
func filler(payload []byte) bool {
	const toc = "\xf8\xff\xfe"
	if len(payload) < len(toc) || string(payload[:len(toc)]) != toc {
		return false
	}
	for _, rest := range payload[len(toc):] {
		if rest != 0 {
			return false
		}
	}
	return true
}

// forget listens to nothing any more.
func (e *ear) forget() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.past = e.statsLocked()
	e.past.TargetMs = 0
	e.current, e.buffer, e.decoder = nil, nil, nil
}

// tick is the frame of this tick, valid until the next one; nil where nothing was received.
func (e *ear) tick(dueUs int64) *mediapb.Frame {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.buffer == nil {
		return nil
	}
	if e.line != nil {
		e.arrive(dueUs)
	}
	for ms := 0; ms < frameMs; {
		out := e.buffer.Pull(dueUs)
		e.take(out)
		ms += max(out.Ms, 10)
	}
	return e.finish()
}

// finish makes a frame of the oldest 20 ms that are held.
func (e *ear) finish() *mediapb.Frame {
	if !e.heard {
		e.n = 0
		return nil
	}
	clear(e.held[min(e.n, opus.FrameSamples):opus.FrameSamples])
	samples := e.held[:opus.FrameSamples]
	for i, sample := range samples {
		binary.LittleEndian.PutUint16(e.pcm[2*i:], uint16(sample))
	}
	e.frame.LevelDbov, e.frame.Concealed, e.frame.Pcm = level(samples), e.concealed, e.pcm[:]
	e.n = copy(e.held[:], e.held[opus.FrameSamples:max(e.n, opus.FrameSamples)])
	return &e.frame
}

// take decodes what the buffer hands out, behind what is held.
func (e *ear) take(out jitter.Out) {
	samples := min(max(out.Ms, 10)*opus.RateHz/1000, opus.MaxPacketSamples)
	if e.n+opus.MaxPacketSamples > len(e.held) {
		e.n = 0
	}
	room := e.held[e.n : e.n+opus.MaxPacketSamples]
	var err error
	switch out.Kind {
	case jitter.Rest:
		return
	case jitter.Silence:
		clear(room[:samples])
		e.heard = false
	case jitter.Packet:
		e.heard, e.concealed = len(out.Payload) > dtxBytes, false
		samples, err = e.decoder.Decode(out.Payload, room)
	case jitter.FEC:
		e.heard, e.concealed = true, false
		err = e.decoder.FEC(out.Payload, room[:samples])
	case jitter.Conceal:
		e.heard, e.concealed = true, true
		err = e.decoder.Conceal(room[:samples])
	}
	if err != nil {
		e.malformed.Add(1)
		samples, e.heard, e.concealed = opus.FrameSamples, true, true
		if e.decoder.Conceal(room[:samples]) != nil {
			clear(room[:samples])
		}
	}
	e.n += samples
}

// stats are those of all tracks so far.
func (e *ear) stats() jitter.Stats {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.statsLocked()
}

func (e *ear) statsLocked() jitter.Stats {
	if e.buffer == nil {
		return e.past
	}
	return sum(e.past, e.buffer.Stats())
}

func sum(a, b jitter.Stats) jitter.Stats {
	return jitter.Stats{
		Received: a.Received + b.Received, Lost: a.Lost + b.Lost, Late: a.Late + b.Late,
		Duplicate: a.Duplicate + b.Duplicate, Concealed: a.Concealed + b.Concealed, FECUsed: a.FECUsed + b.FECUsed,
		TargetMs: max(a.TargetMs, b.TargetMs),
	}
}

// level is how far the samples are below overload, in dB: 0 to 127.
func level(samples []int16) uint32 {
	var power int64
	for _, sample := range samples {
		power += int64(sample) * int64(sample)
	}
	if power == 0 {
		return quietest
	}
	const overload = 32768.0 * 32768.0
	below := -10 * math.Log10(float64(power)/(overload*float64(len(samples))))
	return uint32(min(max(math.Round(below), 0), quietest))
}
