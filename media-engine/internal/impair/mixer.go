package impair

import (
	"math"
	"math/rand/v2"
)

// Mixer spoils what a caller sends, frame by frame of 20 ms, with echo, noise and silence. It is not safe for
// concurrent use.
type Mixer struct {
	frame   int // samples
	noise   []float32
	noiseAt int
	echo    *echo
	silence *silence
}

// NewMixer makes the Mixer of a valid Config for a rate in Hz, a multiple of 50.
func NewMixer(config Config, rateHz int) *Mixer {
	m := &Mixer{frame: rateHz * frameMs / 1000}
	if noise := config.Sound.Noise; noise != nil {
		random := source(config.Seed, streamNoise)
		m.noise = makeNoise(*noise, rateHz, random)
		m.noiseAt = random.IntN(len(m.noise))
	}
	if config.Sound.Echo != nil {
		m.echo = newEcho(*config.Sound.Echo, rateHz)
	}
	if config.Sound.Silence != nil {
		m.silence = newSilence(*config.Sound.Silence, source(config.Seed, streamSilence))
	}
	return m
}

// Hear is told what the caller heard in each 20 ms, before Mix; nil where that was nothing.
func (m *Mixer) Hear(frame []int16) {
	if m.echo != nil {
		m.echo.hear(frame, m.frame)
	}
}

// Mix adds to a frame what is in the way. Where muted is true, nothing is to be sent; where added is false, nothing was
// added, so that a frame in which nothing is said need not be sent.
func (m *Mixer) Mix(frame []int16) (added, muted bool) {
	added = len(m.noise) > 0
	var heard []float32
	if m.echo != nil {
		var audible bool
		heard, audible = m.echo.next(len(frame))
		added = added || audible
	}
	muted = m.silence != nil && m.silence.next()
	if !added {
		return false, muted
	}
	for i := range frame {
		sample := float32(frame[i])
		if m.echo != nil {
			sample += heard[i]
		}
		if len(m.noise) > 0 {
			sample += m.noise[m.noiseAt]
			if m.noiseAt++; m.noiseAt == len(m.noise) {
				m.noiseAt = 0
			}
		}
		frame[i] = int16(min(max(math.Round(float64(sample)), math.MinInt16), math.MaxInt16))
	}
	return true, muted
}

// FrameUs is when a sender's n-th frame of 20 ms is due, in us after its first, by a clock that is off by DriftPpm.
func (s Sound) FrameUs(n int64) int64 {
	return int64(math.Round(float64(n) * frameMs * 1000 / (1 + s.DriftPpm/1e6)))
}

// echo remembers what was heard last.
type echo struct {
	gain    float32
	delay   int64 // samples
	ring    []int16
	written int64
	read    int64
	out     []float32
}

func newEcho(config Echo, rateHz int) *echo {
	delay := config.DelayMs * rateHz / 1000
	// Beyond the delay, room for a reader that is a frame behind, and for the frame that is being written.
	return &echo{
		gain: float32(math.Pow(10, config.GainDb/20)), delay: int64(delay), ring: make([]int16, delay+rateHz/10),
		read: -int64(delay),
	}
}

func (e *echo) hear(frame []int16, samples int) {
	for i := range samples {
		sample := int16(0)
		if i < len(frame) {
			sample = frame[i]
		}
		e.ring[e.written%int64(len(e.ring))] = sample
		e.written++
	}
}

// next is the echo in the coming samples. What is heard and what is said may drift apart by a frame, then it jumps.
func (e *echo) next(samples int) (out []float32, audible bool) {
	if len(e.out) != samples {
		e.out = make([]float32, samples)
	}
	want := e.written - e.delay - int64(samples)
	if off := e.read - want; max(off, -off) > int64(samples) {
		e.read = want
	}
	for i := range e.out {
		e.out[i] = 0
		if e.read >= 0 && e.read < e.written {
			e.out[i] = e.gain * float32(e.ring[e.read%int64(len(e.ring))])
			audible = audible || e.ring[e.read%int64(len(e.ring))] != 0
		}
		e.read++
	}
	return e.out, audible
}

// silence counts frames.
type silence struct {
	config Silence
	random *rand.Rand
	left   int // frames of the present stretch, silent or not
	silent bool
}

func newSilence(config Silence, random *rand.Rand) *silence {
	return &silence{config: config, random: random, silent: true}
}

// next tells if the next frame is silent.
func (s *silence) next() bool {
	if s.left == 0 {
		s.silent = !s.silent
		ms := float64(s.config.LastsMs)
		if !s.silent {
			ms = s.random.ExpFloat64() * float64(s.config.EveryMs)
		}
		s.left = max(1, int(math.Ceil(ms/frameMs)))
	}
	s.left--
	return s.silent
}
