package dtmf

import (
	"errors"
	"testing"
)

func TestPayloadRoundTrip(t *testing.T) {
	for _, key := range []byte(keys) {
		for _, end := range []bool{false, true} {
			want := Event{Key: key, End: end, Volume: 10, Duration: 800}
			if got, err := Parse(want.Payload()); err != nil || got != want {
				t.Errorf("%c: %+v, %v", key, got, err)
			}
		}
	}
	if _, err := Parse([]byte{1, 2, 3}); err == nil {
		t.Error("three bytes are an event")
	}
	if _, err := Parse([]byte{16, 0, 0, 0}); !errors.Is(err, ErrNotKey) {
		t.Error("a flash is a key")
	}
}

func TestKeysAreSpreadOverTicksAndToldOnce(t *testing.T) {
	var sender Sender
	var receiver Receiver
	sender.Add("12#a2")
	heard, timestamp, ticks, packets := "", uint32(4294967000), 0, 0
	for at := timestamp; sender.Busy(); at += tickSamples {
		ticks++
		for _, send := range sender.Next() {
			if send.First {
				timestamp = at
			}
			packets++
			if key, ok := receiver.Receive(send.Payload(), timestamp); ok {
				heard += string(key)
			}
		}
	}
	if heard != "12#A2" || ticks != 5*(EventTicks+pauseTicks) || packets != 5*(EventTicks-1+endRepeats) {
		t.Errorf("heard %q in %d ticks, %d packets", heard, ticks, packets)
	}
}

func TestAKeyWhosePacketsComeLateIsNotToldAgain(t *testing.T) {
	var receiver Receiver
	five := Event{Key: '5', Duration: 160}.Payload()
	if _, ok := receiver.Receive(five, 1000); !ok {
		t.Fatal("not told")
	}
	if _, ok := receiver.Receive(five, 1000); ok {
		t.Error("told twice")
	}
	if _, ok := receiver.Receive(five, 1000-640); ok {
		t.Error("an old packet of the same key is told")
	}
	if _, ok := receiver.Receive(five, 1000+1280); !ok {
		t.Error("the same key pressed again is not told")
	}
}

func TestValid(t *testing.T) {
	for digits, want := range map[string]bool{"12#": true, "*": true, "abcd": true, "": false, "1 2": false, "e": false, "１": false} {
		if Valid(digits) != want {
			t.Errorf("Valid(%q) = %v", digits, !want)
		}
	}
}

func FuzzReceive(f *testing.F) {
	f.Add([]byte{5, 0x8a, 3, 32}, uint32(0))
	f.Add([]byte{255}, uint32(1<<31))
	f.Fuzz(func(t *testing.T, payload []byte, timestamp uint32) {
		var receiver Receiver
		key, ok := receiver.Receive(payload, timestamp)
		if ok && !Valid(string(key)) {
			t.Fatalf("key %q", key)
		}
		if _, again := receiver.Receive(payload, timestamp); again {
			t.Fatal("told twice")
		}
	})
}
