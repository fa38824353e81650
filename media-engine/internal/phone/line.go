package phone

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/rtp"

	"github.com/trunkline/trunkline/media-engine/internal/dtmf"
	"github.com/trunkline/trunkline/media-engine/internal/g711"
	"github.com/trunkline/trunkline/media-engine/internal/monotime"
	"github.com/trunkline/trunkline/media-engine/internal/pcm"
	"github.com/trunkline/trunkline/media-engine/internal/playout"
	"github.com/trunkline/trunkline/media-engine/internal/protocol"
	"github.com/trunkline/trunkline/media-engine/internal/wav"
)

const (
	frameUs        = 20_000
	playoutMs      = 40
	playoutSamples = playoutMs * pcm.RateHz / 1000
	// catchUpUs is how far behind the clock sending may be and still send all frames; beyond, frames are skipped,
	// as a burst would only fill the far end's buffers.
	catchUpUs     = 60_000
	rtpReadBuffer = 1 << 18
)

// line is the audio of one call: RTP out on the clock, RTP in through the playout buffer to the ear, both recorded.
//
// Frame n is sent at start + n * 20 ms. The ear's frame n is rendered one tick later, so that a packet is late only if
// it arrived after its own instant of playout; in the recording both stand at the same place.
type line struct {
	socket   *net.UDPConn
	law      g711.Law
	tell     func(protocol.Event)
	recorder *wav.Recorder // nil: not recorded
	trusted  netip.Addr    // where the signalling goes: RTP from there is taken too
	mouth    mouth
	far      atomic.Pointer[far]

	startOnce sync.Once
	startUs   int64
	started   chan struct{}
	closing   chan struct{}
	ticking   sync.WaitGroup
	reading   sync.WaitGroup

	// of the reader; the buffer is shared with the ticker
	mu       sync.Mutex
	buffer   *playout.Buffer
	invalid  int64
	maxGapUs int64
	heardUs  atomic.Int64 // arrival of the last packet; the start of the audio before the first
	keys     dtmf.Receiver

	// of the ticker
	ear         pcm.Ear
	header      rtp.Header
	firstStamp  uint32
	keyStamp    uint32
	sent        int64
	skipped     int64
	maxSendLate int64
}

func newLine(local netip.Addr, law g711.Law, tell func(protocol.Event), trusted netip.Addr) (*line, error) {
	socket, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(local, 0)))
	if err != nil {
		return nil, err
	}
	_ = socket.SetReadBuffer(rtpReadBuffer)
	return &line{
		socket: socket, law: law, tell: tell, trusted: trusted, buffer: playout.New(playoutSamples),
		started: make(chan struct{}), closing: make(chan struct{}),
		header:     rtp.Header{Version: 2, Marker: true, SequenceNumber: uint16(rand.Uint32()), SSRC: rand.Uint32()},
		firstStamp: rand.Uint32(),
	}, nil
}

// local is where RTP is received.
func (l *line) local() netip.AddrPort {
	address := l.socket.LocalAddr().(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(address.Addr().Unmap(), address.Port())
}

// connect says where to send to; the first time, audio starts.
func (l *line) connect(to far) {
	l.far.Store(&to)
	l.startOnce.Do(func() {
		l.startUs = monotime.Us()
		l.heardUs.Store(l.startUs)
		close(l.started)
		l.ticking.Add(1)
		l.reading.Add(1)
		go l.tickAll()
		go l.readAll()
	})
}

// close stops the audio, finishes the recording and tells how it went.
func (l *line) close() (protocol.Stats, error) {
	l.startOnce.Do(func() {}) // never starts now
	close(l.closing)
	l.ticking.Wait()
	_ = l.socket.Close()
	l.reading.Wait()
	for _, c := range l.mouth.hush() {
		l.tellEnd(c, monotime.Us(), true)
	}
	stats := l.buffer.Stats
	result := protocol.Stats{
		Sent: l.sent, Received: stats.Received, Lost: stats.Lost(), Late: stats.Late, Duplicate: stats.Duplicate,
		Resyncs: stats.Resyncs, Invalid: l.invalid, MaxGapMs: float64(l.maxGapUs) / 1000,
		MaxSendMs: float64(l.maxSendLate) / 1000, SkippedMs: l.skipped * frameUs / 1000,
	}
	if l.recorder == nil {
		return result, nil
	}
	err := l.recorder.Close()
	result.Recordings = l.recorder.Dropped() * 500
	return result, err
}

func (l *line) tickAll() {
	defer l.ticking.Done()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var left [pcm.FrameSamples]int16
	for n := int64(0); ; n++ {
		dueUs := l.startUs + n*frameUs
		timer.Reset(monotime.Until(dueUs))
		select {
		case <-timer.C:
		case <-l.closing:
			if n > 0 {
				l.hear(left[:])
			}
			l.tellHeard(l.ear.Close())
			return
		}
		if n > 0 {
			l.hear(left[:])
		}
		if monotime.Us()-dueUs > catchUpUs {
			l.skipped++
			clear(left[:])
			continue
		}
		l.speak(n, dueUs, &left)
	}
}

// speak sends frame n and leaves what it sent in left.
func (l *line) speak(n, dueUs int64, left *[pcm.FrameSamples]int16) {
	u := l.mouth.next()
	*left = u.frame
	stamp := l.firstStamp + uint32(n)*pcm.FrameSamples
	to := *l.far.Load()
	if len(u.keys) > 0 && to.events != 0 {
		for _, key := range u.keys {
			if key.First {
				l.keyStamp = stamp
			}
			l.send(to, to.events, l.keyStamp, key.First, key.Payload())
		}
	} else {
		var payload [pcm.FrameSamples]byte
		l.law.Encode(payload[:], u.frame[:])
		l.send(to, l.law.PayloadType(), stamp, n == 0, payload[:])
	}
	sentUs := monotime.Us()
	l.maxSendLate = max(l.maxSendLate, sentUs-dueUs)
	if u.of == nil {
		return
	}
	if u.starts {
		offsetUs := int64(u.of.first%pcm.FrameSamples) * 125
		l.tell(protocol.Event{Ev: "play_start", ID: u.of.id, AtUs: sentUs, OffsetUs: &offsetUs})
	}
	if u.ends {
		u.of.speechEndUs = sentUs
	}
	if u.done {
		l.tellEnd(u.of, sentUs, false)
	}
}

func (l *line) tellEnd(c *clip, atUs int64, stopped bool) {
	event := protocol.Event{Ev: "play_end", ID: c.id, AtUs: atUs, Stopped: &stopped}
	if c.speechEndUs != 0 {
		event.SpeechEndUs = &c.speechEndUs
	}
	l.tell(event)
}

func (l *line) send(to far, kind uint8, stamp uint32, marker bool, payload []byte) {
	l.header.PayloadType, l.header.Timestamp, l.header.Marker = kind, stamp, marker
	packet, err := (&rtp.Packet{Header: l.header, Payload: payload}).Marshal()
	if err != nil {
		return
	}
	l.header.SequenceNumber++
	if to.address.Addr().IsUnspecified() {
		return // on hold (RFC 3264 8.4)
	}
	if _, err := l.socket.WriteToUDPAddrPort(packet, to.address); err == nil {
		l.sent++
	}
}

// hear renders the frame that has just been played out, and records it beside what was sent at its start.
func (l *line) hear(left []int16) {
	var right [pcm.FrameSamples]int16
	l.mu.Lock()
	l.buffer.Pull(right[:])
	l.mu.Unlock()
	l.tellHeard(l.ear.Listen(right[:]))
	if l.recorder != nil {
		l.recorder.Write(left, right[:])
	}
}

func (l *line) tellHeard(found []pcm.Heard) {
	for _, heard := range found {
		event := protocol.Event{Ev: "heard_stop", AtUs: l.startUs + heard.At*125}
		if heard.Start {
			event.Ev, event.LevelDbfs = "heard_start", &heard.LevelDbfs
		}
		l.tell(event)
	}
}

func (l *line) readAll() {
	defer l.reading.Done()
	datagram := make([]byte, 2048)
	for {
		size, from, err := l.socket.ReadFromUDPAddrPort(datagram)
		if err != nil {
			select {
			case <-l.closing:
				return
			default:
				time.Sleep(time.Millisecond) // an ICMP error of an earlier packet
				continue
			}
		}
		l.receive(datagram[:size], from.Addr().Unmap(), monotime.Us())
	}
}

// receive takes one datagram, whatever is in it.
func (l *line) receive(datagram []byte, from netip.Addr, arrivedUs int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	to := l.far.Load()
	var packet rtp.Packet
	if (from != to.address.Addr() && from != l.trusted) || packet.Unmarshal(datagram) != nil || packet.Version != 2 {
		l.invalid++
		return
	}
	switch kind := packet.PayloadType; {
	case kind == l.law.PayloadType():
		samples := make([]int16, len(packet.Payload))
		l.law.Decode(samples, packet.Payload)
		l.buffer.Push(playout.Packet{
			SSRC: packet.SSRC, Sequence: packet.SequenceNumber, Timestamp: packet.Timestamp, Samples: samples,
		}, (arrivedUs-l.startUs)/125)
	case kind == eventPayloadType, kind == to.events && to.events != 0:
		l.buffer.Note(packet.SSRC, packet.SequenceNumber)
		if key, ok := l.keys.Receive(packet.Payload, packet.Timestamp); ok {
			l.tell(protocol.Event{Ev: "dtmf", Digit: string(key), AtUs: arrivedUs})
		}
	default:
		l.invalid++
		return
	}
	if last := l.heardUs.Swap(arrivedUs); l.buffer.Stats.Received > 1 {
		l.maxGapUs = max(l.maxGapUs, arrivedUs-last)
	}
}
