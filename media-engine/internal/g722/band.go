package g722

// band is the state of one sub-band's adaptive predictor and quantizer, in the fixed-point words of the Recommendation.
type band struct {
	limit int // highest log of the scale factor
	shift int // from the log to the scale factor
	step  int // Δ, the quantizer's scale
	log   int // ∇, its logarithm

	s, sz int    // the prediction, and the part of it that comes from the zeros
	p     [2]int // past partial reconstructions
	r     [2]int // past reconstructions
	a     [2]int // poles
	d     [6]int // past quantized differences
	b     [6]int // zeros
}

func newBands() (low, high band) {
	return band{limit: 18432, shift: 8, step: 32}, band{limit: 22528, shift: 10, step: 8}
}

// rescale adapts the quantizer's scale (blocks LOGSCL, LOGSCH, SCALEL and SCALEH).
func (b *band) rescale(multiplier int) {
	b.log = min(max(b.log*127>>7+multiplier, 0), b.limit)
	factor, down := scaleFactors[b.log>>6&31], b.shift-b.log>>11
	if down < 0 {
		factor <<= -down
	} else {
		factor >>= down
	}
	b.step = factor << 2
}

// adapt takes a quantized difference, and predicts the next sample (block 4).
func (b *band) adapt(d int) {
	p, r := saturate(b.sz+d), saturate(b.s+d)

	// The second pole is adapted first, as it limits the first one.
	first := saturate(4 * b.a[0])
	if sameSign(p, b.p[0]) {
		first = min(-first, maxWord)
	}
	a2 := first>>7 + signed(128, sameSign(p, b.p[1])) + b.a[1]*32512>>15
	a2 = min(max(a2, -12288), 12288)
	a1 := saturate(signed(192, sameSign(p, b.p[0])) + b.a[0]*32640>>15)
	a1 = min(max(a1, a2-15360), 15360-a2)

	gain := 128
	if d == 0 {
		gain = 0
	}
	for i, past := range b.d {
		b.b[i] = saturate(signed(gain, sameSign(d, past)) + b.b[i]*32640>>15)
	}
	copy(b.d[1:], b.d[:5])
	b.d[0] = d
	b.p, b.r, b.a = [2]int{p, b.p[0]}, [2]int{r, b.r[0]}, [2]int{a1, a2}

	b.sz = 0
	for i, zero := range b.b {
		b.sz += zero * saturate(2*b.d[i]) >> 15
	}
	b.sz = saturate(b.sz)
	poles := saturate(b.a[0]*saturate(2*b.r[0])>>15 + b.a[1]*saturate(2*b.r[1])>>15)
	b.s = saturate(poles + b.sz)
}

const maxWord = 1<<15 - 1

func saturate(value int) int { return min(max(value, -maxWord-1), maxWord) }

func sameSign(a, b int) bool { return (a < 0) == (b < 0) }

func signed(value int, positive bool) int {
	if positive {
		return value
	}
	return -value
}
