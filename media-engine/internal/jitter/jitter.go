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
	// Payload is an Opus packet with Packet and FEC, else nil. It belongs to the caller of Pull.
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
	// TargetMs is the delay that is aimed at now.
	TargetMs int
}

// Buffer is the jitter buffer of one track. It is not safe for concurrent use.
type Buffer struct{ stats Stats }

// New makes an empty buffer.
func New(config Config) *Buffer { return &Buffer{} }

// Push takes a packet that arrived at arrivedUs, in microseconds of the clock that Pull is told.
//
// timestamp is RTP time of 48 kHz. The payload is kept, not copied: it is the buffer's from here on.
func (b *Buffer) Push(seq uint16, timestamp uint32, payload []byte, arrivedUs int64) {}

// Pull says what to play in the tick of nowUs.
//
// It is called once every 20 ms, and again in the same tick for as long as the Ms handed out in it are less than 20,
// which happens with packets of 10 ms.
func (b *Buffer) Pull(nowUs int64) Out { return Out{Ms: 20} }

// Stats counts what happened so far.
func (b *Buffer) Stats() Stats { return b.stats }
