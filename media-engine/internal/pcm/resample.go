package pcm

import "math"

// halfBand is a low-pass filter at 3.6 kHz for 16 kHz input: a windowed sinc, symmetric, so that nothing is delayed
// but by half its length.
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

var middle = len(halfBand) / 2

// Halve brings 16 kHz down to 8 kHz without aliases and without delay.
func Halve(samples []int16) []int16 {
	var h Halver
	out := make([]int16, (len(samples)+middle)/2)
	h.Halve(out, append(samples[:len(samples):len(samples)], make([]int16, middle)...))
	return out[middle/2:][:len(samples)/2]
}

// Double brings 8 kHz up to 16 kHz without images and without delay.
func Double(samples []int16) []int16 {
	var d Doubler
	out := make([]int16, 2*(len(samples)+middle/2))
	d.Double(out, append(samples[:len(samples):len(samples)], make([]int16, middle/2)...))
	return out[middle:]
}

// Halver does so with a stream, 2 ms late. The zero value starts one.
type Halver struct{ past [64]int16 }

// Halve writes half as many samples as there are in src, whose length is even.
func (h *Halver) Halve(dst, src []int16) {
	window := append(h.past[:len(h.past):len(h.past)], src...)
	for i := range len(src) / 2 {
		sum := 0.0
		for tap, weight := range halfBand {
			sum += weight * float64(window[2*i+tap])
		}
		dst[i] = round(sum)
	}
	copy(h.past[:], window[len(src):])
}

// Doubler does so with a stream, 2 ms late. The zero value starts one.
type Doubler struct{ past [32]int16 }

// Double writes twice as many samples as there are in src.
func (d *Doubler) Double(dst, src []int16) {
	window := append(d.past[:len(d.past):len(d.past)], src...)
	for i := range src {
		// Every other sample that the filter sees is a stuffed zero.
		var even, odd float64
		for tap := 0; tap < len(halfBand); tap += 2 {
			even += halfBand[tap] * float64(window[i+tap/2])
		}
		for tap := 1; tap < len(halfBand); tap += 2 {
			odd += halfBand[tap] * float64(window[i+(tap+1)/2])
		}
		dst[2*i], dst[2*i+1] = round(2*even), round(2*odd)
	}
	copy(d.past[:], window[len(src):])
}

func round(value float64) int16 {
	return int16(math.Round(min(max(value, -fullScale), fullScale-1)))
}
