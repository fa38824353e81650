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
	if level := LevelDbfs(tone(1000, 8000, -20, 8000)); math.Abs(level+20) > 0.05 {
		t.Errorf("level %.2f dBFS, want -20", level)
	}
	if LevelDbfs(nil) != SilenceDbfs || LevelDbfs(make([]int16, 80)) != SilenceDbfs {
		t.Error("silence is not -100 dBFS")
	}
}

func TestSpeechBoundsIgnoreWhatIsQuieterThanSpeech(t *testing.T) {
	hiss := tone(400, 8000, -60, 1000)
	first, last, ok := SpeechBounds(join(hiss, tone(400, 8000, -20, 800), hiss), Narrow)
	if !ok || first < 1000 || first > 1003 || last < 1790 || last > 1800 {
		t.Errorf("bounds %d..%d %v, want 1000..1799", first, last, ok)
	}
	if _, _, ok := SpeechBounds(hiss, Narrow); ok {
		t.Error("hiss at -60 dBFS counts as speech")
	}
	if _, _, ok := SpeechBounds(nil, Narrow); ok {
		t.Error("nothing counts as speech")
	}
}

func TestEarTellsStartsAndStops(t *testing.T) {
	t.Run("8 kHz", func(t *testing.T) { earTells(t, Narrow) })
	t.Run("16 kHz", func(t *testing.T) { earTells(t, Wide) })
}

func earTells(t *testing.T, rate Rate) {
	ear, perMs := NewEar(rate), int(rate)/1000
	quiet := func(ms int) []int16 { return make([]int16, ms*perMs) }
	sound := func(ms int) []int16 { return tone(500, float64(rate), -20, ms*perMs) }
	stream := join(quiet(100), sound(300), quiet(190), sound(100), quiet(400), sound(60))
	var found []Heard
	for start := 0; start+rate.Frame() <= len(stream); start += rate.Frame() {
		found = append(found, ear.Listen(stream[start:start+rate.Frame()])...)
	}
	found = append(found, ear.Close()...)
	want := []int64{100, 690, 1090, 1140} // ms
	if len(found) != len(want) {
		t.Fatalf("found %+v", found)
	}
	for i, ms := range want {
		at, starts := rate.Us(found[i].At)/1000, i%2 == 0
		if found[i].Start != starts || max(at-ms, ms-at) > 10 {
			t.Errorf("%d: %+v, want %d ms", i, found[i], ms)
		}
		if starts && math.Abs(found[i].LevelDbfs+20) > 1 {
			t.Errorf("level %.1f dBFS, want -20", found[i].LevelDbfs)
		}
	}
	if ear.Close() != nil {
		t.Error("a second Close finds something")
	}
}
