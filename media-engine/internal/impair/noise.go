package impair

import (
	"math"
	"math/rand/v2"
)

const (
	overload = 32768.0
	// noiseSeconds of noise are made, and repeated.
	noiseSeconds = 5
	voices       = 8
)

// makeNoise is a stretch of noise at its level that may be repeated without a seam.
func makeNoise(config Noise, rateHz int, random *rand.Rand) []float32 {
	samples, seam := noiseSeconds*rateHz, rateHz/20
	var noise []float64
	switch config.Kind {
	case Given:
		noise = make([]float64, len(config.PCM))
		for i, sample := range config.PCM {
			noise[i] = float64(sample)
		}
	case Hum:
		noise = hum(rateHz, random)
	case Pink:
		noise = seamless(pink(samples+seam, rateHz, random), seam)
	case Babble:
		noise = seamless(babble(samples+seam, rateHz, random), seam)
	default:
		noise = white(samples, random)
	}
	return scaled(noise, config.LevelDbov)
}

// scaled brings noise to a level; digital silence stays what it is.
func scaled(noise []float64, levelDbov float64) []float32 {
	power := 0.0
	for _, sample := range noise {
		power += sample * sample
	}
	gain := 0.0
	if power > 0 {
		gain = overload * math.Pow(10, levelDbov/20) / math.Sqrt(power/float64(len(noise)))
	}
	out := make([]float32, len(noise))
	for i, sample := range noise {
		out[i] = float32(sample * gain)
	}
	return out
}

// seamless fades the last samples into the first ones, at even power, and is shorter by them.
func seamless(noise []float64, seam int) []float64 {
	n := len(noise) - seam
	for i := range seam {
		in, out := math.Sincos(math.Pi / 2 * float64(i) / float64(seam))
		noise[i] = noise[i]*in + noise[n+i]*out
	}
	return noise[:n]
}

func white(samples int, random *rand.Rand) []float64 {
	noise := make([]float64, samples)
	for i := range noise {
		noise[i] = random.NormFloat64()
	}
	return noise
}

// pink is a sum of noises that are smoothed ever more, an octave apart, all of the same power.
func pink(samples, rateHz int, random *rand.Rand) []float64 {
	noise := make([]float64, samples)
	for cornerHz := 20.0; cornerHz < float64(rateHz)/2; cornerHz *= 2 {
		keep := math.Exp(-2 * math.Pi * cornerHz / float64(rateHz))
		fresh := math.Sqrt(1 - keep*keep)
		state := random.NormFloat64()
		for i := range noise {
			state = keep*state + fresh*random.NormFloat64()
			noise[i] += state
		}
	}
	return noise
}

// hum is one second of the mains, each multiple with a phase of its own; rectifiers make the even ones strong.
func hum(rateHz int, random *rand.Rand) []float64 {
	const mainsHz, multiples = 50, 12
	noise := make([]float64, rateHz)
	for multiple := 1; multiple <= multiples; multiple++ {
		phase := 2 * math.Pi * random.Float64()
		loud := 1 / float64(multiple)
		if multiple%2 == 0 {
			loud *= 1.5
		}
		for i := range noise {
			noise[i] += loud * math.Sin(phase+2*math.Pi*mainsHz*float64(multiple*i)/float64(rateHz))
		}
	}
	return noise
}

// babble is a sum of voices.
func babble(samples, rateHz int, random *rand.Rand) []float64 {
	noise := make([]float64, samples)
	for range voices {
		addVoice(noise, float64(rateHz), random)
	}
	return noise
}

// addVoice adds somebody who talks: syllables of a buzzing throat in a mouth that resonates in two places.
func addVoice(noise []float64, rateHz float64, random *rand.Rand) {
	between := func(low, high float64) float64 { return low + (high-low)*random.Float64() }
	pitchHz, loud := between(90, 230), between(0.4, 1)
	phase := random.Float64()
	var low, high resonator
	for start := 0; start < len(noise); {
		length := max(1, int(between(0.09, 0.28)*rateHz))
		spoken := random.Float64() < 0.8
		low.tune(between(250, 800), rateHz)
		high.tune(between(900, 2600), rateHz)
		hz := pitchHz * between(0.85, 1.2)
		for i := range min(length, len(noise)-start) {
			pulse := 0.0
			if phase += hz / rateHz; phase >= 1 {
				phase--
				pulse = 1
			}
			if !spoken {
				pulse = 0
			}
			open := math.Sin(math.Pi * float64(i) / float64(length))
			noise[start+i] += loud * (low.next(pulse*open) + 0.5*high.next(pulse*open))
		}
		start += length
	}
}

// resonator rings at one frequency.
type resonator struct{ a, b, y1, y2 float64 }

func (r *resonator) tune(hz, rateHz float64) {
	const widthHz = 90
	radius := math.Exp(-math.Pi * widthHz / rateHz)
	r.a, r.b = 2*radius*math.Cos(2*math.Pi*hz/rateHz), radius*radius
}

func (r *resonator) next(x float64) float64 {
	y := x + r.a*r.y1 - r.b*r.y2
	r.y2, r.y1 = r.y1, y
	return y
}
