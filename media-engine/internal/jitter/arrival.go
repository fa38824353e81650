package jitter

const (
	// earlyUs faster than the fastest, or lateUs slower, and a packet is doubted. The sound of one that is nearly as late
	// is of no use, but it tells that the road got slower.
	earlyUs = 60_000
	lateUs  = 1_000_000
	// agreeUs is how much the delays of two packets may differ that are to vouch for each other.
	agreeUs = 100_000
	// pauseUs without a packet, and the delays are measured anew: clocks drift.
	pauseUs = 10_000_000
)

// arrivals is what Push remembers of the packets before.
type arrivals struct {
	started   bool
	newestAt  int64 // RTP time of the last packet that fitted
	arrivedUs int64 // when that came
	// stray is a packet that did not fit. A second that fits to it shows that the sender started anew.
	stray        packet
	strayDelayUs int64
	strayed      bool
}

// Push takes a packet that arrived at arrivedUs, in microseconds of the clock that Pull is told.
//
// timestamp is RTP time of 48 kHz. The payload is kept, not copied: it is the buffer's from here on.
func (b *Buffer) Push(seq uint16, timestamp uint32, payload []byte, arrivedUs int64) {
	b.stats.Received++
	p := packet{
		at:      b.newestAt + int64(int32(timestamp-uint32(b.newestAt))),
		ms:      durationMs(payload),
		payload: payload,
	}
	number, near := b.sequence.extended(seq)
	p.number = number
	delayUs := arrivedUs - rtpUs(p.at)
	early := b.delays.leastUs - delayUs
	fits := near && early <= earlyUs && -early <= lateUs
	known := near && early <= lateUs && -early <= lateUs
	resting := !b.playing && len(b.waiting) == 0
	switch {
	case known && b.sequence.has(number):
		b.stats.Duplicate++
	case p.ms == 0: // Padding, which is numbered too, or malformed.
		if b.started && near && !b.sequence.has(number) {
			b.sequence.add(number)
		}
	case !b.started:
		b.started = true
		b.restart(p, delayUs, arrivedUs)
	case resting && known && number < b.last.number && p.at <= b.last.at:
		b.sequence.add(number)
		b.stats.Late++
	case resting && (!fits || number < b.last.number || -early > b.delays.maxUs || arrivedUs-b.arrivedUs > pauseUs):
		b.restart(p, delayUs, arrivedUs)
	case fits:
		b.accept(p, delayUs, arrivedUs)
	case b.strayed && b.follows(p, delayUs):
		b.strayed = false
		b.restart(b.stray, b.strayDelayUs, arrivedUs)
		p.number = b.last.number + int64(uint16(seq-uint16(b.last.number)))
		b.accept(p, delayUs, arrivedUs)
	default:
		b.forgetStray()
		b.stray, b.strayDelayUs, b.strayed = p, delayUs, true
	}
}

// follows tells if a packet that does not fit fits to the last one that did not.
func (b *Buffer) follows(p packet, delayUs int64) bool {
	step, differenceUs := uint16(p.number-b.stray.number), delayUs-b.strayDelayUs
	return step >= 1 && step <= maxConcealed && max(differenceUs, -differenceUs) <= agreeUs
}

func (b *Buffer) forgetStray() {
	if b.strayed {
		b.stats.Late++
	}
	b.stray, b.strayed = packet{}, false
}

// restart drops what waits, and begins anew with this packet.
func (b *Buffer) restart(p packet, delayUs, arrivedUs int64) {
	for len(b.waiting) > 0 {
		b.drop()
		b.stats.Late++
	}
	b.playing = false
	if number, near := b.sequence.extended(uint16(p.number)); near && !b.sequence.has(number) && b.sequence.unique > 0 {
		p.number = number
	} else {
		p.number = b.sequence.follow(uint16(p.number))
	}
	b.delays.restart(delayUs)
	// Leaves room for the packets before it, which it may have overtaken.
	b.last = packet{number: p.number - maxConcealed - 1, at: p.at - maxConcealed*rtpTick - 1, ms: p.ms}
	b.accept(p, delayUs, arrivedUs)
}

// accept takes in a packet that fits and was not there before.
func (b *Buffer) accept(p packet, delayUs, arrivedUs int64) {
	b.forgetStray()
	b.sequence.add(p.number)
	b.delays.add(delayUs)
	b.newestAt, b.arrivedUs = p.at, arrivedUs
	if b.passed(&p) {
		b.stats.Late++
		return
	}
	at := len(b.waiting)
	for at > 0 && b.waiting[at-1].at > p.at {
		at--
	}
	if at > 0 && b.waiting[at-1].at == p.at {
		b.stats.Late++ // Two packets for one instant: the first one stands.
		return
	}
	if len(b.waiting) == maxPackets {
		b.stats.Late++
		if at == 0 {
			return
		}
		b.drop()
		at--
	}
	b.waiting = append(b.waiting, packet{})
	copy(b.waiting[at+1:], b.waiting[at:])
	b.waiting[at] = p
}
