// Package codec turns the sound of a line into the payloads of its codecs and back: PCMU, PCMA and G.722.
//
// All three send one byte for each tick of an RTP clock of 8 kHz, so a line may wait, reorder and lose bytes without
// knowing whose they are; a Code is such a byte together with its codec.
package codec

import (
	"strings"

	"github.com/trunkline/trunkline/media-engine/internal/g711"
	"github.com/trunkline/trunkline/media-engine/internal/g722"
	"github.com/trunkline/trunkline/media-engine/internal/pcm"
)

// ClockHz is the RTP clock of all codecs, also of G.722 (RFC 3551 4.5.2), and FrameBytes what they make of 20 ms.
const (
	ClockHz    = 8000
	FrameBytes = ClockHz / 50
)

// Kind is a codec, and its static RTP payload type (RFC 3551).
type Kind uint8

// The codecs.
const (
	PCMU Kind = 0
	PCMA Kind = 8
	G722 Kind = 9
)

// All are the codecs in the order of their quality.
var All = []Kind{G722, PCMU, PCMA}

// String is the codec's name in SDP.
func (k Kind) String() string {
	switch k {
	case PCMA:
		return "PCMA"
	case G722:
		return "G722"
	}
	return "PCMU"
}

// Rate is that of the codec's sound.
func (k Kind) Rate() pcm.Rate {
	if k == G722 {
		return pcm.Wide
	}
	return pcm.Narrow
}

// Named finds a codec by its name, whatever its case.
func Named(name string) (Kind, bool) {
	for _, kind := range All {
		if strings.EqualFold(name, kind.String()) {
			return kind, true
		}
	}
	return 0, false
}

// Code is one byte of a payload with its codec; zero: nothing was received for that tick.
type Code uint16

// Codes are those of a payload.
func Codes(kind Kind, payload []byte) []Code {
	codes := make([]Code, len(payload))
	for i, value := range payload {
		codes[i] = Code(kind+1)<<8 | Code(value)
	}
	return codes
}

func (c Code) kind() Kind { return Kind(c>>8) - 1 }

// Encoder makes payloads of the sound of a line, whose codec may change.
type Encoder struct {
	rate    pcm.Rate
	last    Kind
	g722    *g722.Encoder
	halver  pcm.Halver
	doubler pcm.Doubler
}

// NewEncoder takes sound at a rate.
func NewEncoder(rate pcm.Rate) *Encoder { return &Encoder{rate: rate, g722: g722.NewEncoder()} }

// Encode makes the payload of a frame of 20 ms.
func (e *Encoder) Encode(kind Kind, frame []int16) []byte {
	if kind != e.last {
		e.last, e.g722, e.halver, e.doubler = kind, g722.NewEncoder(), pcm.Halver{}, pcm.Doubler{}
	}
	if kind.Rate() != e.rate {
		resampled := make([]int16, kind.Rate().Frame())
		if kind.Rate() == pcm.Wide {
			e.doubler.Double(resampled, frame)
		} else {
			e.halver.Halve(resampled, frame)
		}
		frame = resampled
	}
	payload := make([]byte, FrameBytes)
	if kind == G722 {
		e.g722.Encode(payload, frame)
	} else {
		g711.Law(kind).Encode(payload, frame)
	}
	return payload
}

// Decoder makes sound of codes, in the order in which they are to be heard.
type Decoder struct {
	rate    pcm.Rate
	last    Kind
	g722    *g722.Decoder
	halver  pcm.Halver
	doubler pcm.Doubler
}

// NewDecoder gives sound at a rate.
func NewDecoder(rate pcm.Rate) *Decoder { return &Decoder{rate: rate, g722: g722.NewDecoder()} }

// Decode writes the sound of the codes of 20 ms to a frame. Where nothing was received it is silent.
func (d *Decoder) Decode(frame []int16, codes []Code) {
	perTick := len(frame) / len(codes)
	for start := 0; start < len(codes); {
		kind, end := codes[start].kind(), start+1
		for end < len(codes) && codes[end].kind() == kind {
			end++
		}
		d.decode(frame[start*perTick:end*perTick], codes[start:end])
		start = end
	}
}

func (d *Decoder) decode(sound []int16, codes []Code) {
	if codes[0] == 0 {
		clear(sound)
		// What the filters still hold belongs before the hole.
		d.halver, d.doubler = pcm.Halver{}, pcm.Doubler{}
		return
	}
	kind := codes[0].kind()
	if kind != d.last {
		d.last, d.g722, d.halver, d.doubler = kind, g722.NewDecoder(), pcm.Halver{}, pcm.Doubler{}
	}
	payload := make([]byte, len(codes))
	for i, code := range codes {
		payload[i] = byte(code)
	}
	samples := sound
	if kind.Rate() != d.rate {
		samples = make([]int16, len(codes)*int(kind.Rate())/ClockHz)
	}
	if kind == G722 {
		d.g722.Decode(samples, payload)
	} else {
		g711.Law(kind).Decode(samples, payload)
	}
	switch {
	case kind.Rate() == d.rate:
	case d.rate == pcm.Wide:
		d.doubler.Double(sound, samples)
	default:
		d.halver.Halve(sound, samples)
	}
}
