package engine

import (
	"context"
	"io"
	"sync"

	"github.com/pion/rtp"
)

// fakeRoom does what a test says, and writes down what it is told.
type fakeRoom struct {
	listener roomListener

	mu         sync.Mutex
	joinAnswer chan error // of a join that takes its time; nil: at once
	others     []participant
	wanted     []string // subscribe, unsubscribe, allow, publish, key and leave, in order
	publishes  error
	isReady    bool
	packets    []rtp.Packet
	hasLeft    bool
}

func (r *fakeRoom) join(context.Context, invitation) error {
	if r.joinAnswer == nil {
		return nil
	}
	return <-r.joinAnswer
}

func (r *fakeRoom) present() []participant {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]participant(nil), r.others...)
}

func (r *fakeRoom) note(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wanted = append(r.wanted, what)
}

func (r *fakeRoom) subscribe(identity string) error {
	r.note("subscribe " + identity)
	return nil
}
func (r *fakeRoom) unsubscribe(identity string) { r.note("unsubscribe " + identity) }
func (r *fakeRoom) allow(identity string)       { r.note("allow " + identity) }

func (r *fakeRoom) publish() error {
	r.note("publish")
	return r.publishes
}

func (r *fakeRoom) ready() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.isReady
}

func (r *fakeRoom) send(packet *rtp.Packet) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.packets = append(r.packets, *packet.Clone())
	return nil
}

func (r *fakeRoom) sendKey(_ uint32, digit, identity string) error {
	r.note("key " + digit + " to " + identity)
	return nil
}

func (r *fakeRoom) sendData(payload []byte, topic, identity string) error {
	r.note("data " + string(payload) + " about " + topic + " to " + identity)
	return nil
}

func (r *fakeRoom) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hasLeft = true
}

func (r *fakeRoom) left() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.hasLeft
}

func (r *fakeRoom) said() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.wanted...)
}

func (r *fakeRoom) set(change func(*fakeRoom)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(r)
}

// fakeRooms makes rooms, and keeps them for the test.
type fakeRooms struct {
	prepare func(*fakeRoom)

	mu   sync.Mutex
	made []*fakeRoom
}

func (f *fakeRooms) make(listener roomListener) room {
	r := &fakeRoom{listener: listener}
	if f.prepare != nil {
		f.prepare(r)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.made = append(f.made, r)
	return r
}

func (f *fakeRooms) last() *fakeRoom {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.made[len(f.made)-1]
}

// fakeTrack hands out the packets that a test puts in.
type fakeTrack chan []byte

func (f fakeTrack) read(buf []byte) (int, error) {
	packet, open := <-f
	if !open {
		return 0, io.EOF
	}
	return copy(buf, packet), nil
}
