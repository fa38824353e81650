// Package wav reads the speech that callers play and writes the recordings of calls: RIFF WAVE, 16-bit PCM.
package wav

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// MaxFileBytes is the longest file that is read: some ten minutes of 16 kHz mono.
const MaxFileBytes = 20 << 20

const headerBytes = 44

// Audio is a mono file in memory.
type Audio struct {
	RateHz  int
	Samples []int16
}

// Read loads a mono 16-bit PCM file.
func Read(path string) (Audio, error) {
	file, err := os.Open(path)
	if err != nil {
		return Audio{}, err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, MaxFileBytes+1))
	if err != nil {
		return Audio{}, err
	}
	audio, err := Parse(content)
	if err != nil {
		return Audio{}, fmt.Errorf("%s: %w", path, err)
	}
	return audio, nil
}

// Parse decodes the bytes of a mono 16-bit PCM file. A data chunk that is cut short gives what is there.
func Parse(content []byte) (Audio, error) {
	if len(content) > MaxFileBytes {
		return Audio{}, fmt.Errorf("longer than %d MiB", MaxFileBytes>>20)
	}
	if len(content) < 12 || string(content[:4]) != "RIFF" || string(content[8:12]) != "WAVE" {
		return Audio{}, errors.New("not a WAV file")
	}
	rest := content[12:]
	rateHz := 0
	for len(rest) >= 8 {
		id, size := string(rest[:4]), int64(binary.LittleEndian.Uint32(rest[4:8]))
		body := rest[8:]
		if size < int64(len(body)) {
			body = body[:size]
		}
		switch id {
		case "fmt ":
			var err error
			if rateHz, err = parseFormat(body); err != nil {
				return Audio{}, err
			}
		case "data":
			if rateHz == 0 {
				return Audio{}, errors.New("no format before the data")
			}
			samples := make([]int16, len(body)/2)
			for i := range samples {
				samples[i] = int16(binary.LittleEndian.Uint16(body[2*i:]))
			}
			return Audio{RateHz: rateHz, Samples: samples}, nil
		}
		next := 8 + int64(len(body)) + int64(len(body)&1)
		if next > int64(len(rest)) {
			break
		}
		rest = rest[next:]
	}
	return Audio{}, errors.New("no data in it")
}

func parseFormat(body []byte) (rateHz int, err error) {
	if len(body) < 16 {
		return 0, errors.New("its format chunk is cut short")
	}
	coding, channels := binary.LittleEndian.Uint16(body), binary.LittleEndian.Uint16(body[2:])
	rate, bits := binary.LittleEndian.Uint32(body[4:]), binary.LittleEndian.Uint16(body[14:])
	const pcm, extensible = 1, 0xfffe
	if (coding != pcm && coding != extensible) || channels != 1 || bits != 16 || rate == 0 || rate > 192_000 {
		return 0, fmt.Errorf("not mono 16-bit PCM (coding %d, %d channels, %d bits, %d Hz)", coding, channels, bits, rate)
	}
	return int(rate), nil
}

// header describes 16-bit PCM of so many bytes.
func header(rateHz, channels int, dataBytes int64) []byte {
	h := make([]byte, headerBytes)
	size := uint32(min(dataBytes, 1<<32-1-headerBytes))
	copy(h, "RIFF")
	binary.LittleEndian.PutUint32(h[4:], size+headerBytes-8)
	copy(h[8:], "WAVEfmt ")
	binary.LittleEndian.PutUint32(h[16:], 16)
	binary.LittleEndian.PutUint16(h[20:], 1)
	binary.LittleEndian.PutUint16(h[22:], uint16(channels))
	binary.LittleEndian.PutUint32(h[24:], uint32(rateHz))
	binary.LittleEndian.PutUint32(h[28:], uint32(rateHz*channels*2))
	binary.LittleEndian.PutUint16(h[32:], uint16(channels*2))
	binary.LittleEndian.PutUint16(h[34:], 16)
	copy(h[36:], "data")
	binary.LittleEndian.PutUint32(h[40:], size)
	return h
}
