package phone

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/rtp"

	"github.com/trunkline/trunkline/media-engine/internal/codec"
	"github.com/trunkline/trunkline/media-engine/internal/impair"
	"github.com/trunkline/trunkline/media-engine/internal/monotime"
	"github.com/trunkline/trunkline/media-engine/internal/pcm"
	"github.com/trunkline/trunkline/media-engine/internal/playout"
	"github.com/trunkline/trunkline/media-engine/internal/protocol"
	"github.com/trunkline/trunkline/media-engine/internal/wav"
)

const (
	frameUs      = 20_000
	playoutMs    = 40
	playoutTicks = playoutMs * codec.ClockHz / 1000
	// catchUpUs is how far behind the clock sending may be and still send all frames; beyond, frames are skipped,
	// as a burst would only fill the far end's buffers.
	catchUpUs     = 60_000
	rtpReadBuffer = 1 << 18
)

// line is the audio of one call: RTP out on the clock, RTP in through the playout buffer to the ear, both recorded.
//
// Frame n is sent at start + n * 20 ms of the line's clock. The ear's frame n is rendered one tick later, so that a
// packet is late only if it arrived after its own instant of playout; in the recording both stand at the same place.
// Between the line and its socket lies a network of our own making, which is perfect unless told otherwise.
type line struct {
	socket   *net.UDPConn
	rate     pcm.Rate
	tell     func(protocol.Event)
	recorder *wav.Recorder // nil: not recorded
	trusted  netip.Addr    // where the signalling goes: RTP from there is taken too
	mouth    mouth
	far      atomic.Pointer[far]
	out, in  *wire

	startOnce sync.Once
	clock     clock
	started   chan struct{}
	closing   chan struct{}
	ticking   sync.WaitGroup
	reading   sync.WaitGroup

	receiver receiver // line_in.go
	sender   sender   // line_out.go
	ear      *pcm.Ear // of the ticker
	mixer    *impair.Mixer
}

// clock is the line's, which may run too fast or too slow. Line time is counted in ticks of the RTP clock.
type clock struct {
	startUs int64
	sound   impair.Sound
}

func (c clock) speed() float64 { return 1 + c.sound.DriftPpm/1e6 }

// dueUs is when frame n is.
func (c clock) dueUs(n int64) int64 { return c.startUs + c.sound.FrameUs(n) }

// ticks is the line time of an instant.
func (c clock) ticks(us int64) int64 {
	return int64(float64(us-c.startUs) * c.speed() * codec.ClockHz / 1e6)
}

// us is the instant at which so many microseconds have passed on this clock.
func (c clock) us(passed int64) int64 { return c.startUs + int64(float64(passed)/c.speed()) }

func newLine(local netip.Addr, dial protocol.Dial, tell func(protocol.Event), trusted netip.Addr) (*line, error) {
	socket, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(local, 0)))
	if err != nil {
		return nil, err
	}
	_ = socket.SetReadBuffer(rtpReadBuffer)
	stampArrivals(socket)
	rate := pcm.Narrow
	if slices.Contains(dial.Codecs, codec.G722) {
		rate = pcm.Wide
	}
	l := &line{
		socket: socket, rate: rate, tell: tell, trusted: trusted, clock: clock{sound: dial.Impair.Sound},
		started: make(chan struct{}), closing: make(chan struct{}), ear: pcm.NewEar(rate),
		receiver: receiver{buffer: playout.New(playoutTicks), decoder: codec.NewDecoder(rate)},
		sender: sender{
			encoder: codec.NewEncoder(rate), firstStamp: rand.Uint32(), marker: true,
			header: rtp.Header{Version: 2, SequenceNumber: uint16(rand.Uint32()), SSRC: rand.Uint32()},
		},
	}
	if dial.Impair.Sound != (impair.Sound{}) {
		l.mixer = impair.NewMixer(atRate(dial.Impair, rate), int(rate))
	}
	l.out = newWire(dial.Impair.Sent, impair.NewSent[datagram](dial.Impair), func(d datagram, _ int64) {
		_, _ = l.socket.WriteToUDPAddrPort(d.bytes, d.peer)
	})
	l.in = newWire(dial.Impair.Received, impair.NewReceived[datagram](dial.Impair), l.receive)
	return l, nil
}

// atRate brings noise that was given, which is of 16 kHz, to the rate of the line.
func atRate(config impair.Config, rate pcm.Rate) impair.Config {
	if noise := config.Sound.Noise; noise != nil && rate == pcm.Narrow && len(noise.PCM) > 1 {
		slower := *noise
		slower.PCM = pcm.Halve(noise.PCM)
		config.Sound.Noise = &slower
	}
	return config
}

// local is where RTP is received.
func (l *line) local() netip.AddrPort {
	address := l.socket.LocalAddr().(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(address.Addr().Unmap(), address.Port())
}

// connect says how the far end wants it from now on; the first time, audio starts.
func (l *line) connect(to far) {
	l.far.Store(&to)
	l.receiver.follow(to)
	l.startOnce.Do(func() {
		l.clock.startUs = monotime.Us()
		l.receiver.heardUs.Store(l.clock.startUs)
		close(l.started)
		l.ticking.Add(1)
		go l.tickAll()
		for _, work := range []func(){l.readAll, func() { l.in.run(l.closing) }, func() { l.out.run(l.closing) }} {
			l.reading.Go(work)
		}
	})
}

// live tells if audio has started.
func (l *line) live() bool {
	select {
	case <-l.started:
		return true
	default:
		return false
	}
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
	result := l.receiver.stats()
	result.Sent, result.SkippedMs = l.sender.sent, l.sender.skipped*frameUs/1000
	result.MaxSendMs = float64(l.sender.maxLateUs) / 1000
	result.ImpairedSent, result.ImpairedReceived = l.out.told(), l.in.told()
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
	said := make([]int16, l.rate.Frame())
	for n := int64(0); ; n++ {
		dueUs := l.clock.dueUs(n)
		timer.Reset(monotime.Until(dueUs))
		select {
		case <-timer.C:
		case <-l.closing:
			if n > 0 {
				l.hear(said)
			}
			l.tellHeard(l.ear.Close())
			return
		}
		if n > 0 {
			l.hear(said)
		}
		clear(said)
		if monotime.Us()-dueUs > catchUpUs {
			l.sender.skipped++
			continue
		}
		l.speak(n, dueUs, said)
	}
}

// hear renders the frame that has just been played out, and records it beside what was sent at its start.
func (l *line) hear(said []int16) {
	heard := make([]int16, l.rate.Frame())
	l.receiver.play(heard)
	found := l.ear.Listen(heard)
	l.receiver.sounding.Store(l.ear.Sounding())
	l.tellHeard(found)
	if l.mixer != nil {
		l.mixer.Hear(heard)
	}
	if l.recorder != nil {
		l.recorder.Write(said, heard)
	}
}

func (l *line) tellHeard(found []pcm.Heard) {
	for _, heard := range found {
		event := protocol.Event{Ev: "heard_stop", AtUs: l.clock.us(l.rate.Us(heard.At))}
		if heard.Start {
			event.Ev, event.LevelDbfs = "heard_start", &heard.LevelDbfs
		}
		l.tell(event)
	}
}
