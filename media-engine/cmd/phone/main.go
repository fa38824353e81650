// trunkline-phone places phone calls over SIP and talks on them, as told by line JSON on standard input.
//
// See the README of this module for the commands and events.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/trunkline/trunkline/media-engine/internal/phone"
	"github.com/trunkline/trunkline/media-engine/internal/protocol"
	"github.com/trunkline/trunkline/media-engine/internal/sipua"
)

const (
	hangUpLimit = 1500 * time.Millisecond
	eventsLimit = 300 * time.Millisecond
)

func main() {
	if os.Getenv("GOMAXPROCS") == "" {
		// Fifty calls are a fifth of one processor, and their goroutines wake each other across several.
		runtime.GOMAXPROCS(1)
	}
	listenIP := flag.String("listen-ip", "", "local IP address for SIP and RTP (default: the one each destination is reached from)")
	sipPort := flag.Int("sip-port", 0, "local SIP port (default: any free one)")
	maxCalls := flag.Int("max-calls", 200, "most calls at once")
	logLevel := flag.String("log-level", "warn", "debug, info, warn or error; logs go to standard error")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), "trunkline-phone: commands as line JSON on standard input, events on standard output\n",
			"example: echo '{\"cmd\":\"dial\",\"call\":\"c1\",\"uri\":\"sip:room@127.0.0.1:5060\"}' | trunkline-phone\n")
		flag.PrintDefaults()
	}
	flag.Parse()
	config := sipua.Config{Port: *sipPort}
	if err := check(*listenIP, *maxCalls, *logLevel, flag.Args(), &config); err != nil {
		fmt.Fprintln(os.Stderr, "trunkline-phone:", err)
		os.Exit(2)
	}
	if !run(config, *maxCalls, os.Stdin, os.Stdout) {
		os.Exit(1)
	}
}

// check takes the options over, or tells in one line what is wrong with them.
func check(listenIP string, maxCalls int, logLevel string, rest []string, config *sipua.Config) error {
	var level slog.Level
	if err := level.UnmarshalText([]byte(logLevel)); err != nil {
		return fmt.Errorf("--log-level %q is none of debug, info, warn, error", logLevel)
	}
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})))
	if listenIP != "" {
		address, err := netip.ParseAddr(listenIP)
		if err != nil {
			return fmt.Errorf("--listen-ip %q is no IP address", listenIP)
		}
		config.ListenIP = address.Unmap()
	}
	switch {
	case config.Port < 0 || config.Port > 65535:
		return fmt.Errorf("--sip-port %d is no port", config.Port)
	case maxCalls < 1 || maxCalls > 10_000:
		return fmt.Errorf("--max-calls %d is not between 1 and 10000", maxCalls)
	case len(rest) > 0:
		return fmt.Errorf("unexpected argument %q", rest[0])
	}
	return nil
}

// run serves commands until their end, quit, SIGTERM or SIGINT, and then hangs up. It tells if all ended in time.
func run(config sipua.Config, maxCalls int, in io.Reader, stream io.Writer) bool {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	out := protocol.NewOut(stream)
	telephone := phone.New(config, maxCalls, out.Tell)
	over := make(chan struct{})
	go func() {
		defer close(over)
		obey(telephone, in, out.Tell)
	}()
	select {
	case <-over:
	case <-signals:
	}
	timely := telephone.Close(hangUpLimit)
	if !timely {
		slog.Warn("not all calls could be hung up in time")
	}
	out.Close(eventsLimit)
	return timely
}

// obey reads commands until the input ends or says quit.
func obey(telephone *phone.Phone, in io.Reader, tell func(protocol.Event)) {
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 0, 4096), protocol.MaxLineBytes)
	for lines.Scan() {
		if len(lines.Bytes()) == 0 {
			continue
		}
		command, err := protocol.Parse(lines.Bytes())
		if _, quit := command.Do.(protocol.Quit); quit {
			return
		}
		if err == nil {
			err = telephone.Do(command)
		}
		if err != nil {
			tell(protocol.Event{Ev: "error", Call: command.Call, Message: err.Error()})
		}
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		tell(protocol.Event{Ev: "error", Message: fmt.Sprintf("a command is longer than %d bytes", protocol.MaxLineBytes)})
	}
}
