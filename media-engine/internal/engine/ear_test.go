package engine

import (
	"testing"

	"github.com/trunkline/trunkline/media-engine/internal/jitter"
	"github.com/trunkline/trunkline/media-engine/internal/opus"
)

func TestKnowsAFillerOfTheServer(t *testing.T) {
	made := make([]byte, 80)
	copy(made, "\xf8\xff\xfe")
	for payload, want := range map[string]bool{
		string(made): true, "\xf8\xff\xfe": true, "\xf8\xff\xfe\x01": false, "\xf8\xff": false, "": false, "voice": false,
	} {
		if filler([]byte(payload)) != want {
			t.Errorf("%x", payload)
		}
	}
}

func TestLevelIsBelowOverload(t *testing.T) {
	square := make([]int16, opus.FrameSamples)
	for _, each := range []struct {
		amplitude int16
		want      uint32
	}{{0, 127}, {1, 90}, {327, 40}, {32767, 0}, {-32768, 0}} {
		for i := range square {
			square[i] = each.amplitude
		}
		if got := level(square); got != each.want {
			t.Errorf("%d: %d, not %d", each.amplitude, got, each.want)
		}
	}
}

// Whatever a buffer hands out, a frame has 20 ms, and nothing is read or written where it should not be.
func FuzzEar(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 1, 2, 1, 0})
	f.Fuzz(func(t *testing.T, script []byte) {
		decoder, err := opus.NewDecoder()
		if err != nil {
			t.Fatal(err)
		}
		e := &ear{buffer: jitter.New(jitter.Config{}), decoder: decoder}
		for i, step := range script {
			e.take(jitter.Out{Kind: jitter.Kind(step % 5), Payload: script[i:], Ms: int(step/5) % 130})
			e.finish()
			if e.n < 0 || e.n > len(e.held) {
				t.Fatalf("%d samples are held", e.n)
			}
		}
	})
}
