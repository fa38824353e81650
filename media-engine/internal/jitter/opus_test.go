package jitter

import (
	"math"
	"slices"
	"testing"

	codec "github.com/trunkline/trunkline/media-engine/internal/opus"
)

// libopus shows whether there was a copy: without one, it guesses.
func TestACopyIsSeenWhereLibopusFindsOne(t *testing.T) {
	encoder, err := codec.NewEncoder()
	if err != nil {
		t.Fatal(err)
	}
	var byCopy, byGuess [codec.FrameSamples]int16
	var history [][]byte
	with := 0
	for n := range 60 {
		pcm := make([]int16, codec.FrameSamples)
		if n%20 > 8 { // Copies are made of what is worth it.
			for i := range pcm {
				at := float64(n*codec.FrameSamples+i) / codec.RateHz
				pcm[i] = int16(9_000*math.Sin(2*math.Pi*150*at) + 5_000*math.Sin(2*math.Pi*450*at))
			}
		}
		buf := make([]byte, codec.MaxPacketBytes)
		size, err := encoder.Encode(pcm, buf)
		if err != nil {
			t.Fatal(err)
		}
		packet := buf[:size]
		if durationMs(packet) != 20 {
			t.Fatalf("packet %d lasts %d ms", n, durationMs(packet))
		}
		copier, guesser := heardAll(t, history), heardAll(t, history)
		if err := copier.FEC(packet, byCopy[:]); err != nil {
			t.Fatal(err)
		}
		if err := guesser.Conceal(byGuess[:]); err != nil {
			t.Fatal(err)
		}
		found := !slices.Equal(byCopy[:], byGuess[:])
		// Right at the start, a guess knows too little of the sender to be the same.
		if n >= 5 && carriesCopy(packet) != found {
			t.Errorf("packet %d: %v, but libopus %v", n, carriesCopy(packet), found)
		}
		if found {
			with++
		}
		history = append(history, packet)
	}
	if with < 10 || with > 50 {
		t.Errorf("%d of 60 with a copy", with)
	}
}

// heardAll is a decoder that heard these packets.
func heardAll(t *testing.T, packets [][]byte) *codec.Decoder {
	t.Helper()
	decoder, err := codec.NewDecoder()
	if err != nil {
		t.Fatal(err)
	}
	out := make([]int16, codec.MaxPacketSamples)
	for _, packet := range packets {
		if _, err := decoder.Decode(packet, out); err != nil {
			t.Fatal(err)
		}
	}
	return decoder
}
