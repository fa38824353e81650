package g722

import (
	"encoding/binary"
	"hash/fnv"
	"math"
	"testing"
)

// dice is a generator that any language has in a line.
type dice uint32

func (d *dice) next() uint32 {
	*d = *d*1664525 + 1013904223
	return uint32(*d)
}

func hashed(samples []int16) uint64 {
	hash := fnv.New64a()
	_ = binary.Write(hash, binary.LittleEndian, samples)
	return hash.Sum64()
}

// What an independent implementation, descended from CMU's, makes of the same input, with its output limited to 16 bits
// as the Recommendation has it.
const (
	decodedNoise = 0x819c121310bdb951
	encodedSound = 0x6e08c9f7876b3b52
	decodedSound = 0xe5fdfca827ef2fee
)

func TestEveryBitIsAsAnotherImplementationHasIt(t *testing.T) {
	seed, codes := dice(1), make([]byte, 8000)
	for i := range codes {
		codes[i] = byte(seed.next() >> 24)
	}
	decoded := make([]int16, 2*len(codes))
	NewDecoder().Decode(decoded, codes)
	if sum := hashed(decoded); sum != decodedNoise {
		t.Errorf("noise is decoded to %x", sum)
	}
	sound, level := make([]int16, 16000), int32(0)
	for i := range sound {
		word := int32(seed.next())
		level += (word>>19 - level) / 8
		if i%4000 < 400 {
			level = word >> 16
		}
		sound[i] = int16(level)
	}
	encoded := make([]byte, len(sound)/2)
	NewEncoder().Encode(encoded, sound)
	hash := fnv.New64a()
	_, _ = hash.Write(encoded)
	if sum := hash.Sum64(); sum != encodedSound {
		t.Errorf("sound is encoded to %x", sum)
	}
	NewDecoder().Decode(decoded, encoded)
	if sum := hashed(decoded); sum != decodedSound {
		t.Errorf("the same is decoded to %x", sum)
	}
}

func TestBothBandsComeThrough(t *testing.T) {
	for _, hz := range []float64{300, 1000, 3000, 5000, 6500} {
		if snr := roundTripDb(hz, 8000); snr < 20 {
			t.Errorf("%.0f Hz: %.1f dB over its noise", hz, snr)
		}
	}
}

// roundTripDb fits the tone to what comes out of encoder and decoder; what is left over is noise.
func roundTripDb(hz, amplitude float64) float64 {
	const rate, n = 16000.0, 16000
	sound, codes, heard := make([]int16, n), make([]byte, n/2), make([]int16, n)
	for i := range sound {
		sound[i] = int16(math.Round(amplitude * math.Sin(2*math.Pi*hz*float64(i)/rate)))
	}
	NewEncoder().Encode(codes, sound)
	NewDecoder().Decode(heard, codes)
	heard = heard[1600 : 1600+8000] // whole periods, after the start
	var sine, cosine, all float64
	for i, sample := range heard {
		phase := 2 * math.Pi * hz * float64(i) / rate
		sine += float64(sample) * math.Sin(phase) * 2 / 8000
		cosine += float64(sample) * math.Cos(phase) * 2 / 8000
		all += float64(sample) * float64(sample) / 8000
	}
	signal := (sine*sine + cosine*cosine) / 2
	return 10 * math.Log10(signal/(all-signal))
}

func TestSilenceStaysSilence(t *testing.T) {
	codes, heard := make([]byte, 800), make([]int16, 1600)
	NewEncoder().Encode(codes, heard)
	NewDecoder().Decode(heard, codes)
	for i, sample := range heard {
		if sample < -8 || sample > 8 {
			t.Fatalf("sample %d is %d", i, sample)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte{0, 255, 64, 128, 192, 63})
	f.Fuzz(func(t *testing.T, codes []byte) {
		samples := make([]int16, 2*len(codes))
		NewDecoder().Decode(samples, codes)
		NewEncoder().Encode(codes, samples)
	})
}
