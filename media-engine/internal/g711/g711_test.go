package g711

import "testing"

// Pairs of the ITU-T G.711 tables (and of every other implementation).
func TestKnownCodes(t *testing.T) {
	for _, c := range []struct {
		law  Law
		pcm  int16
		code byte
		back int16
	}{
		{ULaw, 0, 0xff, 0}, {ULaw, -1, 0x7f, 0}, {ULaw, 32767, 0x80, 32124}, {ULaw, -32768, 0x00, -32124},
		{ULaw, 1000, 0xce, 988}, {ULaw, -1000, 0x4e, -988},
		{ALaw, 0, 0xd5, 8}, {ALaw, -1, 0x55, -8}, {ALaw, 32767, 0xaa, 32256}, {ALaw, -32768, 0x2a, -32256},
		{ALaw, 1000, 0xfa, 1008}, {ALaw, -1000, 0x7a, -1008},
	} {
		var code [1]byte
		var back [1]int16
		c.law.Encode(code[:], []int16{c.pcm})
		c.law.Decode(back[:], code[:])
		if code[0] != c.code || back[0] != c.back {
			t.Errorf("%v %d: code %#02x (want %#02x), back %d (want %d)", c.law, c.pcm, code[0], c.code, back[0], c.back)
		}
	}
}

func TestEveryCodeSurvivesARoundTrip(t *testing.T) {
	for _, law := range []Law{ULaw, ALaw} {
		for code := range 256 {
			var pcm [1]int16
			var again [1]byte
			law.Decode(pcm[:], []byte{byte(code)})
			law.Encode(again[:], pcm[:])
			if law == ULaw && code == 0x7f {
				continue // negative zero: encodes as positive zero
			}
			if again[0] != byte(code) {
				t.Errorf("%v: code %#02x is %d, which is code %#02x", law, code, pcm[0], again[0])
			}
		}
	}
}

func TestErrorStaysWithinHalfAStep(t *testing.T) {
	for _, law := range []Law{ULaw, ALaw} {
		for sample := -32768; sample <= 32767; sample++ {
			var code [1]byte
			var back [1]int16
			law.Encode(code[:], []int16{int16(sample)})
			law.Decode(back[:], code[:])
			magnitude := max(sample, -sample)
			limit := max(16, magnitude/32+16)
			if magnitude > 32000 {
				limit = 700 // clipped
			}
			if difference := int(back[0]) - sample; difference > limit || difference < -limit {
				t.Fatalf("%v: %d comes back as %d", law, sample, back[0])
			}
		}
	}
}

func TestSilenceIsQuiet(t *testing.T) {
	for _, law := range []Law{ULaw, ALaw} {
		var pcm [1]int16
		law.Decode(pcm[:], []byte{law.Silence()})
		if pcm[0] < -8 || pcm[0] > 8 {
			t.Errorf("%v: silence is %d", law, pcm[0])
		}
	}
}
