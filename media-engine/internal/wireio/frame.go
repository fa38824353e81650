// Package wireio carries messages over the socket between a worker and its media engine.
//
// A message is preceded by its length: four bytes, big-endian, at most 1 MiB.
package wireio

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

const (
	// MaxBytes is the most that a message may have.
	MaxBytes = 1 << 20

	headBytes  = 4
	firstBytes = 64 << 10
)

// ErrTooLong is the end of a connection: what follows can't be told from the rest of the long message.
var ErrTooLong = errors.New("a message is longer than 1 MiB")

// Reader takes messages from a stream. Not safe for use by several goroutines.
type Reader struct {
	in   *bufio.Reader
	head [headBytes]byte
	body []byte
}

// NewReader makes a reader of this stream.
func NewReader(in io.Reader) *Reader {
	return &Reader{in: bufio.NewReaderSize(in, firstBytes)}
}

// Next is the next message, valid until the one after it is asked for.
//
// The error is io.EOF at the end of the stream between two messages, io.ErrUnexpectedEOF within one.
func (r *Reader) Next() ([]byte, error) {
	if _, err := io.ReadFull(r.in, r.head[:]); err != nil {
		return nil, err
	}
	length := int(binary.BigEndian.Uint32(r.head[:]))
	if length > MaxBytes {
		return nil, fmt.Errorf("%w: %d bytes", ErrTooLong, length)
	}
	r.body = r.body[:0]
	// Memory is taken as bytes come, not as they are announced.
	for len(r.body) < length {
		piece := min(length-len(r.body), max(firstBytes, len(r.body)))
		start := len(r.body)
		r.body = grown(r.body, start+piece)
		if _, err := io.ReadFull(r.in, r.body[start:]); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	return r.body, nil
}

func grown(bytes []byte, length int) []byte {
	if cap(bytes) >= length {
		return bytes[:length]
	}
	longer := make([]byte, length)
	copy(longer, bytes)
	return longer
}
