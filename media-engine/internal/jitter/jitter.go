// Package jitter puts received Opus packets in order and says, tick by tick, what is to be decoded.
//
// One Buffer holds the packets of one track. Whoever reads the track pushes them as they arrive, and a clock pulls
// every 20 ms. No I/O, no clock, no decoder in here.
package jitter

// Kind tells what is to be done with what Pull hands out.
type Kind uint8

const (
	// Silence: nothing is due. Not started, a pause of the sender, or a gap too long to be concealed.
	Silence Kind = iota
	// Packet: decode Payload.
	Packet
	// FEC: the packet that was due is lost, and Payload is the one after it, which carries a copy. Decode that copy.
	FEC
	// Conceal: what was due is lost, and there is nothing to recover it from: let the decoder guess.
	Conceal
	// Rest: the packet handed out earlier was longer than one tick and still lasts. Play on what it was decoded to.
	Rest
)

// Out is what Pull hands out.
type Out struct {
	Kind Kind
	// Payload is an Opus packet with Packet and FEC, else nil. What FEC hands out comes again as Packet: do not change it.
	Payload []byte
	// Ms is how long this lasts, a multiple of 10: 20, except with packets of another length.
	Ms int
}

// Config bounds the delay that the buffer aims at.
type Config struct {
	// MinMs and MaxMs are the bounds, in milliseconds; 0 stands for 20 and 60.
	MinMs, MaxMs int
}

// Stats counts what happened so far.
type Stats struct {
	// Received counts all packets, Lost the sequence numbers that did not come (a late one takes itself off again).
	Received, Lost uint64
	// Late packets came after their turn, or fitted nowhere. Duplicate ones had come before. Neither is played.
	Late, Duplicate uint64
	// Concealed and FECUsed count what Pull handed out.
	Concealed, FECUsed uint64
	// Skipped packets came in time, but were left out to shorten the delay.
	Skipped uint64
	// TargetMs is the delay that is aimed at now.
	TargetMs int
}

const (
	tickMs  = 20
	rtpTick = 960

	maxPackets   = 50
	maxConcealed = 3
	// shortenUs is how long speech is left alone after a packet of it was skipped.
	shortenUs = 5_000_000
	// farUs beyond the target is not shortened packet by packet, but at once.
	farUs = 40_000
)

type packet struct {
	number  int64 // its sequence number, extended beyond 16 bits
	at      int64 // its RTP time, extended beyond 32 bits
	ms      int
	payload []byte
}

func (p *packet) samples() int64 { return int64(p.ms) * rtpTick / tickMs }

// Buffer is the jitter buffer of one track. It is not safe for concurrent use.
//
// It plays by RTP time: the playhead is what is due next, and moves on with each tick. How far it lies behind the
// fastest packets is the delay. In a pause there is no playhead, and the packet after it sets a new one.
type Buffer struct {
	stats    Stats
	sequence sequence
	delays   delays
	waiting  []packet // by RTP time

	arrivals

	playing   bool
	playhead  int64
	last      packet // handed out last or skipped, without its payload
	paused    bool   // that one announced a pause
	concealed int    // in a row
	skippedUs int64
	restMs    int // how long what was handed out lasts beyond this tick
	doneMs    int // how much of this tick was handed out
}

// New makes an empty buffer.
func New(config Config) *Buffer {
	const most = maxPackets * tickMs / 2
	if config.MinMs <= 0 {
		config.MinMs = 20
	}
	if config.MaxMs <= 0 {
		config.MaxMs = 60
	}
	minMs := min(config.MinMs, most)
	maxMs := min(max(config.MaxMs, minMs), most)
	return &Buffer{
		delays:    delays{minUs: int64(minMs) * 1000, maxUs: int64(maxMs) * 1000},
		waiting:   make([]packet, 0, maxPackets),
		skippedUs: -shortenUs,
	}
}

// Pull says what to play in the tick that was due at nowUs.
//
// It is called once every 20 ms, and again in the same tick as long as the Ms it handed out in it are less than 20.
func (b *Buffer) Pull(nowUs int64) Out {
	if b.restMs > 0 {
		ms := min(b.restMs, tickMs)
		b.restMs -= ms
		b.doneMs = ms % tickMs
		return Out{Kind: Rest, Ms: ms}
	}
	nowUs += int64(b.doneMs) * 1000
	targetUs := b.delays.targetUs()
	if b.playing && b.waitedUs(b.playhead, nowUs) > targetUs+farUs {
		b.playing = false
	}
	if !b.playing && !b.start(nowUs, targetUs) {
		return b.guess(Silence)
	}
	waitedUs := b.waitedUs(b.playhead, nowUs)
	switch {
	case waitedUs < targetUs-tickUs && !b.paused && b.concealed < maxConcealed:
		// The road got slower, or the sender's clock is: hold, and be one tick later from here on.
		return b.conceal()
	case waitedUs-int64(b.last.ms)*1000 > targetUs-tickUs:
		b.shorten(nowUs)
	}
	b.dropPassed()
	if b.due() {
		return b.next()
	}
	return b.missing(nowUs, targetUs)
}

// Stats counts what happened so far.
func (b *Buffer) Stats() Stats {
	stats := b.stats
	stats.Lost = uint64(max(0, b.sequence.lost()))
	stats.TargetMs = int((b.delays.targetUs() + 999) / 1000)
	return stats
}

// waitedUs is how long the fastest packet of that RTP time would have waited by now.
func (b *Buffer) waitedUs(at, nowUs int64) int64 { return nowUs - b.delays.leastUs - rtpUs(at) }

// start sets the playhead at the first packet that waits, once it is due. False while there is none.
func (b *Buffer) start(nowUs, targetUs int64) bool {
	// What an outage held up comes in a burst: skip all but the last that is due.
	for len(b.waiting) > 1 && b.waitedUs(b.waiting[0].at, nowUs) > targetUs &&
		b.waitedUs(b.waiting[1].at, nowUs) > targetUs-tickUs {
		b.drop()
		b.stats.Late++
	}
	if len(b.waiting) == 0 || b.waitedUs(b.waiting[0].at, nowUs) <= targetUs-tickUs {
		return false
	}
	b.playing, b.paused, b.concealed = true, false, 0
	b.playhead = b.waiting[0].at
	b.last.number = b.waiting[0].number - 1 // What is missing before it is no loss.
	return true
}

// shorten moves the playhead on by one packet: over a lost one at any time, over a good one at most once in 5 s.
func (b *Buffer) shorten(nowUs int64) {
	switch {
	case len(b.waiting) == 0:
	case !b.due():
		b.playhead += b.last.samples()
	case nowUs-b.skippedUs >= shortenUs:
		b.skippedUs = nowUs
		b.playhead = b.waiting[0].at + b.waiting[0].samples()
		b.drop()
		b.stats.Skipped++
	}
}

// due tells if the packet of the playhead is here.
func (b *Buffer) due() bool {
	return len(b.waiting) > 0 && b.waiting[0].at < b.playhead+rtpTick/2
}

// dropPassed drops what the playhead has passed.
func (b *Buffer) dropPassed() {
	for len(b.waiting) > 0 && b.passed(&b.waiting[0]) {
		b.drop()
		b.stats.Late++
	}
}

// passed tells if it is too late for a packet.
func (b *Buffer) passed(p *packet) bool {
	return p.at <= b.last.at || b.playing && p.at+p.samples()/2 <= b.playhead
}

// drop takes the first packet out.
func (b *Buffer) drop() packet {
	p := b.waiting[0]
	if p.at > b.last.at {
		b.last = packet{number: p.number, at: p.at, ms: p.ms}
	}
	n := copy(b.waiting, b.waiting[1:])
	b.waiting[n] = packet{} // lets go of the payload
	b.waiting = b.waiting[:n]
	return p
}

// next hands out the first packet.
func (b *Buffer) next() Out {
	b.delays.played(b.lossBefore(&b.waiting[0]))
	p := b.drop()
	b.playhead = p.at + p.samples()
	b.paused, b.concealed = announcesPause(p.payload), 0
	return b.out(Packet, p.payload, p.ms)
}

// lossBefore tells if the packet right before this one never came.
func (b *Buffer) lossBefore(p *packet) bool {
	before := p.number - 1
	return before > b.last.number && before >= b.sequence.first && !b.sequence.has(before)
}

// missing decides what to play in the place of a packet that is not here.
func (b *Buffer) missing(nowUs, targetUs int64) Out {
	pause := b.paused
	if len(b.waiting) > 0 {
		first := &b.waiting[0]
		pause = pause || first.number == b.last.number+1
		gap := first.at - b.playhead - first.samples()
		if !pause && gap > -rtpTick/2 && gap < rtpTick/2 && carriesCopy(first.payload) {
			b.playhead = first.at
			b.concealed = 0
			b.stats.FECUsed++
			return b.out(FEC, first.payload, first.ms)
		}
	}
	if !pause && b.concealed < maxConcealed {
		out := b.conceal()
		b.playhead += int64(out.Ms) * rtpTick / tickMs
		return out
	}
	b.playing = false
	if b.start(nowUs, targetUs) {
		return b.next()
	}
	return b.guess(Silence)
}

func (b *Buffer) conceal() Out {
	b.concealed++
	b.stats.Concealed++
	return b.guess(Conceal)
}

// guess hands out what has no packet: as long as the last one was, but not beyond this tick.
func (b *Buffer) guess(kind Kind) Out {
	ms := tickMs - b.doneMs
	if kind == Conceal && b.last.ms > 0 {
		ms = min(ms, b.last.ms)
	}
	return b.out(kind, nil, ms)
}

func (b *Buffer) out(kind Kind, payload []byte, ms int) Out {
	b.restMs = max(0, b.doneMs+ms-tickMs)
	if b.doneMs += ms; b.doneMs >= tickMs {
		b.doneMs = 0
	}
	return Out{Kind: kind, Payload: payload, Ms: ms}
}

// rtpUs is RTP time in microseconds.
func rtpUs(at int64) int64 { return at * 125 / 6 }
