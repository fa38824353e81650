// Package opus decodes and encodes the voice of one track: Opus on the network, 16 kHz mono int16 inside.
//
// libopus does the work, resampling included: it decodes straight to 16 kHz whatever the sender encoded.
package opus

import (
	"errors"
	"fmt"

	"gopkg.in/hraban/opus.v2"
)

const (
	// RateHz is the rate of all samples, mono.
	RateHz = 16_000
	// FrameSamples is the 20 ms that are encoded at a time.
	FrameSamples = RateHz / 50
	// MaxPacketSamples is the longest that one packet may last: 120 ms (RFC 6716, section 3.1).
	MaxPacketSamples = RateHz * 120 / 1000
	// MaxPacketBytes is room for any packet that Encode makes.
	MaxPacketBytes = 1275

	bitrate     = 24_000
	lossPercent = 10
	// complexity 1 costs 49 us a frame of speech: 0.7 thousandths of a core with 15 frames a second, of the 4 that a whole
	// call may cost. Measured on one 2-core machine, the least of 12 runs: 45 us with 0, 103 with 2, 145 with 5, 312 with
	// 10; decoding takes 11 us at any of them, a copy 9, a guess 12. From 1 to 10 the noise falls by 0.5 dB.
	complexity = 1
)

var errLength = errors.New("opus: the samples must be a multiple of 2.5 ms, and at most 120 ms")

// Decoder decodes one track. It is not safe for concurrent use.
type Decoder struct{ libopus opus.Decoder }

// NewDecoder makes a decoder that has heard nothing yet.
func NewDecoder() (*Decoder, error) {
	d := &Decoder{}
	if err := d.libopus.Init(RateHz, 1); err != nil {
		return nil, fmt.Errorf("opus: no decoder: %w", err)
	}
	return d, nil
}

// Decode fills out with what the packet holds, n samples. out must have room for them: MaxPacketSamples always do.
//
// A corrupt packet is an error, and the decoder may be used on: conceal in its place.
func (d *Decoder) Decode(payload []byte, out []int16) (n int, err error) {
	return d.libopus.Decode(payload, exactly(out))
}

// FEC fills out with the packet before next, which was lost, from the copy that next carries; where it carries none,
// with a guess. out must be as long as the lost packet was. next itself is still to be decoded.
func (d *Decoder) FEC(next []byte, out []int16) error {
	if !wholeFrames(out) {
		return errLength
	}
	return d.libopus.DecodeFEC(next, exactly(out))
}

// Conceal fills out with a guess at what was lost; guesses in a row fade to silence.
func (d *Decoder) Conceal(out []int16) error {
	if !wholeFrames(out) {
		return errLength
	}
	return d.libopus.DecodePLC(exactly(out))
}

// Encoder encodes one track. It is not safe for concurrent use.
type Encoder struct{ libopus opus.Encoder }

// NewEncoder makes an encoder for voice: 24 kbit/s, with copies against loss (FEC), without DTX.
func NewEncoder() (*Encoder, error) { return newEncoder(complexity) }

func newEncoder(complexity int) (*Encoder, error) {
	e := &Encoder{}
	if err := errors.Join(
		e.libopus.Init(RateHz, 1, opus.AppVoIP),
		e.libopus.SetBitrate(bitrate),
		e.libopus.SetComplexity(complexity),
		e.libopus.SetInBandFEC(true),
		e.libopus.SetPacketLossPerc(lossPercent),
		e.libopus.SetDTX(false),
	); err != nil {
		return nil, fmt.Errorf("opus: no encoder: %w", err)
	}
	return e, nil
}

// Encode makes a packet of 20 ms (320 samples) in buf, and tells its length. MaxPacketBytes are always room enough.
func (e *Encoder) Encode(pcm []int16, buf []byte) (int, error) {
	if len(pcm) != FrameSamples {
		return 0, fmt.Errorf("opus: %d samples, not %d", len(pcm), FrameSamples)
	}
	return e.libopus.Encode(exactly(pcm), buf[:len(buf):len(buf)])
}

// exactly takes away the capacity behind the length: the wrapper of libopus would write to it, or read it.
func exactly(samples []int16) []int16 { return samples[:len(samples):len(samples)] }

// wholeFrames is what libopus asks of a length that it is to guess.
func wholeFrames(out []int16) bool {
	return len(out) > 0 && len(out)%(RateHz/400) == 0 && len(out) <= MaxPacketSamples
}
