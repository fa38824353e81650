package pcm

import (
	"math"
	"testing"
)

func close20(t *testing.T, got, want []int16) {
	t.Helper()
	for i := 100; i < len(want)-100; i++ {
		if math.Abs(float64(got[i])-float64(want[i])) > 20 {
			t.Fatalf("sample %d is %d, want %d", i, got[i], want[i])
		}
	}
}

func TestHalveKeepsTheVoiceBandAndItsTime(t *testing.T) {
	out := Halve(tone(1000, 16000, -20, 16000))
	if len(out) != 8000 {
		t.Fatalf("%d samples", len(out))
	}
	close20(t, out, tone(1000, 8000, -20, 8000))
	if level := LevelDbfs(Halve(tone(5500, 16000, -20, 16000))[100:7900]); level > -80 {
		t.Errorf("5.5 kHz comes through at %.1f dBFS", level)
	}
	if loud := Halve([]int16{32767, 32767, 32767, -32768, 5}); len(loud) != 2 {
		t.Errorf("%v", loud)
	}
}

func TestDoubleKeepsTheVoiceBandAndItsTime(t *testing.T) {
	out := Double(tone(1000, 8000, -20, 8000))
	if len(out) != 16000 {
		t.Fatalf("%d samples", len(out))
	}
	close20(t, out, tone(1000, 16000, -20, 16000))
}

func TestAStreamInPiecesIsTheSameTwoMillisecondsLater(t *testing.T) {
	sound := tone(700, 16000, -20, 1600)
	whole, pieces := Halve(sound), make([]int16, 800)
	var h Halver
	for at := 0; at < len(sound); at += 320 {
		h.Halve(pieces[at/2:], sound[at:at+320])
	}
	for i := range 780 {
		if pieces[16+i] != whole[i] {
			t.Fatalf("halved: sample %d", i)
		}
	}
	whole, pieces = Double(sound), make([]int16, 3200)
	var d Doubler
	for at := 0; at < len(sound); at += 160 {
		d.Double(pieces[2*at:], sound[at:at+160])
	}
	for i := range 3160 {
		if pieces[32+i] != whole[i] {
			t.Fatalf("doubled: sample %d", i)
		}
	}
}
