package phone

import (
	"github.com/pion/rtp"

	"github.com/trunkline/trunkline/media-engine/internal/protocol"
)

const (
	// longGapUs is what nobody wants: with the packet itself, a buffer of 40 ms has run dry.
	longGapUs = 60_000
	// gapBins of 1 ms; the last one holds all that are longer.
	gapBins = 2001
)

// histogram counts gaps by the millisecond.
type histogram struct {
	bins  [gapBins]int64
	count int64
	long  int64
	maxUs int64
}

func (h *histogram) add(us int64) {
	h.bins[min(us/1000, gapBins-1)]++
	h.count++
	h.maxUs = max(h.maxUs, us)
	if us >= longGapUs {
		h.long++
	}
}

// quantileMs is the upper edge of the bin in which the quantile lies, and never more than the maximum.
func (h *histogram) quantileMs(quantile float64) float64 {
	left := int64(quantile * float64(h.count))
	for bin, count := range h.bins {
		if left -= count; left < 0 {
			return min(float64(bin+1), float64(h.maxUs)/1000)
		}
	}
	return float64(h.maxUs) / 1000
}

func (h *histogram) told() protocol.Gaps {
	return protocol.Gaps{
		Count: h.count, Long: h.long, P50Ms: h.quantileMs(0.5), P99Ms: h.quantileMs(0.99), MaxMs: float64(h.maxUs) / 1000,
	}
}

// gaps finds the gaps in a stream of packets, see protocol.Gaps.
type gaps struct {
	all, speech histogram

	known     bool
	last      rtp.Header
	lastUs    int64
	frame     uint32 // ticks of the last packet
	sounding  bool
	nextStamp uint32
}

// arrived takes the next packet of audio in the order of arrival. Those that come twice, or after later ones, are
// neither end nor start of a gap.
func (g *gaps) arrived(header rtp.Header, payloadBytes int, atUs int64, sounding bool) {
	ahead := int16(header.SequenceNumber - g.last.SequenceNumber)
	sameStream := g.known && header.SSRC == g.last.SSRC
	if sameStream && ahead <= 0 {
		return
	}
	// With packets lost between the two, time went on by one frame for each of them.
	if sameStream && header.Timestamp == g.nextStamp+uint32(ahead-1)*g.frame {
		// The kernel stamps with another clock, and the two can't be compared to the last millisecond.
		us := max(atUs-g.lastUs, 0)
		g.all.add(us)
		if g.sounding || sounding {
			g.speech.add(us)
		}
	}
	g.known, g.last, g.lastUs, g.sounding = true, header, atUs, sounding
	g.frame = uint32(payloadBytes) // a byte is a tick, see codec
	g.nextStamp = header.Timestamp + g.frame
}

// paused says that what comes next does not follow what came before: keys, a hold, a new description.
func (g *gaps) paused() { g.known = false }
