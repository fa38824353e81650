package wav

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func mono(rateHz int, samples ...int16) []byte {
	content := header(rateHz, 1, int64(2*len(samples)))
	for _, sample := range samples {
		content = binary.LittleEndian.AppendUint16(content, uint16(sample))
	}
	return content
}

func TestReadsMonoPCM(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.wav")
	if err := os.WriteFile(path, mono(16000, 1, -2, 32767), 0o600); err != nil {
		t.Fatal(err)
	}
	audio, err := Read(path)
	if err != nil || audio.RateHz != 16000 || len(audio.Samples) != 3 || audio.Samples[1] != -2 {
		t.Fatalf("%+v, %v", audio, err)
	}
}

func TestSkipsChunksItDoesNotKnow(t *testing.T) {
	content := mono(8000, 5)
	extra := append([]byte("LIST\x03\x00\x00\x00abc\x00"), content[36:]...)
	audio, err := Parse(append(content[:36:36], extra...))
	if err != nil || len(audio.Samples) != 1 || audio.Samples[0] != 5 {
		t.Fatalf("%+v, %v", audio, err)
	}
}

func TestRefusesWhatIsNoMonoPCM(t *testing.T) {
	stereo := header(8000, 2, 0)
	noData := mono(8000)[:36]
	for name, content := range map[string][]byte{
		"not a WAV": []byte("hello"), "not mono": stereo, "no data": noData, "cut short": []byte("RIFF\x00\x00\x00\x00WAVEfmt \x04\x00\x00\x00abcd"),
		"no format": append([]byte("RIFF\x00\x00\x00\x00WAVE"), mono(8000, 1)[36:]...), "longer": make([]byte, MaxFileBytes+1),
	} {
		if _, err := Parse(content); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// stereo checks a recording as any reader would and returns its two channels.
func stereo(t *testing.T, path string) (left, right []int16) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	size := int(binary.LittleEndian.Uint32(content[40:]))
	if string(content[:4]) != "RIFF" || int(binary.LittleEndian.Uint32(content[4:])) != size+36 || len(content) < headerBytes+size {
		t.Fatalf("invalid header: %d bytes of data in a file of %d", size, len(content))
	}
	for at := headerBytes; at < headerBytes+size; at += 4 {
		left = append(left, int16(binary.LittleEndian.Uint16(content[at:])))
		right = append(right, int16(binary.LittleEndian.Uint16(content[at+2:])))
	}
	return left, right
}

func TestRecordingHoldsBothChannelsToTheLastSample(t *testing.T) {
	path := filepath.Join(t.TempDir(), "call.wav")
	recorder, err := Create(path, 8000)
	if err != nil {
		t.Fatal(err)
	}
	const frames = 61
	for n := range frames {
		left, right := make([]int16, 160), make([]int16, 160)
		left[0], right[159] = int16(n), int16(-n)
		recorder.Write(left, right)
	}
	if err := recorder.Close(); err != nil {
		t.Fatal(err)
	}
	left, right := stereo(t, path)
	if len(left) != frames*160 {
		t.Fatalf("%d samples, want %d", len(left), frames*160)
	}
	for n := range frames {
		if left[n*160] != int16(n) || right[n*160+159] != int16(-n) {
			t.Fatalf("frame %d: left %d, right %d", n, left[n*160], right[n*160+159])
		}
	}
}

func TestRecordingIsValidBeforeItIsClosed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "call.wav")
	recorder, err := Create(path, 8000)
	if err != nil {
		t.Fatal(err)
	}
	stereo(t, path)
	for range 2 * blockFrames {
		recorder.Write(make([]int16, 160), make([]int16, 160))
	}
	deadline := time.Now().Add(5 * time.Second)
	for {
		if left, _ := stereo(t, path); len(left) == 2*blockFrames*160 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the header never told of the second half second")
		}
		time.Sleep(time.Millisecond)
	}
	if err := recorder.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestRecordingNeedsAFolder(t *testing.T) {
	if _, err := Create(filepath.Join(t.TempDir(), "no", "call.wav"), 8000); err == nil {
		t.Fatal("no error")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(mono(8000, 1, 2, 3))
	f.Add(mono(16000))
	f.Add([]byte("RIFF\x00\x00\x00\x00WAVEfmt \xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, content []byte) {
		if audio, err := Parse(content); err == nil && 2*len(audio.Samples) > len(content) {
			t.Fatal("more samples than bytes")
		}
	})
}
