// Package playout turns received packets into what an ear hears: a playout buffer of a fixed depth.
//
// The line's time counts ticks of the RTP clock of 8 kHz from the moment its audio started; each tick has one code. The first packet is heard `depth` after
// it arrived, every later one where its RTP timestamp says, whatever its network delay. What arrives after its own
// instant of playout is dropped and counted, what is missing is silence.
package playout

import "github.com/trunkline/trunkline/media-engine/internal/codec"

const (
	rateHz = codec.ClockHz

	ringTicks = 1 << 14 // 2 s
	// farTicks is the longest way ahead of its playout that a packet is believed.
	farTicks = ringTicks - 2*rateHz/10
	// misfitsMax packets in a row that do not fit the timeline (late, far ahead, another source) start a new one.
	misfitsMax = 4
	// pauseTicks without a packet: the next one may start a new timeline.
	pauseTicks = rateHz / 5
	// slackTicks is how much deeper than asked the buffer may stay; checked over windowPackets.
	slackTicks    = rateHz / 50
	windowPackets = 50
	seenPackets   = 64
)

// Packet is one received piece of audio.
type Packet struct {
	SSRC      uint32
	Sequence  uint16
	Timestamp uint32
	Codes     []codec.Code
}

// Stats counts what happened to the packets.
type Stats struct {
	Received  int64
	Late      int64
	Duplicate int64
	// Resyncs is how often a new timeline was started after the first one.
	Resyncs int64
	lost    int64
	base    int64
	highest int64
	unique  int64
}

// Lost is how many sequence numbers never arrived.
func (s Stats) Lost() int64 { return s.lost + s.missing() }

func (s Stats) missing() int64 {
	if s.unique == 0 {
		return 0
	}
	return max(0, s.highest-s.base+1-s.unique)
}

// Buffer is not safe for use by several goroutines.
type Buffer struct {
	Stats Stats

	depth   int64
	ring    [ringTicks]codec.Code
	next    int64 // line time of the next code to be played
	started bool
	ssrc    uint32
	// lineAt = rtpAt + offset; rtpAt is the extended timestamp.
	offset      int64
	rtpAt       int64
	arrivedAt   int64
	misfits     int
	lead        int64 // smallest lead in the window
	leadPackets int
	seen        uint64 // bit n: sequence number highest-n was received
}

// New makes a buffer of so many ticks.
func New(depthTicks int) *Buffer {
	return &Buffer{depth: int64(depthTicks)}
}

// Push takes a packet that arrived at a line time.
func (b *Buffer) Push(p Packet, arrivedAt int64) {
	b.Stats.Received++
	if !b.started {
		b.started = true
		b.follow(p)
		b.anchor(p, arrivedAt)
	}
	if p.SSRC == b.ssrc && !b.count(p.Sequence) {
		b.Stats.Duplicate++
		return
	}
	rtpAt := b.rtpAt + int64(int32(p.Timestamp-uint32(b.rtpAt)))
	lead := rtpAt + b.offset - arrivedAt
	fits := p.SSRC == b.ssrc && lead >= 0 && lead <= farTicks && rtpAt+b.offset >= b.next
	paused := arrivedAt-b.arrivedAt >= pauseTicks
	b.arrivedAt = arrivedAt
	switch {
	case paused && (!fits || lead > 2*b.depth), !fits && b.misfits+1 >= misfitsMax:
		b.Stats.Resyncs++
		if p.SSRC != b.ssrc {
			b.follow(p)
			b.count(p.Sequence)
		}
		b.anchor(p, arrivedAt)
		rtpAt = b.rtpAt
	case !fits:
		b.misfits++
		b.Stats.Late++
		return
	case b.tooDeep(lead):
		b.Stats.Resyncs++
		b.offset -= b.lead - b.depth
	}
	b.misfits = 0
	b.rtpAt = rtpAt
	b.put(rtpAt+b.offset, p.Codes)
}

// Note counts a packet of the same stream that holds no audio, such as a telephone-event.
func (b *Buffer) Note(ssrc uint32, sequence uint16) {
	b.Stats.Received++
	if b.started && ssrc == b.ssrc && !b.count(sequence) {
		b.Stats.Duplicate++
	}
}

// Pull plays the next codes; zero where there are none.
func (b *Buffer) Pull(dst []codec.Code) {
	for i := range dst {
		at := b.next % ringTicks
		dst[i] = b.ring[at]
		b.ring[at] = 0
		b.next++
	}
}

// follow takes a packet's source for the one that is heard, and counts its sequence numbers from this packet on.
func (b *Buffer) follow(p Packet) {
	b.Stats.lost += b.Stats.missing()
	b.Stats.base, b.Stats.highest, b.Stats.unique = int64(p.Sequence), int64(p.Sequence)-1, 0
	b.seen = 0
	b.ssrc = p.SSRC
}

// anchor starts a new timeline: this packet will be heard `depth` after it arrived.
func (b *Buffer) anchor(p Packet, arrivedAt int64) {
	b.rtpAt = int64(p.Timestamp)
	b.offset = max(arrivedAt, b.next) + b.depth - b.rtpAt
	b.arrivedAt = arrivedAt
	b.misfits, b.leadPackets = 0, 0
}

// tooDeep tells if all packets of a window came so early that the buffer is deeper than it should be.
func (b *Buffer) tooDeep(lead int64) bool {
	if b.leadPackets == 0 || lead < b.lead {
		b.lead = lead
	}
	b.leadPackets++
	if b.leadPackets < windowPackets {
		return false
	}
	b.leadPackets = 0
	return b.lead > b.depth+slackTicks
}

func (b *Buffer) put(at int64, codes []codec.Code) {
	for i, code := range codes {
		where := at + int64(i)
		if where >= b.next && where < b.next+ringTicks {
			b.ring[where%ringTicks] = code
		}
	}
}

// count enters a sequence number; false if it was there before.
func (b *Buffer) count(sequence uint16) bool {
	extended := b.Stats.highest + int64(int16(sequence-uint16(b.Stats.highest)))
	ahead := extended - b.Stats.highest
	switch {
	case ahead > 0:
		b.seen = b.seen<<min(ahead, seenPackets) | 1
		b.Stats.highest = extended
	case -ahead < seenPackets:
		bit := uint64(1) << -ahead
		if b.seen&bit != 0 {
			return false
		}
		b.seen |= bit
	}
	b.Stats.unique++
	return true
}
