package engine

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/livekit/protocol/auth"
	"github.com/livekit/protocol/livekit"
	lksdk "github.com/livekit/server-sdk-go/v2"

	"github.com/trunkline/trunkline/media-engine/internal/mediapb"
)

const (
	apiKey    = "testkey"
	apiSecret = "a secret that is used in tests only"
	serverEnv = "TRUNKLINE_LIVEKIT_SERVER"
	// longEnv asks for the tests that take minutes.
	longEnv = "TRUNKLINE_LONG_TESTS"
)

// sfu is a real livekit-server on loopback.
type sfu struct {
	t      *testing.T
	config string
	udp    int
	http   string
	url    string
	// agentURL is another way for the agent; empty: the same.
	agentURL string
	run      *exec.Cmd
}

func startSFU(t *testing.T) *sfu {
	t.Helper()
	s := newSFU(t)
	s.start()
	t.Cleanup(s.kill)
	return s
}

// newSFU is a server that is not started yet.
func newSFU(t *testing.T) *sfu {
	t.Helper()
	if os.Getenv(serverEnv) == "" {
		t.Skip(serverEnv + " does not name a livekit-server")
	}
	port := freePort(t)
	s := &sfu{
		t: t, udp: freePort(t), config: filepath.Join(t.TempDir(), "livekit.yaml"),
		http: fmt.Sprintf("http://127.0.0.1:%d", port), url: fmt.Sprintf("ws://127.0.0.1:%d", port),
	}
	text := fmt.Sprintf(`port: %d
bind_addresses: ["127.0.0.1"]
keys: {%s: %q}
logging: {level: error}
rtc:
  tcp_port: %d
  udp_port: %d
  use_external_ip: false
  enable_loopback_candidate: true
  interfaces: {includes: [lo]}
`, port, apiKey, apiSecret, freePort(t), s.udp)
	if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *sfu) start() {
	s.t.Helper()
	s.run = exec.Command(os.Getenv(serverEnv), "--config", s.config)
	s.run.Stdout, s.run.Stderr = os.Stderr, os.Stderr
	s.run.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	// The parent-death signal comes with the end of a thread, and threads of Go come and go.
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		started <- s.run.Start()
		select {}
	}()
	if err := <-started; err != nil {
		s.t.Fatal(err)
	}
	for range 200 {
		if conn, err := net.Dial("tcp", strings.TrimPrefix(s.http, "http://")); err == nil {
			conn.Close()
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	s.t.Fatal("livekit-server does not come up")
}

func (s *sfu) kill() {
	_ = s.run.Process.Kill()
	_ = s.run.Wait()
}

func (s *sfu) token(room, identity string, kind livekit.ParticipantInfo_Kind) string {
	s.t.Helper()
	token, err := auth.NewAccessToken(apiKey, apiSecret).
		SetVideoGrant(&auth.VideoGrant{RoomJoin: true, Room: room}).
		SetIdentity(identity).SetKind(kind).
		SetAttributes(map[string]string{"call.token": "of " + identity}).ToJWT()
	if err != nil {
		s.t.Fatal(err)
	}
	return token
}

func (s *sfu) rooms() *lksdk.RoomServiceClient {
	return lksdk.NewRoomServiceClient(s.http, apiKey, apiSecret)
}

// waitFor waits until the server counts so many active participants; a newcomer is told of these only.
func (s *sfu) waitFor(room string, active int) {
	s.t.Helper()
	for range 200 {
		list, err := s.rooms().ListParticipants(context.Background(), &livekit.ListParticipantsRequest{Room: room})
		n := 0
		for _, each := range list.GetParticipants() {
			if each.GetState() == livekit.ParticipantInfo_ACTIVE {
				n++
			}
		}
		if err == nil && n >= active {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	s.t.Fatal("not all are active")
}

func freePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

func realEngine(t *testing.T) *fakeWorker {
	return startEngine(t, newLiveKitRooms(false), limits{joinLimit, absentLimit})
}

const (
	agent  = 1
	caller = 2
)

// call brings agent and caller together; both hear each other.
func call(t *testing.T, s *sfu, w *fakeWorker) {
	t.Helper()
	w.tell(caller, join(s.url, s.token("call", "the caller", livekit.ParticipantInfo_SIP)))
	w.until(caller, "joined")
	s.waitFor("call", 1)
	w.tell(agent, join(cmp.Or(s.agentURL, s.url), s.token("call", "the agent", livekit.ParticipantInfo_AGENT)))
	opening := w.next(agent)
	there := opening.GetParticipantJoined()
	if there.GetIdentity() != "the caller" || there.GetKind() != mediapb.ParticipantJoined_PHONE ||
		there.GetAttributes()["call.token"] != "of the caller" {
		t.Fatalf("first of all came %v", opening)
	}
	w.until(agent, "joined")
	w.tell(agent, listenTo("the caller"))
	w.tell(caller, listenTo("the agent"))
	w.tell(agent, publish())
	w.tell(caller, publish())
	// Before it publishes, the server would tell of it only within 3 s.
	if other := w.until(caller, "participant_joined").GetParticipantJoined(); other.GetKind() != mediapb.ParticipantJoined_AGENT {
		t.Fatalf("the caller sees %v", other)
	}
	for _, leg := range []uint32{agent, caller} {
		w.until(leg, "track_heard")
	}
}

// tone is a sine of 440 Hz at -12 dBFS.
func tone(samples int) []int16 {
	pcm := make([]int16, samples)
	for i := range pcm {
		pcm[i] = int16(8192 * math.Sin(2*math.Pi*440*float64(i)/16000))
	}
	return pcm
}

func loud(frames []*mediapb.Frame) (n int) {
	for _, each := range frames {
		if each.GetLevelDbov() < 30 && !each.GetConcealed() {
			n++
		}
	}
	return n
}

func TestAToneGoesFromTheCallerToTheAgent(t *testing.T) {
	s := startSFU(t)
	w := realEngine(t)
	call(t, s, w)
	w.tell(caller, saying(1, tone(16000)))
	w.tell(caller, end(1))
	first, last := w.until(caller, "first_packet"), w.until(caller, "last_packet")
	if last.GetLastPacket().GetSamples() != 16000 {
		t.Fatalf("sent %v", last)
	}
	if took := last.GetAtUs() - first.GetAtUs(); took < 900_000 || took > 1_200_000 {
		t.Fatalf("50 packets within %d us", took)
	}
	w.eventually("the tone", func() bool { return loud(w.heard[agent]) >= 48 })
	frames := w.frames(agent)
	for i, each := range frames {
		if len(each.GetPcm()) != frameBytes || i > 0 && each.GetSequence() <= frames[i-1].GetSequence() {
			t.Fatalf("frame %d: %d bytes, sequence %d", i, len(each.GetPcm()), each.GetSequence())
		}
	}
	// The server sends empty frames of its own for a second or so after a subscription.
	if loud(w.frames(caller)) > 0 {
		t.Fatal("the caller heard a silent agent")
	}
}

func TestPauseAndFlushHaltToTheSample(t *testing.T) {
	s := startSFU(t)
	w := realEngine(t)
	call(t, s, w)
	w.tell(agent, saying(1, tone(3*16000)))
	w.until(agent, "first_packet")
	time.Sleep(300 * time.Millisecond)
	w.tell(agent, pause())
	halted := w.until(agent, "halted").GetHalted()
	if halted.GetSamples()%320 != 0 || halted.GetSamples() < 3200 {
		t.Fatalf("halted after %d samples", halted.GetSamples())
	}
	time.Sleep(300 * time.Millisecond)
	before := loud(w.frames(caller))
	time.Sleep(500 * time.Millisecond)
	if after := loud(w.frames(caller)); after != before {
		t.Fatalf("%d frames came in the pause", after-before)
	}
	w.tell(agent, resume())
	w.tell(agent, end(1))
	if sent := w.until(agent, "last_packet").GetLastPacket().GetSamples(); sent != 3*16000 {
		t.Fatalf("%d samples were sent", sent)
	}
	w.tell(agent, saying(2, tone(16000)))
	w.until(agent, "first_packet")
	w.tell(agent, flush())
	w.until(agent, "halted")
	w.tell(agent, saying(2, tone(16000)))
	w.tell(agent, saying(3, tone(320)))
	w.tell(agent, end(3))
	if last := w.until(agent, "last_packet").GetLastPacket(); last.GetUtterance() != 3 {
		t.Fatalf("%v after a flush", last)
	}
	w.eventually("what was said", func() bool { return loud(w.heard[caller]) > 140 })
}

func TestKeysGoBothWays(t *testing.T) {
	s := startSFU(t)
	w := realEngine(t)
	call(t, s, w)
	w.tell(agent, dtmf("1#d"))
	w.tell(caller, dtmf("5"))
	for _, digit := range []string{"1", "#", "D"} {
		if got := w.until(caller, "dtmf").GetDtmf().GetDigit(); got != digit {
			t.Fatalf("%q instead of %q", got, digit)
		}
	}
	if got := w.until(agent, "dtmf").GetDtmf().GetDigit(); got != "5" {
		t.Fatalf("%q", got)
	}
}

func TestNobodyElseHearsTheAgent(t *testing.T) {
	s := startSFU(t)
	w := realEngine(t)
	call(t, s, w)
	w.tell(3, join(s.url, s.token("call", "an eavesdropper", livekit.ParticipantInfo_STANDARD)))
	w.until(3, "joined")
	w.tell(3, listenTo("the agent"))
	w.tell(agent, saying(1, tone(16000)))
	w.tell(agent, end(1))
	w.until(agent, "last_packet")
	w.eventually("the tone", func() bool { return loud(w.heard[caller]) >= 40 })
	if n := len(w.frames(3)); n > 0 {
		t.Fatalf("the eavesdropper heard %d frames", n)
	}
	w.tell(agent, hide())
	time.Sleep(300 * time.Millisecond)
	before := loud(w.frames(caller))
	w.tell(agent, saying(2, tone(16000)))
	w.tell(agent, end(2))
	w.until(agent, "last_packet")
	if after := loud(w.frames(caller)); after > before {
		t.Fatalf("%d frames of a hidden agent were heard", after-before)
	}
}

func TestListensToOneAfterTheOther(t *testing.T) {
	s := startSFU(t)
	w := realEngine(t)
	call(t, s, w)
	const third = 3
	w.tell(third, join(s.url, s.token("call", "a third", livekit.ParticipantInfo_STANDARD)))
	w.tell(third, listenTo("the agent"))
	w.tell(third, publish())
	w.until(third, "published")
	for utterance, heard := range []string{"a third", "the caller", "a third"} {
		w.tell(agent, listenTo(heard))
		speaker := uint32(caller)
		if heard == "a third" {
			speaker = third
		}
		w.mu.Lock()
		clear(w.heard)
		w.mu.Unlock()
		w.tell(speaker, saying(uint32(utterance)+1, tone(5*16000)))
		w.eventually("a tone of "+heard, func() bool { return loud(w.heard[agent]) > 20 })
		w.tell(speaker, flush())
		w.until(speaker, "halted")
	}
}

func TestLeavingIsSeenByTheOther(t *testing.T) {
	s := startSFU(t)
	w := realEngine(t)
	call(t, s, w)
	w.tell(caller, leave())
	w.until(caller, "left")
	if left := w.until(agent, "participant_left").GetParticipantLeft(); left.GetIdentity() != "the caller" {
		t.Fatalf("%v left", left)
	}
	w.tell(agent, leave())
	w.until(agent, "left")
	if names := append(w.names(agent), w.names(caller)...); len(names) > 0 {
		t.Fatalf("after Left came %v", names)
	}
}

func TestADeletedRoomIsTheEnd(t *testing.T) {
	s := startSFU(t)
	w := realEngine(t)
	call(t, s, w)
	if _, err := s.rooms().DeleteRoom(context.Background(), &livekit.DeleteRoomRequest{Room: "call"}); err != nil {
		t.Fatal(err)
	}
	for _, leg := range []uint32{agent, caller} {
		if end := w.until(leg, "disconnected").GetDisconnected(); end.GetReason() != "room_deleted" || !end.GetByServer() {
			t.Fatalf("%v", end)
		}
		if names := w.names(leg); len(names) > 0 {
			t.Fatalf("after the end came %v", names)
		}
	}
}

func TestARefusedJoinSaysWhy(t *testing.T) {
	s := startSFU(t)
	w := realEngine(t)
	begun := time.Now()
	w.tell(1, join(s.url, "nonsense"))
	w.tell(2, join("ws://127.0.0.1:9", s.token("call", "x", livekit.ParticipantInfo_AGENT)))
	for leg := range uint32(2) {
		end := w.until(leg+1, "disconnected").GetDisconnected()
		t.Logf("%v", end)
		if end.GetReason() != "join_failed" || end.GetDetail() == "" {
			t.Fatalf("%v", end)
		}
	}
	if took := time.Since(begun); took > joinLimit+time.Second {
		t.Fatalf("after %v", took)
	}
}

func TestAServerThatIsStartedAgainHasTheCallBack(t *testing.T) {
	s := startSFU(t)
	w := realEngine(t)
	call(t, s, w)
	s.kill()
	w.until(agent, "reconnecting")
	w.until(caller, "reconnecting")
	s.start()
	killed := time.Now()
	for _, leg := range []uint32{agent, caller} {
		w.until(leg, "reconnected")
		t.Logf("leg %d is back after %v", leg, time.Since(killed))
	}
	for _, leg := range []uint32{agent, caller} {
		w.until(leg, "track_heard")
	}
	w.mu.Lock()
	clear(w.heard)
	w.mu.Unlock()
	w.tell(caller, saying(1, tone(16000)))
	w.tell(agent, saying(1, tone(16000)))
	w.eventually("tones again", func() bool { return loud(w.heard[agent]) > 40 && loud(w.heard[caller]) > 40 })
	for _, leg := range []uint32{agent, caller} {
		for _, name := range w.names(leg) {
			if strings.HasPrefix(name, "participant") || name == "disconnected" {
				t.Errorf("leg %d was told %v", leg, name)
			}
		}
	}
}

func TestWhoDoesNotComeBackHasLeft(t *testing.T) {
	s := startSFU(t)
	w := startEngine(t, newLiveKitRooms(false), limits{joinLimit, 4 * time.Second})
	other := realEngine(t)
	w.tell(agent, join(s.url, s.token("call", "the agent", livekit.ParticipantInfo_AGENT)))
	w.until(agent, "joined")
	other.tell(caller, join(s.url, s.token("call", "the caller", livekit.ParticipantInfo_SIP)))
	other.until(caller, "joined")
	w.until(agent, "participant_joined")
	s.kill()
	w.until(agent, "reconnecting")
	other.conn.Close()
	time.Sleep(time.Second)
	s.start()
	w.until(agent, "reconnected")
	if left := w.until(agent, "participant_left").GetParticipantLeft(); left.GetIdentity() != "the caller" {
		t.Fatalf("%v left", left)
	}
}

func TestASilentServerIsATimeout(t *testing.T) {
	hole, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer hole.Close()
	w := startEngine(t, newLiveKitRooms(false), limits{join: 300 * time.Millisecond})
	before := runtime.NumGoroutine()
	const joins = 20
	for leg := range uint32(joins) {
		w.tell(leg+1, join("ws://"+hole.Addr().String(), "a token"))
	}
	for leg := range uint32(joins) {
		if end := w.until(leg+1, "disconnected").GetDisconnected(); end.GetReason() != "join_timeout" {
			t.Fatalf("%v", end)
		}
	}
	// One that stayed after each join would be seen; the SDK's last few of the tests before may still come and go.
	waitFor(t, "the end of all goroutines", func() bool { return runtime.NumGoroutine() < before+joins })
}

func TestAllRoomsAreLeftWhenTheWorkerGoes(t *testing.T) {
	s := startSFU(t)
	w := realEngine(t)
	const legs = 20
	for leg := range uint32(legs) {
		w.tell(leg+1, join(s.url, s.token("shared", fmt.Sprint("agent ", leg), livekit.ParticipantInfo_AGENT)))
		w.tell(leg+1, publish())
	}
	for leg := range uint32(legs) {
		w.until(leg+1, "published")
	}
	gone := time.Now()
	w.conn.Close()
	err := <-w.ended
	t.Logf("ended after %v", time.Since(gone))
	w.ended <- err
	waitFor(t, "an empty room", func() bool {
		list, err := s.rooms().ListParticipants(context.Background(), &livekit.ListParticipantsRequest{Room: "shared"})
		return err == nil && len(list.GetParticipants()) == 0
	})
	t.Logf("the room was empty after %v", time.Since(gone))
}

// TestRealRoomsLeaveNothingBehind joins and leaves a hundred times, or as often as TRUNKLINE_JOINS says.
func TestRealRoomsLeaveNothingBehind(t *testing.T) {
	s := startSFU(t)
	w := realEngine(t)
	const legs = 20
	rounds := uint32(5)
	if wanted, err := strconv.Atoi(os.Getenv("TRUNKLINE_JOINS")); err == nil {
		rounds = uint32(max(1, wanted/legs))
	}
	before, open, fresh := runtime.NumGoroutine(), openFiles(t), heap()
	for round := range rounds {
		for i := range uint32(legs) {
			leg := round*legs + i + 1
			room := fmt.Sprint("room ", i/2)
			to := join(s.url, s.token(room, fmt.Sprint(i%2), livekit.ParticipantInfo_AGENT))
			if i >= legs/2 {
				// Five in a room are one participant.
				token := s.token(fmt.Sprint("shared ", i/5), "all", livekit.ParticipantInfo_AGENT)
				to = joinShared(s.url, token)
			}
			w.tell(leg, to)
			w.tell(leg, listenTo(fmt.Sprint((i+1)%2)))
			w.tell(leg, publish())
			w.tell(leg, saying(1, tone(3200)))
		}
		// Some leave when they can be heard, some when they have joined, some at once.
		for i := range uint32(legs) {
			if leg := round*legs + i + 1; i%2 == 0 {
				w.until(leg, "published")
			} else if i%4 == 1 {
				w.until(leg, "joined")
			}
			w.tell(round*legs+i+1, leave())
		}
		for i := range uint32(legs) {
			w.until(round*legs+i+1, "left")
		}
	}
	// The SDK takes some seconds to end what it has begun; an HTTP client may keep a connection.
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("goroutines %d and %d, files %d and %d", before, runtime.NumGoroutine(), open, openFiles(t))
			_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
		}
	})
	waitFor(t, "the end of all goroutines and files", func() bool {
		// A socket that pion lost sight of is closed by the collector.
		runtime.GC()
		return runtime.NumGoroutine() <= before+4 && openFiles(t) <= open+2
	})
	// The SDK's timers hold what they were made for, for some seconds; a room and a leg that stay are 2 MiB.
	waitFor(t, "the end of what was in memory", func() bool { return heap() <= fresh+16<<20 })
	t.Logf("%d joins: goroutines %d and %d, files %d and %d, heap %d and %d KiB",
		rounds*legs, before, runtime.NumGoroutine(), open, openFiles(t), fresh>>10, heap()>>10)
}

// heap is the memory that is in use.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

func openFiles(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}

// frailRoad passes TCP connections on until they are cut.
type frailRoad struct {
	listener net.Listener
	to       string
	rewrite  func([]byte) []byte // of what comes back
	mu       sync.Mutex
	open     []net.Conn
}

func newFrailRoad(t *testing.T, to string) *frailRoad {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &frailRoad{listener: listener, to: to}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				near.Close()
				continue
			}
			r.mu.Lock()
			r.open = append(r.open, near, far)
			r.mu.Unlock()
			go func() { r.back(near, far); near.Close() }()
			go func() { _, _ = io.Copy(far, near); far.Close() }()
		}
	}()
	return r
}

// back passes on what the server sends; what is rewritten comes whole in one piece.
func (r *frailRoad) back(near, far net.Conn) {
	buf := make([]byte, 1<<16)
	for {
		n, err := far.Read(buf)
		if err != nil {
			return
		}
		data := buf[:n]
		if r.rewrite != nil {
			data = r.rewrite(data)
		}
		if _, err := near.Write(data); err != nil {
			return
		}
	}
}

func (r *frailRoad) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, each := range r.open {
		each.Close()
	}
	r.open = nil
}

func TestACutConnectionIsResumed(t *testing.T) {
	s := startSFU(t)
	road := newFrailRoad(t, strings.TrimPrefix(s.http, "http://"))
	s.url = "ws://" + road.listener.Addr().String()
	w := realEngine(t)
	call(t, s, w)
	w.tell(caller, saying(1, tone(3*16000)))
	w.until(caller, "first_packet")
	road.cut()
	for _, leg := range []uint32{agent, caller} {
		w.until(leg, "reconnecting")
		w.until(leg, "reconnected")
	}
	w.tell(caller, end(1))
	w.until(caller, "last_packet")
	w.eventually("nearly the whole tone", func() bool { return loud(w.heard[agent]) >= 120 })
	for _, leg := range []uint32{agent, caller} {
		for _, name := range w.names(leg) {
			if name == "participant_left" || name == "disconnected" {
				t.Errorf("leg %d was told %v", leg, name)
			}
		}
	}
	w.tell(caller, leave())
	w.until(agent, "participant_left")
}
