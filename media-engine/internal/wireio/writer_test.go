package wireio

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

func text(s string) Message {
	return func(buf []byte) ([]byte, error) { return append(buf, s...), nil }
}

// stuck is a writer whose reader takes nothing; its first message is being written.
func stuck(t *testing.T) (*Writer, net.Conn) {
	t.Helper()
	ours, theirs := net.Pipe()
	w := NewWriter(ours)
	t.Cleanup(func() {
		theirs.Close()
		w.Close(time.Second)
	})
	if err := w.Event(text("first")); err != nil {
		t.Fatal(err)
	}
	for waiting := 1; waiting > 0; time.Sleep(time.Millisecond) {
		w.mu.Lock()
		waiting = len(w.queue)
		w.mu.Unlock()
	}
	return w, theirs
}

func read(t *testing.T, from net.Conn, n int) (all []string) {
	t.Helper()
	r := NewReader(from)
	for range n {
		body, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(body))
	}
	return all
}

func TestDropsTheOldestAudioButNoEvent(t *testing.T) {
	w, reader := stuck(t)
	for i := range 15 {
		if err := errors.Join(w.Audio(text(fmt.Sprint("a", i))), w.Event(text(fmt.Sprint("e", i)))); err != nil {
			t.Fatal(err)
		}
	}
	if got := w.Dropped(); got != 5 {
		t.Fatalf("%d ticks were dropped", got)
	}
	want := "first e0 e1 e2 e3 e4 a5 e5 a6 e6 a7 e7 a8 e8 a9 e9 a10 e10 a11 e11 a12 e12 a13 e13 a14 e14"
	if got := strings.Join(read(t, reader, 26), " "); got != want {
		t.Fatalf("read %s", got)
	}
}

func TestGivesUpAReaderThatIsTooFarBehind(t *testing.T) {
	w, _ := stuck(t)
	now := time.Now()
	w.mu.Lock()
	w.now = func() time.Time { return now }
	w.mu.Unlock()
	if err := w.Event(text("waits")); err != nil {
		t.Fatal(err)
	}
	now = now.Add(maxBehind)
	if err := w.Event(text("just in time")); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Microsecond)
	if err := w.Event(text("too late")); !errors.Is(err, ErrBehind) {
		t.Fatal(err)
	}
	<-w.Done()
	if !errors.Is(w.Err(), ErrBehind) {
		t.Fatal(w.Err())
	}
}

func TestABrokenConnectionEndsIt(t *testing.T) {
	w, reader := stuck(t)
	reader.Close()
	<-w.Done()
	if w.Err() == nil || w.Event(text("late")) == nil {
		t.Fatal("nobody was told")
	}
}

func TestCloseSendsWhatWaits(t *testing.T) {
	w, reader := stuck(t)
	if err := w.Event(text("last")); err != nil {
		t.Fatal(err)
	}
	got := make(chan []string)
	go func() { got <- read(t, reader, 2) }()
	w.Close(time.Minute)
	if all := <-got; all[1] != "last" || w.Err() != nil {
		t.Fatalf("%v, %v", all, w.Err())
	}
}

func TestAMessageThatIsTooLongIsNotSent(t *testing.T) {
	w, _ := stuck(t)
	if err := w.Event(text(strings.Repeat("x", MaxBytes+1))); !errors.Is(err, ErrTooLong) {
		t.Fatal(err)
	}
}
