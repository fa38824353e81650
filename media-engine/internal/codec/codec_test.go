package codec

import (
	"math"
	"testing"

	"github.com/trunkline/trunkline/media-engine/internal/pcm"
)

func tone(rate pcm.Rate, hz float64, frames int) []int16 {
	out := make([]int16, frames*rate.Frame())
	for i := range out {
		out[i] = int16(8000 * math.Sin(2*math.Pi*hz*float64(i)/float64(rate)))
	}
	return out
}

func TestSoundComesThroughEachCodecOnEachLine(t *testing.T) {
	for _, kind := range All {
		for _, from := range []pcm.Rate{pcm.Narrow, pcm.Wide} {
			for _, to := range []pcm.Rate{pcm.Narrow, pcm.Wide} {
				encoder, decoder := NewEncoder(from), NewDecoder(to)
				sound, heard := tone(from, 1000, 20), make([]int16, 20*to.Frame())
				for n := range 20 {
					payload := encoder.Encode(kind, sound[n*from.Frame():][:from.Frame()])
					if len(payload) != FrameBytes {
						t.Fatalf("%s makes %d bytes", kind, len(payload))
					}
					decoder.Decode(heard[n*to.Frame():][:to.Frame()], Codes(kind, payload))
				}
				if off := pcm.LevelDbfs(heard[5*to.Frame():]) - pcm.LevelDbfs(sound); math.Abs(off) > 0.5 {
					t.Errorf("%s from %d to %d Hz is off by %.1f dB", kind, from, to, off)
				}
				crossings := 0
				late := heard[5*to.Frame():]
				for i := range late[1:] {
					if late[i] < 0 && late[i+1] >= 0 {
						crossings++
					}
				}
				if crossings < 299 || crossings > 301 {
					t.Errorf("%s from %d to %d Hz: %d periods in 300 ms of 1 kHz", kind, from, to, crossings)
				}
			}
		}
	}
}

func TestOnlyG722CarriesWhatIsAboveTheVoiceBand(t *testing.T) {
	for _, kind := range All {
		encoder, decoder := NewEncoder(pcm.Wide), NewDecoder(pcm.Wide)
		sound, heard := tone(pcm.Wide, 5500, 10), make([]int16, 320)
		for n := range 10 {
			decoder.Decode(heard, Codes(kind, encoder.Encode(kind, sound[n*320:][:320])))
		}
		if level := pcm.LevelDbfs(heard); (level > -20) != (kind == G722) {
			t.Errorf("%s: 5.5 kHz is heard at %.1f dBFS", kind, level)
		}
	}
}

func TestAHoleIsSilentAndACodecMayChangeInAFrame(t *testing.T) {
	payload := NewEncoder(pcm.Narrow).Encode(PCMU, tone(pcm.Narrow, 1000, 1))
	codes := Codes(PCMU, payload)
	clear(codes[40:80])
	for i := 120; i < 160; i++ {
		codes[i] = Codes(PCMA, []byte{0xd5})[0] // silence
	}
	heard := make([]int16, 160)
	for i := range heard {
		heard[i] = 99
	}
	NewDecoder(pcm.Narrow).Decode(heard, codes)
	if pcm.LevelDbfs(heard[:40]) < -20 || pcm.LevelDbfs(heard[80:120]) < -20 {
		t.Error("what was received is not heard")
	}
	if pcm.LevelDbfs(heard[40:80]) != pcm.SilenceDbfs || pcm.LevelDbfs(heard[120:]) > -70 {
		t.Error("what was not received is heard")
	}
}

func TestNames(t *testing.T) {
	if kind, ok := Named("g722"); !ok || kind != G722 {
		t.Errorf("%v %v", kind, ok)
	}
	if _, ok := Named("opus"); ok {
		t.Error("opus is known")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte{10, 0, 10, 255, 0, 0, 1, 128, 9, 3})
	f.Fuzz(func(t *testing.T, bytes []byte) {
		var codes [FrameBytes]Code
		for i := range min(len(bytes)/2, len(codes)) {
			kind := All[int(bytes[2*i])%len(All)]
			if bytes[2*i] != 0 {
				codes[i] = Codes(kind, bytes[2*i+1:][:1])[0]
			}
		}
		NewDecoder(pcm.Narrow).Decode(make([]int16, pcm.Narrow.Frame()), codes[:])
		NewDecoder(pcm.Wide).Decode(make([]int16, pcm.Wide.Frame()), codes[:])
	})
}
