// Package g722 is the wideband codec of ITU-T G.722 at 64 kbit/s (mode 1): 16 kHz, two bands, 8 bits for two samples.
//
// Written after the Recommendation; its tables have the names of the blocks that they belong to.
package g722

// SamplesPerByte is how many samples a byte stands for.
const SamplesPerByte = 2

const taps = 24

// Encoder and Decoder follow a stream: they must get all of it, in its order.
type (
	// Encoder turns samples into bytes.
	Encoder struct {
		low, high band
		past      [taps]int
	}
	// Decoder turns bytes into samples.
	Decoder struct {
		low, high band
		past      [taps]int
	}
)

// NewEncoder starts a stream.
func NewEncoder() *Encoder {
	e := &Encoder{}
	e.low, e.high = newBands()
	return e
}

// NewDecoder starts a stream.
func NewDecoder() *Decoder {
	d := &Decoder{}
	d.low, d.high = newBands()
	return d
}

// Encode writes one byte of dst for each two samples of src, 16 kHz. src has an even length, dst at least half of it.
func (e *Encoder) Encode(dst []byte, src []int16) {
	for i := range len(src) / 2 {
		copy(e.past[:], e.past[2:])
		e.past[taps-2], e.past[taps-1] = int(src[2*i]), int(src[2*i+1])
		odd, even := split(&e.past)
		dst[i] = e.highBits((even-odd)>>14)<<6 | e.lowBits((even+odd)>>14)
	}
}

func (e *Encoder) lowBits(x int) byte {
	difference := saturate(x - e.low.s)
	size := difference
	if difference < 0 {
		size = -difference - 1
	}
	level := 1
	for level < 30 && size >= q6[level]*e.low.step>>12 {
		level++
	}
	var code int
	switch {
	case difference >= 0:
		code = 62 - level
	case level <= 2:
		code = 64 - level
	default:
		code = 34 - level
	}
	e.low.take(code >> 2)
	return byte(code)
}

func (e *Encoder) highBits(x int) byte {
	difference := saturate(x - e.high.s)
	size := difference
	if difference < 0 {
		size = -difference - 1
	}
	code := 0
	if size < 564*e.high.step>>12 {
		code = 1
	}
	if difference >= 0 {
		code |= 2
	}
	e.high.takeHigh(code)
	return byte(code)
}

// Decode writes two samples of dst, 16 kHz, for each byte of src. dst has at least twice the length of src.
func (d *Decoder) Decode(dst []int16, src []byte) {
	for i, code := range src {
		low := clampBand(d.low.s + qm6[code&63]*d.low.step>>15)
		d.low.take(int(code&63) >> 2)
		high := clampBand(d.high.s + qm2[code>>6]*d.high.step>>15)
		d.high.takeHigh(int(code >> 6))
		copy(d.past[:], d.past[2:])
		d.past[taps-2], d.past[taps-1] = low+high, low-high
		odd, even := split(&d.past)
		dst[2*i], dst[2*i+1] = int16(saturate(even>>11)), int16(saturate(odd>>11))
	}
}

// take follows the lower band with the four bits that predictor and scale know of.
func (b *band) take(code int) {
	d := qm4[code] * b.step >> 15
	b.rescale(wl[code])
	b.adapt(d)
}

// takeHigh follows the higher band.
func (b *band) takeHigh(code int) {
	d := qm2[code] * b.step >> 15
	b.rescale(wh[code])
	b.adapt(d)
}

// split is the quadrature mirror filter, for both directions: the sums over the taps with odd and with even numbers.
func split(past *[taps]int) (odd, even int) {
	for i, weight := range mirror {
		odd += past[2*i] * weight
		even += past[taps-1-2*i] * weight
	}
	return odd, even
}

func clampBand(value int) int { return min(max(value, -1<<14), 1<<14-1) }

var (
	mirror = [taps / 2]int{3, -11, 12, 32, -210, 951, 3876, -805, 362, -156, 53, -11}

	// scaleFactors are 2^(11 + n/32).
	scaleFactors = [32]int{
		2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834,
		2896, 2960, 3025, 3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008,
	}

	// q6 are the lower band's decision levels.
	q6 = [30]int{
		0, 35, 72, 110, 150, 190, 233, 276, 323, 370, 422, 473, 530, 587, 650,
		714, 786, 858, 940, 1023, 1121, 1219, 1339, 1458, 1612, 1765, 1980, 2195, 2557, 2919,
	}

	// qm6, qm4 and qm2 are the values that codes of so many bits stand for.
	qm6 = [64]int{
		-136, -136, -136, -136, -24808, -21904, -19008, -16704, -14984, -13512, -12280, -11192, -10232, -9360, -8576, -7856,
		-7192, -6576, -6000, -5456, -4944, -4464, -4008, -3576, -3168, -2776, -2400, -2032, -1688, -1360, -1040, -728,
		24808, 21904, 19008, 16704, 14984, 13512, 12280, 11192, 10232, 9360, 8576, 7856, 7192, 6576, 6000, 5456,
		4944, 4464, 4008, 3576, 3168, 2776, 2400, 2032, 1688, 1360, 1040, 728, 432, 136, -432, -136,
	}
	qm4 = [16]int{0, -20456, -12896, -8968, -6288, -4240, -2584, -1200, 20456, 12896, 8968, 6288, 4240, 2584, 1200, 0}
	qm2 = [4]int{-7408, -1616, 7408, 1616}

	// wl and wh are what a code adds to the logarithm of the scale.
	wl = [16]int{-60, 3042, 1198, 538, 334, 172, 58, -30, 3042, 1198, 538, 334, 172, 58, -30, -60}
	wh = [4]int{798, -214, 798, -214}
)
