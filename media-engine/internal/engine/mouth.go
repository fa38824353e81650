package engine

import (
	"math/rand/v2"
	"sync"

	"github.com/pion/rtp"

	"github.com/trunkline/trunkline/media-engine/internal/monotime"
	"github.com/trunkline/trunkline/media-engine/internal/opus"
	"github.com/trunkline/trunkline/media-engine/internal/utterance"
)

const (
	rtpClockHz   = 48_000
	rtpFrameTime = rtpClockHz / 50
	// hushFrames of silence end what is said: in the first one the codec still rings.
	hushFrames = 2
	// phoneLead is how many frames are sent ahead of their time to a phone: livekit-sip mixes what a participant says only
	// once it has three frames, after each pause, and throws away what is more than five. Given at once, the caller hears
	// the answer 40 ms sooner.
	phoneLead = 2
)

// greetings are the ticks after a subscription in which something is sent at least, be it silence: see greet.
var greetings = [...]int64{0, 2, 6, 15, 50, 150}

// mouth sends what the agent says as Opus packets.
//
// RTP time follows the ticks, also those in which nothing is sent: a receiver would take time that stands still in a
// pause for delay of the network, and play late for good. Sequence numbers count packets, so they have no holes.
// With a lead, what is said has the time in which it is due, and is sent up to that many frames before.
type mouth struct {
	tell func(utterance.Event, int64)

	mu       sync.Mutex
	queue    utterance.Queue
	encoder  *opus.Encoder
	sent     uint64
	number   int64          // of the last tick in which it could speak
	next     int64          // the first tick for whose time nothing was sent
	lead     int64          // frames that are sent before their time
	owed     int            // frames of silence that end what is said
	greeted  int            // how many greetings were sent
	greetsAt int64          // the tick that they count from; 0: the next one
	impaired *badMicrophone // nil, except with callers of tests
	packet   rtp.Packet
	timeBase uint32
	frame    [utterance.FrameSamples]int16
	payload  [opus.MaxPacketBytes]byte
}

// start makes it possible to speak; before, what is played waits.
func (m *mouth) start() error {
	encoder, err := opus.NewEncoder()
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.encoder = encoder
	m.greeted = len(greetings)
	m.timeBase = rand.Uint32()
	m.packet.Header = rtp.Header{Version: 2, SequenceNumber: uint16(rand.Uint32())}
	return nil
}

// tick sends the next 20 ms, if there is something to say and a network to take it.
//
// While there is none, nothing is taken from the queue: the answer waits for its listener.
func (m *mouth) tick(number int64, to room) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.impaired != nil {
		m.tickImpaired(number)
		m.number = number
		return
	}
	if number <= m.number {
		// It spoke in this tick already, before it was healed of what spoiled it.
		return
	}
	m.number = number
	if m.encoder == nil || !to.ready() {
		m.owed = 0
		return
	}
	m.next = max(m.next, number)
	for m.next == number || m.next <= number+m.lead && m.goesOn() {
		m.say(to)
		m.next++
	}
}

// goesOn tells if there is something to be sent before its time: not while what is said waits for more of it.
func (m *mouth) goesOn() bool {
	return m.queue.Ready() || m.owed > 0 && (m.queue.Idle() || m.queue.Paused())
}

// say sends the 20 ms of the next tick, if there is something to say.
func (m *mouth) say(to room) {
	if m.queue.Idle() {
		m.hush(to)
		return
	}
	speaking, events := m.queue.Next(&m.frame)
	if speaking {
		m.send(m.next, to)
		m.owed = hushFrames
	} else {
		m.hush(to)
	}
	m.tellAll(events, monotime.Us())
}

// setLead says how many frames are sent before their time.
func (m *mouth) setLead(frames int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lead = frames
}

// greet has something sent to who has just subscribed, be it silence. Until the first packet livekit-server makes some
// up, 50 a second for 5 s, so that SDKs notice the track; that is half of what it costs when a call comes in. A few serve
// as well. More than one, as a subscriber that learns by signalling what the packets are throws away those that overtake it.
func (m *mouth) greet() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.greeted, m.greetsAt = 0, 0
}

// greets tells if one who has just subscribed is owed a packet in this tick.
func (m *mouth) greets() bool {
	if m.greeted == len(greetings) || m.next > m.number {
		return false
	}
	if m.greetsAt == 0 {
		m.greetsAt = m.number
	}
	if m.number-m.greetsAt < greetings[m.greeted] {
		return false
	}
	m.greeted++
	return true
}

// hush sends silence after the last sound: a receiver for which nothing comes takes that for loss, and goes on with the
// sound for 60 ms and more by guessing.
func (m *mouth) hush(to room) {
	owed := m.owed
	if m.greets() {
		// With a lead as much as is mixed at once: what is left over would be played before the answer.
		owed = max(owed, 1+int(m.lead))
	}
	if owed == 0 {
		return
	}
	clear(m.frame[:])
	m.send(m.next, to)
	m.owed = owed - 1
}

func (m *mouth) send(number int64, to room) {
	n, err := m.encoder.Encode(m.frame[:], m.payload[:])
	if err == nil {
		m.packet.Timestamp = m.timeBase + uint32(number)*rtpFrameTime
		m.packet.Marker = m.owed == 0
		m.packet.Payload = m.payload[:n]
		err = to.send(&m.packet)
	}
	if err != nil {
		return
	}
	m.packet.SequenceNumber++
	m.sent++
}

func (m *mouth) play(number uint32, pcm []int16) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.queue.Play(number, pcm)
}

func (m *mouth) end(number uint32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.queue.End(number)
}

func (m *mouth) pause() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tellAll(m.queue.Pause(), monotime.Us())
}

func (m *mouth) resume() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.queue.Resume()
}

func (m *mouth) flush() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tellAll(m.queue.Flush(), monotime.Us())
}

func (m *mouth) packets() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sent
}

// tellAll tells with the lock held, so that a worker hears in the order in which it happened.
func (m *mouth) tellAll(events []utterance.Event, atUs int64) {
	for _, event := range events {
		m.tell(event, atUs)
	}
}
