package wav

import (
	"encoding/binary"
	"errors"
	"os"
	"sync/atomic"
)

const (
	// blockFrames is how much is written at a time: half a second of 20 ms frames.
	blockFrames = 25
	// queueBlocks waits for a slow disk: 16 s. When it is full, a block is left out and stays silent in the file.
	queueBlocks = 32
)

// Recorder writes a stereo recording while the call goes on, without ever holding up the one who speaks.
//
// The file is valid at any instant: the sizes in its header are brought up to date after each half second.
// One goroutine calls Write and Close.
type Recorder struct {
	file    *os.File
	rateHz  int
	block   []byte
	end     int64 // bytes of samples taken
	queue   chan block
	done    chan error
	dropped atomic.Int64
}

type block struct {
	at    int64
	bytes []byte
}

// Create opens a recording of two channels, replacing what is there.
func Create(path string, rateHz int) (*Recorder, error) {
	file, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	if _, err := file.WriteAt(header(rateHz, 2, 0), 0); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	r := &Recorder{file: file, rateHz: rateHz, queue: make(chan block, queueBlocks), done: make(chan error, 1)}
	go r.drain()
	return r, nil
}

// Write appends samples of both channels; left and right have the same length.
func (r *Recorder) Write(left, right []int16) {
	for i := range left {
		r.block = binary.LittleEndian.AppendUint16(r.block, uint16(left[i]))
		r.block = binary.LittleEndian.AppendUint16(r.block, uint16(right[i]))
	}
	if len(r.block) >= blockFrames*r.rateHz/50*4 {
		r.hand()
	}
}

// Close writes what is left and closes the file. It returns the first error of all writes.
func (r *Recorder) Close() error {
	if len(r.block) > 0 {
		r.queue <- block{r.end, r.block}
	}
	close(r.queue)
	return <-r.done
}

// Dropped is how many half seconds were left out because the disk was too slow.
func (r *Recorder) Dropped() int64 { return r.dropped.Load() }

func (r *Recorder) hand() {
	select {
	case r.queue <- block{r.end, r.block}:
	default:
		r.dropped.Add(1)
	}
	r.end += int64(len(r.block))
	r.block = make([]byte, 0, len(r.block))
}

func (r *Recorder) drain() {
	var failed error
	for b := range r.queue {
		if failed != nil {
			continue
		}
		if _, failed = r.file.WriteAt(b.bytes, headerBytes+b.at); failed == nil {
			_, failed = r.file.WriteAt(header(r.rateHz, 2, b.at+int64(len(b.bytes))), 0)
		}
	}
	r.done <- errors.Join(failed, r.file.Close())
}
