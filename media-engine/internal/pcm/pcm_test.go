package pcm

import (
	"math"
	"testing"
)

func tone(hz, rateHz, dbfs float64, samples int) []int16 {
	out := make([]int16, samples)
	amplitude := fullScale * math.Pow(10, dbfs/20) * math.Sqrt2
	for i := range out {
		out[i] = int16(math.Round(amplitude * math.Sin(2*math.Pi*hz*float64(i)/rateHz)))
	}
	return out
}

func join(parts ...[]int16) []int16 {
	var out []int16
	for _, part := range parts {
		out = append(out, part...)
	}
	return out
}

func TestLevelOfAToneIsItsRootMeanSquare(t *testing.T) {
	if level := LevelDbfs(tone(1000, RateHz, -20, 8000)); math.Abs(level+20) > 0.05 {
		t.Errorf("level %.2f dBFS, want -20", level)
	}
	if LevelDbfs(nil) != SilenceDbfs || LevelDbfs(make([]int16, 80)) != SilenceDbfs {
		t.Error("silence is not -100 dBFS")
	}
}

func TestSpeechBoundsIgnoreWhatIsQuieterThanSpeech(t *testing.T) {
	hiss := tone(400, RateHz, -60, 1000)
	first, last, ok := SpeechBounds(join(hiss, tone(400, RateHz, -20, 800), hiss))
	if !ok || first < 1000 || first > 1003 || last < 1790 || last > 1800 {
		t.Errorf("bounds %d..%d %v, want 1000..1799", first, last, ok)
	}
	if _, _, ok := SpeechBounds(hiss); ok {
		t.Error("hiss at -60 dBFS counts as speech")
	}
	if _, _, ok := SpeechBounds(nil); ok {
		t.Error("nothing counts as speech")
	}
}

func TestHalveKeepsTheVoiceBandAndItsTime(t *testing.T) {
	out := Halve(tone(1000, 16000, -20, 16000))
	if len(out) != 8000 {
		t.Fatalf("%d samples", len(out))
	}
	want := tone(1000, 8000, -20, 8000)
	for i := 100; i < 7900; i++ {
		if math.Abs(float64(out[i])-float64(want[i])) > 20 {
			t.Fatalf("sample %d is %d, want %d", i, out[i], want[i])
		}
	}
	if level := LevelDbfs(Halve(tone(5500, 16000, -20, 16000))[100:7900]); level > -80 {
		t.Errorf("5.5 kHz comes through at %.1f dBFS", level)
	}
	for _, sample := range Halve([]int16{32767, 32767, 32767, -32768}) {
		_ = sample // extreme values neither overflow nor panic
	}
}

func TestEarTellsStartsAndStops(t *testing.T) {
	var ear Ear
	quiet := func(ms int) []int16 { return make([]int16, ms*8) }
	sound := func(ms int) []int16 { return tone(500, RateHz, -20, ms*8) }
	stream := join(quiet(100), sound(300), quiet(190), sound(100), quiet(400), sound(60))
	var found []Heard
	for start := 0; start+FrameSamples <= len(stream); start += FrameSamples {
		found = append(found, ear.Listen(stream[start:start+FrameSamples])...)
	}
	found = append(found, ear.Close()...)
	want := []Heard{{Start: true, At: 800}, {At: 690 * 8}, {Start: true, At: 1090 * 8}, {At: 1140 * 8}}
	if len(found) != len(want) {
		t.Fatalf("found %+v", found)
	}
	for i, w := range want {
		if found[i].Start != w.Start || max(found[i].At-w.At, w.At-found[i].At) > 80 {
			t.Errorf("%d: %+v, want %+v", i, found[i], w)
		}
		if w.Start && math.Abs(found[i].LevelDbfs+20) > 1 {
			t.Errorf("level %.1f dBFS, want -20", found[i].LevelDbfs)
		}
	}
	if ear.Close() != nil {
		t.Error("a second Close finds something")
	}
}
