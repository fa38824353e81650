package main

import (
	"bufio"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/trunkline/trunkline/media-engine/internal/mediapb"
	"github.com/trunkline/trunkline/media-engine/internal/wireio"
)

const asProgram = "TRUNKLINE_MEDIA_TEST_PROGRAM"

// The test binary is the program too, where it is told so.
func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func program(arguments ...string) *exec.Cmd {
	command := exec.Command(os.Args[0], arguments...)
	command.Env = append(os.Environ(), asProgram+"=1")
	command.Stderr = os.Stderr
	return command
}

// inherited starts the program with one end of a pair of sockets.
func inherited(t *testing.T) (*exec.Cmd, net.Conn) {
	t.Helper()
	command := program("--fd", "3")
	return command, started(t, command)
}

// started starts a command with a socket as its file 3, and waits until the engine at its other end is ready.
func started(t *testing.T, command *exec.Cmd) net.Conn {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	theirs, mine := os.NewFile(uintptr(fds[0]), "theirs"), os.NewFile(uintptr(fds[1]), "mine")
	command.ExtraFiles = []*os.File{theirs}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	worker, err := net.FileConn(mine)
	if err != nil {
		t.Fatal(err)
	}
	mine.Close()
	t.Cleanup(func() { worker.Close() })
	ready(t, worker)
	return worker
}

func ready(t *testing.T, worker net.Conn) {
	t.Helper()
	message, err := wireio.NewReader(worker).Next()
	if err != nil {
		t.Fatal(err)
	}
	report := &mediapb.Report{}
	if err := proto.Unmarshal(message, report); err != nil || report.GetEvent().GetReady().GetVersion() == "" {
		t.Fatalf("first of all came %v, %v", report, err)
	}
}

// ends waits for the program's end, which must come within a second; the limit leaves room for a busy machine.
func ends(t *testing.T, command *exec.Cmd, code int) {
	t.Helper()
	over := make(chan struct{})
	go func() {
		_ = command.Wait()
		close(over)
	}()
	select {
	case <-over:
	case <-time.After(10 * time.Second):
		_ = command.Process.Kill()
		t.Fatal("it goes on")
	}
	if got := command.ProcessState.ExitCode(); got != code {
		t.Fatalf("exit code %d", got)
	}
}

func TestEndsWithItsWorker(t *testing.T) {
	command, worker := inherited(t)
	worker.Close()
	ends(t, command, 0)
}

func TestEndsBySignal(t *testing.T) {
	command, _ := inherited(t)
	_ = command.Process.Signal(syscall.SIGTERM)
	ends(t, command, 0)
}

func TestEndsWithItsParent(t *testing.T) {
	parent := exec.Command("sh", "-c", `"$0" --fd 3 & wait`, os.Args[0])
	parent.Env = append(os.Environ(), asProgram+"=1")
	worker := started(t, parent)
	_ = parent.Process.Kill()
	_ = parent.Wait()
	// Our end is open still: it was the signal that ended it.
	_ = worker.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := worker.Read(make([]byte, 1)); err != io.EOF {
		t.Fatal(err)
	}
}

func TestServesASocketOfItsOwn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "media.sock")
	left, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	left.(*net.UnixListener).SetUnlinkOnClose(false)
	left.Close()
	command := program("--socket", path)
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	var worker net.Conn
	for range 1000 {
		if info, err := os.Stat(path); err == nil {
			if worker, err = net.Dial("unix", path); err == nil {
				if mode := info.Mode().Perm(); mode != 0o600 {
					t.Fatalf("mode %o", mode)
				}
				break
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	if worker == nil {
		t.Fatal("nobody listens")
	}
	ready(t, worker)
	if _, err := os.Stat(path); err == nil {
		t.Fatal("the door is open still")
	}
	worker.Close()
	ends(t, command, 0)
}

func TestTwoEnginesDoNotShareASocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "media.sock")
	first := program("--socket", path)
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		if _, err := os.Stat(path); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	second := program("--socket", path)
	second.Stderr = nil
	text, err := second.CombinedOutput()
	if err == nil || !strings.Contains(string(text), "in use by another engine") {
		t.Fatalf("%s, %v", text, err)
	}
	_ = first.Process.Signal(syscall.SIGTERM)
	ends(t, first, 0)
	if rest, _ := filepath.Glob(path + "*"); len(rest) > 0 {
		t.Fatalf("%v was left behind", rest)
	}
}

func TestSaysInOneLineWhatIsWrong(t *testing.T) {
	for _, arguments := range [][]string{
		{}, {"--fd", "3", "--socket", "x"}, {"--fd", "3", "more"}, {"--fd", "3", "--log-level", "loud"},
		{"--fd", "3", "--jitter-min-ms", "80"}, {"--fd", "3", "--jitter-max-ms", "9999"},
	} {
		command := program(arguments...)
		command.Stderr = nil
		text, err := command.CombinedOutput()
		lines := bufio.NewScanner(strings.NewReader(string(text)))
		n := 0
		for lines.Scan() {
			n++
		}
		if err == nil || command.ProcessState.ExitCode() != 2 || n != 1 {
			t.Errorf("%v: %s, %v", arguments, text, err)
		}
	}
	command := program("--fd", "99")
	command.Stderr = nil
	if text, err := command.CombinedOutput(); err == nil || !strings.Contains(string(text), "fd 99") {
		t.Errorf("%s, %v", text, err)
	}
}
