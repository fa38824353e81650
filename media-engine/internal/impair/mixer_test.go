package impair

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

const (
	rateHz = 16_000
	frame  = rateHz / 50
)

func dbov(samples []int16) float64 {
	power := 0.0
	for _, sample := range samples {
		power += float64(sample) * float64(sample)
	}
	return 10 * math.Log10(power/float64(len(samples))/overload/overload)
}

// mixed is so many seconds of nothing said, as a mixer sends it.
func mixed(sound Sound, seed uint64, seconds int) []int16 {
	mixer := NewMixer(Config{Seed: seed, Sound: sound}, rateHz)
	var all []int16
	for range 50 * seconds {
		var one [frame]int16
		mixer.Hear(nil)
		mixer.Mix(one[:])
		all = append(all, one[:]...)
	}
	return all
}

// power is that of the frequencies between two, by the discrete Fourier transform of each second.
func power(samples []int16, lowHz, highHz int) float64 {
	total := 0.0
	for start := 0; start+rateHz <= len(samples); start += rateHz {
		for hz := lowHz; hz < highHz; hz += 7 {
			step := 2 * math.Pi * float64(hz) / rateHz
			coefficient, s1, s2 := 2*math.Cos(step), 0.0, 0.0
			for _, sample := range samples[start : start+rateHz] {
				s1, s2 = float64(sample)+coefficient*s1-s2, s1
			}
			total += s1*s1 + s2*s2 - coefficient*s1*s2
		}
	}
	return total
}

func TestNoiseIsAsLoudAsTold(t *testing.T) {
	given := make([]int16, 1234)
	for i := range given {
		given[i] = int16(i % 100)
	}
	for _, noise := range []Noise{
		{Kind: White}, {Kind: Pink}, {Kind: Hum}, {Kind: Babble}, {Kind: Given, PCM: given},
	} {
		for _, level := range []float64{-60, -40, -20} {
			noise.LevelDbov = level
			all := mixed(Sound{Noise: &noise}, 1, 2*noiseSeconds)
			if found := dbov(all); math.Abs(found-level) > 0.3 {
				t.Errorf("%s at %.1f dBov, want %g", noise.Kind, found, level)
			}
		}
	}
	if all := mixed(Sound{Noise: &Noise{Kind: Given, PCM: make([]int16, 10), LevelDbov: -20}}, 1, 1); slices.Max(all) != 0 {
		t.Error("silence was made loud")
	}
}

func TestNoiseHasItsColour(t *testing.T) {
	octaves := func(kind Kind) (change float64) {
		all := mixed(Sound{Noise: &Noise{Kind: kind, LevelDbov: -20}}, 5, 4)
		return 10 * math.Log10(power(all, 2000, 4000)/power(all, 250, 500)) / 3
	}
	if change := octaves(White); math.Abs(change-3) > 0.5 {
		t.Errorf("white noise gains %.1f dB an octave, want 3", change)
	}
	if change := octaves(Pink); math.Abs(change) > 0.7 {
		t.Errorf("pink noise gains %.1f dB an octave, want 0", change)
	}
	hum := mixed(Sound{Noise: &Noise{Kind: Hum, LevelDbov: -20}}, 5, 1)
	if on, off := power(hum, 50, 51), power(hum, 75, 76); on < 1e6*off {
		t.Errorf("hum is not of 50 Hz: %g there, %g at 75 Hz", on, off)
	}
	babble := mixed(Sound{Noise: &Noise{Kind: Babble, LevelDbov: -20}}, 5, 4)
	if voice, above := power(babble, 200, 3000), power(babble, 4500, 7300); voice < 30*above {
		t.Errorf("babble is not of voices: %g where they are, %g above", voice, above)
	}
}

func TestNoiseIsRepeatedWithoutASeam(t *testing.T) {
	for _, kind := range []Kind{White, Pink, Hum, Babble} {
		noise := makeNoise(Noise{Kind: kind, LevelDbov: -20}, rateHz, rand.New(rand.NewPCG(1, 1)))
		steps := make([]float64, 0, len(noise))
		for i := 1; i < len(noise); i++ {
			steps = append(steps, math.Abs(float64(noise[i]-noise[i-1])))
		}
		if seam := math.Abs(float64(noise[0] - noise[len(noise)-1])); seam > slices.Max(steps) {
			t.Errorf("%s: the seam is a step of %.0f, the largest other one is %.0f", kind, seam, slices.Max(steps))
		}
	}
}

func TestLoudNoiseIsCutAndDoesNotWrap(t *testing.T) {
	mixer := NewMixer(Config{Sound: Sound{Noise: &Noise{Kind: White, LevelDbov: -10}}}, rateHz)
	one := slices.Repeat([]int16{math.MaxInt16}, frame)
	mixer.Mix(one)
	if slices.Min(one) < 0 || slices.Max(one) != math.MaxInt16 {
		t.Errorf("samples from %d to %d", slices.Min(one), slices.Max(one))
	}
}

func TestEchoIsAsLateAndAsLoudAsTold(t *testing.T) {
	for _, delayMs := range []int{0, 20, 37, 150, 2000} {
		mixer := NewMixer(Config{Sound: Sound{Echo: &Echo{GainDb: -20, DelayMs: delayMs}}}, rateHz)
		random := rand.New(rand.NewPCG(1, 2))
		var heard, sent []int16
		for range 200 {
			var in, out [frame]int16
			for i := range in {
				in[i] = int16(random.IntN(20_000) - 10_000)
				out[i] = 500
			}
			mixer.Hear(in[:])
			if added, muted := mixer.Mix(out[:]); muted || added != (len(heard)+frame > delayMs*rateHz/1000) {
				t.Fatalf("frame %d: added %v, muted %v", len(heard)/frame, added, muted)
			}
			heard, sent = append(heard, in[:]...), append(sent, out[:]...)
		}
		delay := delayMs * rateHz / 1000
		for i, sample := range sent {
			want := 500.0
			if i >= delay {
				want += float64(heard[i-delay]) / 10
			}
			if math.Abs(float64(sample)-want) > 0.51 {
				t.Fatalf("delay of %d ms: sample %d is %d, want %.1f", delayMs, i, sample, want)
			}
		}
	}
}

func TestEchoFollowsAClockThatDrifts(t *testing.T) {
	mixer := NewMixer(Config{Sound: Sound{Echo: &Echo{DelayMs: 60}}}, rateHz)
	count := int16(1)
	for n := range 2000 {
		var in, out [frame]int16
		for i := range in {
			in[i] = count
		}
		mixer.Hear(in[:])
		mixer.Mix(out[:])
		if n%100 == 0 { // a second frame in one tick
			out = [frame]int16{}
			mixer.Mix(out[:])
		}
		if behind := count - out[0]; n > 10 && (behind < 1 || behind > 5) {
			t.Fatalf("frame %d: the echo is %d frames behind, want about 3", n, behind)
		}
		count++
	}
}

func TestSilenceComesAsOftenAndLastsAsLongAsTold(t *testing.T) {
	config := Config{Seed: 4, Sound: Sound{Silence: &Silence{EveryMs: 1000, LastsMs: 190}}}
	run := func() (muted []bool) {
		mixer := NewMixer(config, rateHz)
		var one [frame]int16
		for range 60_000 {
			added, silent := mixer.Mix(one[:])
			if added {
				t.Fatal("silence adds something")
			}
			muted = append(muted, silent)
		}
		return muted
	}
	muted := run()
	stretches, length := 0, 0
	for _, silent := range muted {
		if silent {
			length++
			continue
		}
		if length > 0 {
			stretches++
			if length != 10 {
				t.Fatalf("a stretch of %d frames, want 10", length)
			}
		}
		length = 0
	}
	// One in each 1000 + 10 (half a frame is rounded up) + 200 ms.
	if want := 60_000 * 20.0 / 1210; math.Abs(float64(stretches)-want) > 5*math.Sqrt(want) {
		t.Errorf("%d stretches, want about %.0f", stretches, want)
	}
	if muted[0] || !slices.Equal(muted, run()) {
		t.Error("silence at the start, or other stretches with the same seed")
	}
}

func TestASeedDecidesTheNoise(t *testing.T) {
	for _, kind := range []Kind{White, Pink, Hum, Babble} {
		sound := Sound{Noise: &Noise{Kind: kind, LevelDbov: -30}}
		if !slices.Equal(mixed(sound, 1, 1), mixed(sound, 1, 1)) {
			t.Errorf("%s: other noise with the same seed", kind)
		}
		if slices.Equal(mixed(sound, 1, 1), mixed(sound, 2, 1)) {
			t.Errorf("%s: the same noise with another seed", kind)
		}
	}
}

func TestAClockDrifts(t *testing.T) {
	for _, each := range []struct {
		ppm  float64
		want int64 // of the 180,000th frame, after an hour
	}{{0, 3_600_000_000}, {100, 3_599_640_036}, {-100, 3_600_360_036}} {
		if found := (Sound{DriftPpm: each.ppm}).FrameUs(180_000); found != each.want {
			t.Errorf("%g ppm: due at %d us, want %d", each.ppm, found, each.want)
		}
	}
}
