package engine

import (
	"context"
	"encoding/binary"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/trunkline/trunkline/media-engine/internal/mediapb"
	"github.com/trunkline/trunkline/media-engine/internal/wireio"
)

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// fakeWorker is the worker's end of the socket.
type fakeWorker struct {
	t     *testing.T
	conn  net.Conn
	ended chan error

	mu     sync.Mutex
	came   chan struct{} // closed and made anew when something comes
	events map[uint32][]*mediapb.Event
	heard  map[uint32][]*mediapb.Frame
	ticks  int
}

// startEngine starts an engine with a worker of the test; both end with the test.
func startEngine(t *testing.T, rooms newRoom, l limits) *fakeWorker {
	t.Helper()
	ours, theirs := socketPair(t)
	w := newWorker(t, ours)
	go func() { w.ended <- serve(context.Background(), theirs, Config{Version: "test"}, rooms, l) }()
	w.work()
	return w
}

func newWorker(t *testing.T, conn net.Conn) *fakeWorker {
	return &fakeWorker{
		t: t, conn: conn, ended: make(chan error, 1), came: make(chan struct{}),
		events: map[uint32][]*mediapb.Event{}, heard: map[uint32][]*mediapb.Frame{},
	}
}

// work takes what the engine sends until the test ends; then the engine must end.
func (w *fakeWorker) work() {
	w.t.Helper()
	read := make(chan struct{})
	go func() {
		defer close(read)
		w.read()
	}()
	w.t.Cleanup(func() {
		w.conn.Close()
		<-read
		select {
		case <-w.ended:
		case <-time.After(2 * time.Second):
			w.t.Error("the engine goes on without its worker")
		}
	})
	w.until(0, "ready")
	w.tell(0, askStats())
	w.until(0, "stats") // all of the engine runs when it answers
}

func socketPair(t *testing.T) (ours, theirs net.Conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ends := [2]net.Conn{}
	for i, fd := range fds {
		file := os.NewFile(uintptr(fd), "end")
		if ends[i], err = net.FileConn(file); err != nil {
			t.Fatal(err)
		}
		file.Close()
	}
	return ends[0], ends[1]
}

func (w *fakeWorker) read() {
	in := wireio.NewReader(w.conn)
	for {
		message, err := in.Next()
		if err != nil {
			return
		}
		report := &mediapb.Report{}
		if err := proto.Unmarshal(message, report); err != nil {
			w.t.Errorf("not a report: %v", err)
			return
		}
		w.mu.Lock()
		switch what := report.GetWhat().(type) {
		case *mediapb.Report_Frames:
			w.ticks++
			for _, frame := range what.Frames.GetFrames() {
				w.heard[frame.GetLeg()] = append(w.heard[frame.GetLeg()], frame)
			}
		case *mediapb.Report_Event:
			leg := what.Event.GetLeg()
			w.events[leg] = append(w.events[leg], what.Event)
		}
		close(w.came)
		w.came = make(chan struct{})
		w.mu.Unlock()
	}
}

// tell sends a command.
func (w *fakeWorker) tell(leg uint32, command *mediapb.Command) {
	w.t.Helper()
	command.Leg = leg
	body, err := proto.Marshal(command)
	if err != nil {
		w.t.Fatal(err)
	}
	w.raw(body)
}

func (w *fakeWorker) raw(body []byte) {
	w.t.Helper()
	if _, err := w.conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)); err != nil {
		w.t.Fatal(err)
	}
}

// eventually waits until something holds.
func (w *fakeWorker) eventually(what string, holds func() bool) {
	w.t.Helper()
	late := time.After(patience)
	for {
		w.mu.Lock()
		ok, came := holds(), w.came
		w.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-came:
		case <-late:
			w.t.Fatalf("never came: %s", what)
		}
	}
}

// next is the next event of a leg that was not taken before.
func (w *fakeWorker) next(leg uint32) *mediapb.Event {
	w.t.Helper()
	var event *mediapb.Event
	w.eventually("an event", func() bool {
		if len(w.events[leg]) == 0 {
			return false
		}
		event, w.events[leg] = w.events[leg][0], w.events[leg][1:]
		return true
	})
	return event
}

// until takes events of a leg up to the first of this name.
func (w *fakeWorker) until(leg uint32, name string) *mediapb.Event {
	w.t.Helper()
	var event *mediapb.Event
	w.eventually(name, func() bool {
		for len(w.events[leg]) > 0 {
			event, w.events[leg] = w.events[leg][0], w.events[leg][1:]
			if nameOf(event) == name {
				return true
			}
		}
		return false
	})
	return event
}

// names are what is left of a leg's events.
func (w *fakeWorker) names(leg uint32) (names []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, each := range w.events[leg] {
		names = append(names, nameOf(each))
	}
	return names
}

func (w *fakeWorker) frames(leg uint32) []*mediapb.Frame {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]*mediapb.Frame(nil), w.heard[leg]...)
}

func nameOf(event *mediapb.Event) string {
	message := event.ProtoReflect()
	which := message.WhichOneof(message.Descriptor().Oneofs().ByName("what"))
	if which == nil {
		return ""
	}
	return string(which.Name())
}

func join(url, token string) *mediapb.Command {
	return &mediapb.Command{Do: &mediapb.Command_Join{Join: &mediapb.Join{Url: url, Token: token}}}
}

func leave() *mediapb.Command {
	return &mediapb.Command{Do: &mediapb.Command_Leave{Leave: &mediapb.Leave{}}}
}

func listenTo(identity string) *mediapb.Command {
	return &mediapb.Command{Do: &mediapb.Command_ListenTo{ListenTo: &mediapb.ListenTo{Identity: identity}}}
}

func publish() *mediapb.Command {
	return &mediapb.Command{Do: &mediapb.Command_Publish{Publish: &mediapb.Publish{}}}
}

func hide() *mediapb.Command {
	return &mediapb.Command{Do: &mediapb.Command_Hide{Hide: &mediapb.Hide{}}}
}

func saying(utterance uint32, pcm []int16) *mediapb.Command {
	bytes := make([]byte, 0, 2*len(pcm))
	for _, sample := range pcm {
		bytes = binary.LittleEndian.AppendUint16(bytes, uint16(sample))
	}
	return &mediapb.Command{Do: &mediapb.Command_Play{Play: &mediapb.Play{Utterance: utterance, Pcm: bytes}}}
}

func end(utterance uint32) *mediapb.Command {
	return &mediapb.Command{Do: &mediapb.Command_End{End: &mediapb.End{Utterance: utterance}}}
}

func pause() *mediapb.Command {
	return &mediapb.Command{Do: &mediapb.Command_Pause{Pause: &mediapb.Pause{}}}
}

func resume() *mediapb.Command {
	return &mediapb.Command{Do: &mediapb.Command_Resume{Resume: &mediapb.Resume{}}}
}

func flush() *mediapb.Command {
	return &mediapb.Command{Do: &mediapb.Command_Flush{Flush: &mediapb.Flush{}}}
}

func dtmf(digits string) *mediapb.Command {
	return &mediapb.Command{Do: &mediapb.Command_SendDtmf{SendDtmf: &mediapb.SendDtmf{Digits: digits}}}
}

func askStats() *mediapb.Command {
	return &mediapb.Command{Do: &mediapb.Command_AskStats{AskStats: &mediapb.AskStats{}}}
}
