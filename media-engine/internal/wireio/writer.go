package wireio

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"time"
)

const (
	// maxTicks of audio may wait for a reader; of more, the oldest are dropped.
	maxTicks = 10
	// maxBehind is how long a message may wait for a reader before the connection is given up.
	maxBehind = 2 * time.Second
	// maxWaiting messages may wait in all: a burst of events of hundreds of legs fits, memory stays bounded.
	maxWaiting = 1 << 16
	// spareBuffers are kept for the next messages.
	spareBuffers = 2 * maxTicks
)

// ErrBehind is the end of a connection whose reader takes nothing for too long.
var ErrBehind = errors.New("the worker does not read")

// Message makes a message: it appends to buf and returns the result.
type Message func(buf []byte) ([]byte, error)

type waiting struct {
	bytes []byte
	since time.Time
	audio bool
}

// Writer sends messages without keeping their senders waiting.
//
// Audio is dropped, the oldest first, where the reader is more than 10 ticks behind. Events are never dropped: a reader
// that is 2 s behind loses the connection.
type Writer struct {
	out net.Conn

	mu      sync.Mutex
	wake    chan struct{}
	queue   []waiting
	ticks   int
	spare   [][]byte
	dropped uint64
	closing bool
	err     error
	done    chan struct{}
	now     func() time.Time
}

// NewWriter starts a writer; it ends by Close, or by itself where the connection breaks or its reader is too far behind.
func NewWriter(out net.Conn) *Writer {
	w := &Writer{out: out, wake: make(chan struct{}, 1), done: make(chan struct{}), now: time.Now}
	go w.run()
	return w
}

// Audio sends a message that is worth nothing when it is late.
func (w *Writer) Audio(message Message) error { return w.add(message, true) }

// Event sends a message that must arrive.
func (w *Writer) Event(message Message) error { return w.add(message, false) }

// Dropped is how many ticks of audio the reader never saw.
func (w *Writer) Dropped() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dropped
}

// Done is closed when nothing is sent any more.
func (w *Writer) Done() <-chan struct{} { return w.done }

// Err is why it ended; nil after a Close that could send everything.
func (w *Writer) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Close sends what waits, for at most so long, and closes the connection.
func (w *Writer) Close(limit time.Duration) {
	_ = w.out.SetWriteDeadline(time.Now().Add(limit))
	w.mu.Lock()
	w.closing = true
	w.mu.Unlock()
	w.nudge()
	<-w.done
}

func (w *Writer) add(message Message, audio bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil || w.closing {
		return w.err
	}
	now := w.now()
	if len(w.queue) >= maxWaiting || len(w.queue) > 0 && now.Sub(w.queue[0].since) > maxBehind {
		w.fail(ErrBehind)
		return w.err
	}
	bytes, err := framed(message, w.buffer())
	if err != nil {
		return err
	}
	if audio {
		w.makeRoom()
		w.ticks++
	}
	w.queue = append(w.queue, waiting{bytes, now, audio})
	w.nudge()
	return nil
}

// makeRoom drops the oldest audio where too much of it waits.
func (w *Writer) makeRoom() {
	if w.ticks < maxTicks {
		return
	}
	i := slices.IndexFunc(w.queue, func(each waiting) bool { return each.audio })
	w.giveBack(w.queue[i].bytes)
	w.queue = slices.Delete(w.queue, i, i+1)
	w.ticks--
	w.dropped++
}

func (w *Writer) run() {
	defer close(w.done)
	defer w.out.Close()
	for {
		next, ok := w.take()
		if !ok {
			return
		}
		_, err := w.out.Write(next.bytes)
		w.mu.Lock()
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				err = ErrBehind
			}
			w.fail(err)
		}
		w.giveBack(next.bytes)
		w.mu.Unlock()
	}
}

// take waits for a message, and sets the instant until which it must be written; false at the end.
func (w *Writer) take() (waiting, bool) {
	for {
		w.mu.Lock()
		if w.err != nil || w.closing && len(w.queue) == 0 {
			w.mu.Unlock()
			return waiting{}, false
		}
		if len(w.queue) > 0 {
			next := w.queue[0]
			w.queue = slices.Delete(w.queue, 0, 1)
			if next.audio {
				w.ticks--
			}
			if !w.closing {
				_ = w.out.SetWriteDeadline(time.Now().Add(maxBehind))
			}
			w.mu.Unlock()
			return next, true
		}
		w.mu.Unlock()
		<-w.wake
	}
}

func (w *Writer) fail(err error) {
	if w.err == nil {
		w.err = err
		// Whatever is being written now can't be finished.
		_ = w.out.SetWriteDeadline(time.Now())
	}
	w.nudge()
}

func (w *Writer) nudge() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *Writer) buffer() []byte {
	if last := len(w.spare) - 1; last >= 0 {
		bytes := w.spare[last]
		w.spare = w.spare[:last]
		return bytes[:0]
	}
	return nil
}

func (w *Writer) giveBack(bytes []byte) {
	if len(w.spare) < spareBuffers {
		w.spare = append(w.spare, bytes)
	}
}

func framed(message Message, buf []byte) ([]byte, error) {
	bytes, err := message(append(buf[:0], 0, 0, 0, 0))
	if err != nil {
		return nil, err
	}
	if len(bytes)-headBytes > MaxBytes {
		return nil, fmt.Errorf("%w: %d bytes", ErrTooLong, len(bytes)-headBytes)
	}
	binary.BigEndian.PutUint32(bytes, uint32(len(bytes)-headBytes))
	return bytes, nil
}
