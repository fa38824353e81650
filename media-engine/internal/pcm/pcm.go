// Package pcm measures and resamples 16-bit mono PCM, and finds where sound starts and ends in it.
package pcm

import "math"

// Rate is samples a second.
type Rate int

// The two rates of a line.
const (
	Narrow Rate = 8000
	Wide   Rate = 16000
)

// Frame is the samples of one packet: 20 ms.
func (r Rate) Frame() int { return int(r) / 50 }

// Block is the window in which sound is looked for: 10 ms.
func (r Rate) Block() int { return int(r) / 100 }

// Us is how long so many samples last, in microseconds.
func (r Rate) Us(samples int64) int64 { return samples * 1_000_000 / int64(r) }

const (
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
func SpeechBounds(samples []int16, rate Rate) (first, last int, ok bool) {
	first, last = -1, -1
	for start := 0; start < len(samples); start += rate.Block() {
		end := min(start+rate.Block(), len(samples))
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
