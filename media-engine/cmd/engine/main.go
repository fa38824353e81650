// trunkline-media carries the audio of all calls of one worker: see media.proto for what the two say to each other.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/trunkline/trunkline/media-engine/internal/engine"
	"github.com/trunkline/trunkline/media-engine/internal/jitter"
)

// version is set by the build: -ldflags "-X main.version=...".
var version = "dev"

const (
	minJitterMs = 10
	maxJitterMs = 500
	// gcPercent lets garbage grow to five times what is in use, which is little, for fewer collections.
	gcPercent = 400
)

type options struct {
	socket      string
	fd          int
	jitter      jitter.Config
	heardByAll  bool
	logLevel    string
	showVersion bool
}

// The main goroutine keeps the main thread: a parent-death signal is a thread's, and this one lasts.
func init() { runtime.LockOSThread() }

func main() {
	if os.Getenv("GOMAXPROCS") == "" {
		// The calls of a worker are far less work than one processor can do. Goroutines that wake each other on another
		// one cost a seventh more.
		runtime.GOMAXPROCS(1)
	}
	var o options
	flag.StringVar(&o.socket, "socket", "", "listen on this Unix socket, and serve the first worker that connects")
	flag.IntVar(&o.fd, "fd", -1, "serve the worker at the other end of this inherited socket; ends with the parent process")
	flag.IntVar(&o.jitter.MinMs, "jitter-min-ms", 20, "least delay of the jitter buffer")
	flag.IntVar(&o.jitter.MaxMs, "jitter-max-ms", 60, "longest delay of the jitter buffer")
	flag.BoolVar(&o.heardByAll, "heard-by-all", false, "let everybody in a room hear us, like a phone; for simulated callers")
	flag.StringVar(&o.logLevel, "log-level", "warn", "debug, info, warn or error; logs go to standard error")
	flag.BoolVar(&o.showVersion, "version", false, "tell the version")
	flag.Parse()
	if o.showVersion {
		fmt.Println(version)
		return
	}
	if err := o.check(flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "trunkline-media:", err)
		os.Exit(2)
	}
	if err := run(o); err != nil {
		slog.Error("ended", "error", err)
		os.Exit(1)
	}
}

// check tells in one line what is wrong with the options.
func (o options) check(rest []string) error {
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.logLevel)); err != nil {
		return fmt.Errorf("--log-level %q is none of debug, info, warn, error", o.logLevel)
	}
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})))
	switch {
	case (o.socket == "") == (o.fd < 0):
		return errors.New("either --socket or --fd says where the worker is")
	case o.jitter.MinMs < minJitterMs || o.jitter.MaxMs > maxJitterMs || o.jitter.MinMs > o.jitter.MaxMs:
		return fmt.Errorf("the jitter buffer's delays %d and %d ms do not rise within %d and %d",
			o.jitter.MinMs, o.jitter.MaxMs, minJitterMs, maxJitterMs)
	case len(rest) > 0:
		return fmt.Errorf("unexpected argument %q", rest[0])
	}
	return nil
}

// run serves one worker, until it ends or SIGTERM or SIGINT comes.
func run(o options) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	var worker net.Conn
	var err error
	if o.socket != "" {
		worker, err = accept(ctx, o.socket)
	} else {
		worker, err = inherit(o.fd)
	}
	if err != nil || worker == nil {
		return err
	}
	engine.RouteSDKLogs()
	return engine.Serve(ctx, worker, engine.Config{Version: version, Jitter: o.jitter, HeardByAll: o.heardByAll})
}

// inherit takes over one end of a pair of sockets that the worker made.
func inherit(fd int) (net.Conn, error) {
	// A worker that is killed closes its end; this is for one that is not, because a child of it still holds that end.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(syscall.SIGTERM), 0, 0, 0); err != nil {
		return nil, fmt.Errorf("no parent-death signal: %w", err)
	}
	file := os.NewFile(uintptr(fd), "worker")
	if file == nil {
		return nil, fmt.Errorf("--fd %d is no file", fd)
	}
	defer file.Close()
	worker, err := net.FileConn(file)
	if err != nil {
		return nil, fmt.Errorf("--fd %d is no socket: %w", fd, err)
	}
	return worker, nil
}

// accept waits for a worker at a socket of its own, and closes the door behind it; nil where the context ends first.
func accept(ctx context.Context, path string) (net.Conn, error) {
	unlock, err := lock(path)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := clear(path); err != nil {
		return nil, err
	}
	// Nobody else may connect, not even between bind and chmod.
	mask := syscall.Umask(0o177)
	listener, err := net.Listen("unix", path)
	syscall.Umask(mask)
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	defer context.AfterFunc(ctx, func() { listener.Close() })()
	worker, err := listener.Accept()
	if ctx.Err() != nil {
		return nil, nil
	}
	return worker, err
}

// lock makes sure that no other engine waits at this path. To connect would tell too, but be taken for a worker.
func lock(path string) (unlock func(), err error) {
	name := path + ".lock"
	file, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		file.Close()
		return nil, fmt.Errorf("%s is in use by another engine", path)
	}
	return func() {
		os.Remove(name)
		file.Close()
	}, nil
}

// clear takes away a socket that an engine left behind.
func clear(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode()&os.ModeSocket == 0:
		return fmt.Errorf("%s is there already and no socket", path)
	}
	return os.Remove(path)
}
