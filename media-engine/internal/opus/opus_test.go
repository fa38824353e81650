package opus

import (
	"math"
	"math/rand/v2"
	"testing"
)

// voiced is a tone of 150 Hz with its harmonics, loud and soft in turn, as speech is.
func voiced(samples int) []int16 {
	pcm := make([]int16, samples)
	for i := range pcm {
		at := float64(i) / RateHz
		sum := 0.0
		for harmonic := 1.0; harmonic <= 12; harmonic++ {
			sum += math.Sin(2*math.Pi*150*harmonic*at) / harmonic
		}
		pcm[i] = int16(6_000 * sum * (0.6 + 0.4*math.Sin(2*math.Pi*4*at)))
	}
	return pcm
}

// packets encodes samples, 20 ms each.
func packets(t testing.TB, pcm []int16) [][]byte {
	t.Helper()
	encoder, err := NewEncoder()
	if err != nil {
		t.Fatal(err)
	}
	var all [][]byte
	for ; len(pcm) >= FrameSamples; pcm = pcm[FrameSamples:] {
		buf := make([]byte, MaxPacketBytes)
		n, err := encoder.Encode(pcm[:FrameSamples], buf)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, buf[:n])
	}
	return all
}

func decoder(t testing.TB) *Decoder {
	t.Helper()
	d, err := NewDecoder()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// correlation is 1 for the same shape, 0 for no likeness.
func correlation(a, b []int16) float64 {
	var ab, aa, bb float64
	for i := range min(len(a), len(b)) {
		ab += float64(a[i]) * float64(b[i])
		aa += float64(a[i]) * float64(a[i])
		bb += float64(b[i]) * float64(b[i])
	}
	return ab / math.Sqrt(aa*bb+1)
}

// likeness is the best correlation over the delays that a codec may have.
func likeness(heard, said []int16) (best float64) {
	for delay := range 400 {
		if delay < len(heard) {
			best = max(best, correlation(heard[delay:], said))
		}
	}
	return best
}

// hear decodes packets but those in lost, which are replaced by what instead puts into their place.
func hear(t *testing.T, all [][]byte, lost map[int]bool, instead func(d *Decoder, next []byte, out []int16) error) []int16 {
	t.Helper()
	d := decoder(t)
	var heard []int16
	for i, packet := range all {
		out := make([]int16, MaxPacketSamples)
		n := FrameSamples
		var err error
		if lost[i] {
			err = instead(d, all[i+1], out[:n])
		} else {
			n, err = d.Decode(packet, out)
		}
		if err != nil || n != FrameSamples {
			t.Fatalf("packet %d: %d samples, %v", i, n, err)
		}
		heard = append(heard, out[:n]...)
	}
	return heard
}

func TestWhatIsEncodedIsHeard(t *testing.T) {
	said := voiced(2 * RateHz)
	all := packets(t, said)
	size := 0
	for _, packet := range all {
		size += len(packet)
	}
	if rate := size * 8 / 2; rate < 12_000 || rate > 36_000 {
		t.Errorf("%d bit/s", rate)
	}
	if got := likeness(hear(t, all, nil, nil), said); got < 0.8 {
		t.Errorf("a likeness of %.2f", got)
	}
}

func TestACopyIsBetterThanAGuess(t *testing.T) {
	const each = 7
	all := packets(t, voiced(4*RateHz))
	lost := map[int]bool{}
	for i := 20; i < len(all)-1; i += each {
		lost[i] = true
	}
	whole := hear(t, all, nil, nil)
	copied := hear(t, all, lost, func(d *Decoder, next []byte, out []int16) error { return d.FEC(next, out) })
	guessed := hear(t, all, lost, func(d *Decoder, _ []byte, out []int16) error { return d.Conceal(out) })
	var byCopy, byGuess float64
	for i := range lost {
		from, to := i*FrameSamples, (i+1)*FrameSamples
		byCopy += correlation(whole[from:to], copied[from:to]) / float64(len(lost))
		byGuess += correlation(whole[from:to], guessed[from:to]) / float64(len(lost))
	}
	if byCopy < 0.7 || byCopy <= byGuess {
		t.Errorf("a likeness of %.3f by copy, %.3f by guess", byCopy, byGuess)
	}
}

func TestGuessesFade(t *testing.T) {
	d := decoder(t)
	out := make([]int16, MaxPacketSamples)
	for _, packet := range packets(t, voiced(RateHz)) {
		if _, err := d.Decode(packet, out); err != nil {
			t.Fatal(err)
		}
	}
	for range 50 {
		if err := d.Conceal(out[:FrameSamples]); err != nil {
			t.Fatal(err)
		}
	}
	// The tone is ten times as loud.
	for i, sample := range out[:FrameSamples] {
		if sample > 2_000 || sample < -2_000 {
			t.Fatalf("sample %d is %d after a second of guesses", i, sample)
		}
	}
}

func TestCorruptPacketsAreErrorsAndLeaveTheDecoderUsable(t *testing.T) {
	d := decoder(t)
	out := make([]int16, MaxPacketSamples)
	good := packets(t, voiced(FrameSamples))[0]
	for _, bad := range [][]byte{nil, {}, {0xff}, {9<<3 | 3, 0}, {9<<3 | 3, 63, 1, 2}, {9<<3 | 2, 252, 255}, {9<<3 | 1, 1}} {
		_, err := d.Decode(bad, out)
		if err == nil {
			t.Errorf("%x was decoded", bad)
		}
		if n, err := d.Decode(good, out); n != FrameSamples || err != nil {
			t.Fatalf("after %x: %d samples, %v", bad, n, err)
		}
	}
	if err := d.FEC(nil, out[:FrameSamples]); err == nil {
		t.Error("a copy was found in nothing")
	}
}

func TestNothingIsWrittenOrReadBehindASlice(t *testing.T) {
	d := decoder(t)
	good := packets(t, voiced(FrameSamples))[0]
	out := make([]int16, 2*FrameSamples)
	out[FrameSamples-1], out[FrameSamples] = 111, 222
	if _, err := d.Decode(good, out[:FrameSamples-1]); err == nil {
		t.Error("20 ms fitted into less")
	}
	for _, wrong := range []int{0, 1, FrameSamples - 1, MaxPacketSamples + RateHz/400} {
		long := make([]int16, wrong, 2*MaxPacketSamples)
		if d.Conceal(long) == nil || d.FEC(good, long) == nil {
			t.Errorf("%d samples were guessed", wrong)
		}
	}
	if err := d.Conceal(out[:FrameSamples]); err != nil {
		t.Error(err)
	}
	if out[FrameSamples] != 222 {
		t.Error("written behind the slice")
	}
	encoder, err := NewEncoder()
	if err != nil {
		t.Fatal(err)
	}
	for _, wrong := range []int{0, 1, FrameSamples - 1, FrameSamples + 1, 2 * FrameSamples} {
		if _, err := encoder.Encode(make([]int16, wrong, 4*FrameSamples), make([]byte, MaxPacketBytes)); err == nil {
			t.Errorf("%d samples were encoded", wrong)
		}
	}
	if _, err := encoder.Encode(make([]int16, FrameSamples), nil); err == nil {
		t.Error("encoded into nothing")
	}
}

func TestCodingAllocatesNothing(t *testing.T) {
	pcm, buf, out := voiced(FrameSamples), make([]byte, MaxPacketBytes), make([]int16, MaxPacketSamples)
	encoder, err := NewEncoder()
	if err != nil {
		t.Fatal(err)
	}
	d := decoder(t)
	if allocated := testing.AllocsPerRun(100, func() {
		n, err := encoder.Encode(pcm, buf)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Decode(buf[:n], out); err != nil {
			t.Fatal(err)
		}
	}); allocated != 0 {
		t.Errorf("%v allocations", allocated)
	}
}

func FuzzDecode(f *testing.F) {
	for i, packet := range packets(f, voiced(RateHz/5)) {
		f.Add(packet, i%2 == 0)
	}
	f.Add([]byte{9<<3 | 3, 63, 1, 2}, false)
	f.Fuzz(func(t *testing.T, payload []byte, copied bool) {
		d := decoder(t)
		out := make([]int16, MaxPacketSamples)
		for range 2 { // The second time the decoder has a past.
			if copied {
				_ = d.FEC(payload, out[:FrameSamples])
			}
			if n, err := d.Decode(payload, out); n < 0 || n > MaxPacketSamples || (err != nil && n != 0) {
				t.Fatalf("%d samples, %v", n, err)
			}
			if err := d.Conceal(out[:FrameSamples]); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	said := voiced(4 * RateHz)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range said {
		said[i] += int16(random.IntN(600) - 300)
	}
	for _, complexity := range []int{0, 1, 2, 3, 4, 5, 6, 8, 10} {
		b.Run(string(rune('0'+complexity/10))+string(rune('0'+complexity%10)), func(b *testing.B) {
			encoder, err := newEncoder(complexity)
			if err != nil {
				b.Fatal(err)
			}
			buf := make([]byte, MaxPacketBytes)
			for i := 0; b.Loop(); i++ {
				from := i % 200 * FrameSamples
				if _, err := encoder.Encode(said[from:from+FrameSamples], buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	all := packets(b, voiced(4*RateHz))
	out := make([]int16, MaxPacketSamples)
	d := decoder(b)
	b.Run("packet", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if _, err := d.Decode(all[i%len(all)], out); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("copy", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if err := d.FEC(all[i%len(all)], out[:FrameSamples]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("guess", func(b *testing.B) {
		for b.Loop() {
			if err := d.Conceal(out[:FrameSamples]); err != nil {
				b.Fatal(err)
			}
		}
	})
}
