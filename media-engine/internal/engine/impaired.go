package engine

import (
	"encoding/binary"
	"math"
	"sync"
	"time"

	"github.com/pion/rtp"

	"github.com/trunkline/trunkline/media-engine/internal/impair"
	"github.com/trunkline/trunkline/media-engine/internal/mediapb"
	"github.com/trunkline/trunkline/media-engine/internal/monotime"
	"github.com/trunkline/trunkline/media-engine/internal/opus"
)

// maxFrames are more than fall due in a tick by any clock that drifts: the ticks stood still.
const maxFrames = 3

// impair spoils what the leg says and hears from now on, instead of how it did before; it tells why it can't.
func (l *leg) impair(do *mediapb.Impair) (why string) {
	config, err := impair.Parse([]byte(do.GetConfig()))
	if err != nil {
		return err.Error()
	}
	if config == (impair.Config{}) {
		l.heal()
		return ""
	}
	l.mouth.impair(newBadMicrophone(config, l.room))
	l.ear.impair(config)
	l.impaired.Store(true)
	return ""
}

// heal has nothing spoil the leg any more.
func (l *leg) heal() {
	l.impaired.Store(false)
	l.mouth.impair(nil)
	l.ear.impair(impair.Config{})
}

// tickImpaired hears first, since what was heard is in what is said.
func (l *leg) tickImpaired(number, dueUs int64) *mediapb.Frame {
	frame := l.ear.tick(dueUs)
	l.mouth.hear(frame)
	l.mouth.tick(number, l.room)
	return frame
}

// badMicrophone is what lies between a mouth and the network.
type badMicrophone struct {
	sound impair.Sound
	mixer *impair.Mixer
	out   *badLine
	// Frames are counted from a tick on: that of the first frame, and when it was.
	started  bool
	tick     int64
	tickUs   int64
	frames   int64
	firstRTP int64 // the number by which its RTP time is counted
}

func newBadMicrophone(config impair.Config, to room) *badMicrophone {
	return &badMicrophone{
		sound: config.Sound, mixer: impair.NewMixer(config, opus.RateHz),
		out: &badLine{room: to, link: impair.NewSent[*rtp.Packet](config)},
	}
}

// due is how many frames the caller's own clock has in this tick: one, except where it drifts.
func (b *badMicrophone) due(number int64) int {
	elapsedUs := (number - b.tick) * tickUs
	n := int64(0)
	for n < maxFrames && b.sound.FrameUs(b.frames+n) <= elapsedUs {
		n++
	}
	if b.started && n < maxFrames {
		return int(n)
	}
	b.firstRTP = max(number, b.firstRTP+b.frames)
	b.started, b.tick, b.tickUs, b.frames = true, number, monotime.Us(), 0
	return 1
}

// sentUs is when the frame is sent by the caller's clock: within the tick after the one in which it is due, so that
// packets drift evenly and do not jump by a tick now and then.
func (b *badMicrophone) sentUs() int64 {
	if b.sound.DriftPpm == 0 {
		return monotime.Us()
	}
	return b.tickUs + b.sound.FrameUs(b.frames) + tickUs
}

func (m *mouth) impair(by *badMicrophone) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.impaired != nil {
		m.impaired.out.close()
	}
	m.impaired = by
}

// hear is told what was heard in this tick, before it is spoken.
func (m *mouth) hear(frame *mediapb.Frame) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.impaired == nil {
		return
	}
	var heard [opus.FrameSamples]int16
	if frame != nil {
		for i := range heard {
			heard[i] = int16(binary.LittleEndian.Uint16(frame.GetPcm()[2*i:]))
		}
	}
	m.impaired.mixer.Hear(heard[:])
}

// tickImpaired is tick for one that is spoiled. Noise and echo are sent also while nothing is said.
func (m *mouth) tickImpaired(number int64) {
	b := m.impaired
	if m.encoder == nil || !b.out.ready() {
		m.owed = 0
		return
	}
	for range b.due(number) {
		clear(m.frame[:])
		speaking, events := m.queue.Next(&m.frame)
		added, muted := b.mixer.Mix(m.frame[:])
		speaking = (speaking || added) && !muted
		if speaking {
			b.out.sentUs = b.sentUs()
			m.send(b.firstRTP+b.frames, b.out)
		}
		m.owed = 0
		if speaking {
			m.owed = hushFrames
		}
		b.frames++
		m.tellAll(events, monotime.Us())
	}
}

// badLine is a room behind a bad network.
type badLine struct {
	room
	sentUs int64 // of the next packet

	mu     sync.Mutex
	link   *impair.Link[*rtp.Packet]
	timer  *time.Timer
	closed bool
}

// send never fails: what is lost is lost without a word.
func (b *badLine) send(packet *rtp.Packet) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.link.Push(packet.Clone(), b.sentUs)
	b.release()
	return nil
}

// release sends what is out, and comes back for the rest.
func (b *badLine) release() {
	nowUs := monotime.Us()
	for !b.closed {
		packet, _, ok := b.link.Pop(nowUs)
		if !ok {
			break
		}
		_ = b.room.send(packet)
	}
	nextUs, ok := b.link.NextUs()
	switch {
	case !ok || b.closed:
	case b.timer == nil:
		b.timer = time.AfterFunc(monotime.Until(nextUs), func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.release()
		})
	default:
		b.timer.Reset(monotime.Until(nextUs))
	}
}

// close drops what is under way.
func (b *badLine) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	if b.timer != nil {
		b.timer.Stop()
	}
}

// arrival is a packet on its way to an ear.
type arrival struct {
	of        track
	number    uint16
	timestamp uint32
	payload   []byte
}

func (e *ear) impair(config impair.Config) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.line != nil {
		e.arrive(math.MaxInt64)
	}
	e.line = nil
	if config.Received != (impair.Network{}) {
		e.line = impair.NewReceived[arrival](config)
	}
}

// arrive takes what is out of a bad network by now.
func (e *ear) arrive(nowUs int64) {
	for {
		packet, outUs, ok := e.line.Pop(nowUs)
		if !ok {
			return
		}
		if packet.of == e.current && e.buffer != nil {
			e.buffer.Push(packet.number, packet.timestamp, packet.payload, outUs)
		}
	}
}
