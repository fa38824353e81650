// Package impair makes what a simulated caller sends and hears worse, as bad lines and noisy rooms do, and the same way
// each time for a seed.
//
// A Link is a network in one direction: it says which packets come out, and when. A Mixer spoils the sound before it is
// encoded. FrameUs paces a sender whose clock is wrong. No I/O, no clock, no goroutine in here.
package impair

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Config is all that can be wrong with one caller. The zero value is a perfect one.
type Config struct {
	// Seed decides every random choice.
	Seed uint64 `json:"seed,omitempty"`
	// Sent is the network from the caller, Received the one to the caller.
	Sent     Network `json:"sent,omitzero"`
	Received Network `json:"received,omitzero"`
	Sound    Sound   `json:"sound,omitzero"`
}

// Network is what happens to packets on their way in one direction.
type Network struct {
	// Loss is the share of packets that are lost: 0 to 1.
	Loss float64 `json:"loss,omitempty"`
	// Burst is how many packets in a row are lost on average, by Gilbert's model; 0: each is lost or not by itself.
	Burst float64 `json:"burst,omitempty"`
	// DelayMs is how long every packet takes.
	DelayMs int `json:"delay_ms,omitempty"`
	// JitterMs is how far the delay varies, beyond DelayMs: see Shape. Packets keep their order.
	JitterMs int `json:"jitter_ms,omitempty"`
	// JitterShape is how it is distributed; empty: uniform.
	JitterShape Shape `json:"jitter_shape,omitempty"`
	// JitterLimitMs is the most that is drawn of it; 0: three times JitterMs.
	JitterLimitMs int `json:"jitter_limit_ms,omitempty"`
	// Reorder is the share of packets that are held up on their own, so that later ones overtake them.
	Reorder float64 `json:"reorder,omitempty"`
	// ReorderMs is how long they are held up; 0: 30 ms, which one packet of 20 ms overtakes.
	ReorderMs int `json:"reorder_ms,omitempty"`
	// Duplicate is the share of packets that come twice, one right after the other.
	Duplicate float64 `json:"duplicate,omitempty"`
}

// Shape is a distribution of delays from 0 upwards.
type Shape string

const (
	// Uniform delays are spread evenly from 0 to JitterMs.
	Uniform Shape = "uniform"
	// Normal ones are a bell's right half, with JitterMs as the deviation of the whole bell.
	Normal Shape = "normal"
	// Exponential ones have JitterMs as their mean: many short, few long.
	Exponential Shape = "exponential"
)

// Sound is what is wrong at the caller's end.
type Sound struct {
	// DriftPpm is how much too fast the caller's clock runs, in millionths; a slow one is negative.
	DriftPpm float64  `json:"drift_ppm,omitempty"`
	Noise    *Noise   `json:"noise,omitempty"`
	Silence  *Silence `json:"silence,omitempty"`
	Echo     *Echo    `json:"echo,omitempty"`
}

// Noise is heard behind the caller all the time.
type Noise struct {
	Kind Kind `json:"kind"`
	// LevelDbov is its root mean square, in dB relative to overload: -90 to -10.
	LevelDbov float64 `json:"level_dbov"`
	// PCM is the noise of kind Given, at the Mixer's rate. It is brought to LevelDbov and repeated.
	PCM PCM `json:"pcm,omitempty"`
}

// PCM is samples that in JSON are base64 of little-endian bytes.
type PCM []int16

// MarshalJSON is for package json.
func (p PCM) MarshalJSON() ([]byte, error) {
	text := make([]byte, 0, 2*len(p))
	for _, sample := range p {
		text = binary.LittleEndian.AppendUint16(text, uint16(sample))
	}
	return json.Marshal(text)
}

// UnmarshalJSON is for package json.
func (p *PCM) UnmarshalJSON(text []byte) error {
	var raw []byte
	if err := json.Unmarshal(text, &raw); err != nil {
		return err
	}
	if len(raw)%2 != 0 {
		return errors.New("PCM with half a sample")
	}
	*p = make(PCM, len(raw)/2)
	for i := range *p {
		(*p)[i] = int16(binary.LittleEndian.Uint16(raw[2*i:]))
	}
	return nil
}

// Kind is a kind of noise.
type Kind string

const (
	// White is hiss: as much power in each Hz.
	White Kind = "white"
	// Pink is a fan, or wind: as much power in each octave.
	Pink Kind = "pink"
	// Hum is the mains: 50 Hz and its multiples.
	Hum Kind = "hum"
	// Babble is a room in which several people talk.
	Babble Kind = "babble"
	// Given is the noise in PCM.
	Given Kind = "given"
)

// Silence is stretches in which the caller sends nothing, not even noise; what was being said is not made up for.
type Silence struct {
	// EveryMs is how long it is from the end of one to the start of the next, on average.
	EveryMs int `json:"every_ms"`
	// LastsMs is how long one lasts, rounded up to frames of 20 ms.
	LastsMs int `json:"lasts_ms"`
}

// Echo is what the caller hears, in what the caller sends.
type Echo struct {
	// GainDb is how loud it is relative to what was heard: -80 to 0.
	GainDb float64 `json:"gain_db"`
	// DelayMs is how long after it was heard it is sent.
	DelayMs int `json:"delay_ms"`
}

const (
	maxDelayMs     = 2000
	maxJitterMs    = 1000
	maxBurst       = 1000
	maxDriftPpm    = 10_000
	minNoiseDbov   = -90
	maxNoiseDbov   = -10
	minEchoDb      = -80
	maxEchoMs      = 2000
	maxSilenceMs   = 600_000
	maxNoiseGiven  = 20 * 16_000
	frameMs        = 20
	defaultReorder = 30
)

// Parse reads a Config from JSON. An unknown field is an error, as is what Validate finds.
func Parse(text []byte) (Config, error) {
	var config Config
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&config); err != nil {
		return Config{}, fmt.Errorf("impairments: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return Config{}, errors.New("impairments: something follows the object")
	}
	return config, config.Validate()
}

// Validate names each field that is out of its bounds, in one line; the error is nil where none is.
func (c Config) Validate() error {
	var bad []string
	c.Sent.check("sent", &bad)
	c.Received.check("received", &bad)
	c.Sound.check("sound", &bad)
	if len(bad) == 0 {
		return nil
	}
	return errors.New("impairments: " + strings.Join(bad, "; "))
}

func (n Network) check(name string, bad *[]string) {
	within(bad, name+".loss", n.Loss, 0, 1)
	within(bad, name+".reorder", n.Reorder, 0, 1)
	within(bad, name+".duplicate", n.Duplicate, 0, 1)
	within(bad, name+".delay_ms", float64(n.DelayMs), 0, maxDelayMs)
	within(bad, name+".jitter_ms", float64(n.JitterMs), 0, maxJitterMs)
	within(bad, name+".jitter_limit_ms", float64(n.JitterLimitMs), 0, 3*maxJitterMs)
	within(bad, name+".reorder_ms", float64(n.ReorderMs), 0, maxJitterMs)
	switch n.JitterShape {
	case "", Uniform, Normal, Exponential:
	default:
		*bad = append(*bad, fmt.Sprintf("%s.jitter_shape: %q is none of uniform, normal, exponential", name, n.JitterShape))
	}
	if n.Burst == 0 {
		return
	}
	within(bad, name+".burst", n.Burst, 1, maxBurst)
	if n.Burst >= 1 && n.Loss*(n.Burst+1) > n.Burst {
		*bad = append(*bad, fmt.Sprintf("%s.burst: with a loss of %g, bursts are longer than %g on average", name, n.Loss, n.Burst))
	}
}

func (s Sound) check(name string, bad *[]string) {
	within(bad, name+".drift_ppm", s.DriftPpm, -maxDriftPpm, maxDriftPpm)
	if s.Noise != nil {
		within(bad, name+".noise.level_dbov", s.Noise.LevelDbov, minNoiseDbov, maxNoiseDbov)
		switch s.Noise.Kind {
		case White, Pink, Hum, Babble:
			within(bad, name+".noise.pcm samples", float64(len(s.Noise.PCM)), 0, 0)
		case Given:
			within(bad, name+".noise.pcm samples", float64(len(s.Noise.PCM)), 1, maxNoiseGiven)
		default:
			*bad = append(*bad, fmt.Sprintf("%s.noise.kind: %q is none of white, pink, hum, babble, given", name, s.Noise.Kind))
		}
	}
	if s.Silence != nil {
		within(bad, name+".silence.every_ms", float64(s.Silence.EveryMs), frameMs, maxSilenceMs)
		within(bad, name+".silence.lasts_ms", float64(s.Silence.LastsMs), frameMs, maxSilenceMs)
	}
	if s.Echo != nil {
		within(bad, name+".echo.gain_db", s.Echo.GainDb, minEchoDb, 0)
		within(bad, name+".echo.delay_ms", float64(s.Echo.DelayMs), 0, maxEchoMs)
	}
}

// within complains of what is not between least and most; so it does of what is no number.
func within(bad *[]string, name string, value, least, most float64) {
	if !(value >= least && value <= most) {
		*bad = append(*bad, fmt.Sprintf("%s: %g is not between %g and %g", name, value, least, most))
	}
}
