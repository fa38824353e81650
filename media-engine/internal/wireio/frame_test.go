package wireio

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

func message(body []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

func TestReadsMessagesHoweverTheyAreCut(t *testing.T) {
	long := bytes.Repeat([]byte{7}, 300_000)
	stream := append(append(message([]byte("one")), message(nil)...), message(long)...)
	for name, in := range map[string]io.Reader{
		"whole": bytes.NewReader(stream), "byte by byte": iotest.OneByteReader(bytes.NewReader(stream)),
	} {
		r := NewReader(in)
		for _, want := range [][]byte{[]byte("one"), nil, long} {
			if got, err := r.Next(); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%s: %d bytes, %v", name, len(got), err)
			}
		}
		if _, err := r.Next(); err != io.EOF {
			t.Fatalf("%s: %v at the end", name, err)
		}
	}
}

func TestTellsAnEndInTheMiddleFromAnEnd(t *testing.T) {
	whole := message([]byte("one"))
	for cut := 1; cut < len(whole); cut++ {
		if _, err := NewReader(bytes.NewReader(whole[:cut])).Next(); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("cut after %d: %v", cut, err)
		}
	}
}

func TestRefusesWhatIsTooLong(t *testing.T) {
	if _, err := NewReader(bytes.NewReader([]byte{0, 0x10, 0, 1})).Next(); !errors.Is(err, ErrTooLong) {
		t.Fatal(err)
	}
	if _, err := NewReader(bytes.NewReader(message(make([]byte, MaxBytes)))).Next(); err != nil {
		t.Fatal(err)
	}
}

func FuzzReader(f *testing.F) {
	f.Add(message([]byte("one")))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{0, 0x10, 0, 0, 1})
	f.Fuzz(func(t *testing.T, stream []byte) {
		r := NewReader(bytes.NewReader(stream))
		var again []byte
		for {
			body, err := r.Next()
			if err != nil {
				break
			}
			again = append(again, message(body)...)
		}
		if !bytes.HasPrefix(stream, again) {
			t.Fatal("what was read was not sent")
		}
		if cap(r.body) > 2*len(stream)+firstBytes {
			t.Fatalf("%d bytes were taken for a stream of %d", cap(r.body), len(stream))
		}
	})
}
