// Package pcm measures and resamples 16-bit mono PCM, and finds where sound starts and ends in it.
package pcm

import "math"

const (
	// RateHz is the rate of everything that goes over the line.
	RateHz = 8000
	// FrameSamples is one packet: 20 ms.
	FrameSamples = 160
	// BlockSamples is the window in which sound is looked for: 10 ms.
	BlockSamples = 80
	// SoundDbfs is the level above which a block counts as sound.
	SoundDbfs = -45.0
	// SilenceDbfs is told for blocks without any signal.
	SilenceDbfs = -100.0

	fullScale = 32768.0
)

// soundAmplitude is the sample value at SoundDbfs; soundPower the sum of squares of a whole block at that level.
var (
	soundAmplitude = fullScale * math.Pow(10, SoundDbfs/20)
	soundPower     = soundAmplitude * soundAmplitude
)

func power(samples []int16) float64 {
	if len(samples) == 0 {
		return 0
	}
	var sum int64
	for _, sample := range samples {
		sum += int64(sample) * int64(sample)
	}
	return float64(sum) / float64(len(samples))
}

// LevelDbfs is the root mean square level; -100 for silence.
func LevelDbfs(samples []int16) float64 {
	p := power(samples)
	if p <= 0 {
		return SilenceDbfs
	}
	return max(SilenceDbfs, 10*math.Log10(p/(fullScale*fullScale)))
}

// IsSound tells if a block is louder than SoundDbfs.
func IsSound(block []int16) bool { return power(block) > soundPower }

// SpeechBounds finds the first and the last sample of sound.
//
// The first is the first sample over SoundDbfs in the first 10 ms block that is sound, the last its mirror image.
// ok is false where no block is sound.
func SpeechBounds(samples []int16) (first, last int, ok bool) {
	first, last = -1, -1
	for start := 0; start < len(samples); start += BlockSamples {
		end := min(start+BlockSamples, len(samples))
		if !IsSound(samples[start:end]) {
			continue
		}
		for i := start; i < end; i++ {
			if math.Abs(float64(samples[i])) > soundAmplitude {
				if first < 0 {
					first = i
				}
				last = i
			}
		}
	}
	return first, last, first >= 0
}

// halfBand is a low-pass filter at 3.6 kHz for 16 kHz input: a windowed sinc, symmetric, so that nothing is delayed.
var halfBand = func() []float64 {
	const taps, cutoff = 65, 3600.0 / 16000.0
	filter := make([]float64, taps)
	sum := 0.0
	for i := range filter {
		x := float64(i - taps/2)
		value := 2 * cutoff
		if x != 0 {
			value = math.Sin(2*math.Pi*cutoff*x) / (math.Pi * x)
		}
		phase := 2 * math.Pi * float64(i) / float64(taps-1)
		filter[i] = value * (0.42 - 0.5*math.Cos(phase) + 0.08*math.Cos(2*phase))
		sum += filter[i]
	}
	for i := range filter {
		filter[i] /= sum
	}
	return filter
}()

// Halve brings 16 kHz down to 8 kHz without aliases and without delay.
func Halve(samples []int16) []int16 {
	out := make([]int16, len(samples)/2)
	middle := len(halfBand) / 2
	for i := range out {
		sum := 0.0
		for tap, weight := range halfBand {
			at := 2*i + tap - middle
			if at >= 0 && at < len(samples) {
				sum += weight * float64(samples[at])
			}
		}
		out[i] = int16(math.Round(min(max(sum, -fullScale), fullScale-1)))
	}
	return out
}
