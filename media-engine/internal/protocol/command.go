// Package protocol is the line JSON between the phone and the program that drives it: commands in, events out.
package protocol

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/trunkline/trunkline/media-engine/internal/codec"
	"github.com/trunkline/trunkline/media-engine/internal/dtmf"
	"github.com/trunkline/trunkline/media-engine/internal/impair"
)

const (
	// MaxLineBytes is the longest command: some seconds of noise to be heard behind a caller fit into it.
	MaxLineBytes = 1 << 20

	maxNameBytes   = 128
	maxDigits      = 64
	maxRingTimeout = 10 * time.Minute
	// DefaultRingTimeout is how long it may ring if the command does not say.
	DefaultRingTimeout = 3 * time.Minute
)

// Dial starts a call.
type Dial struct {
	URI      string
	Username string
	Password string
	From     string
	// Codecs are offered, the best first. With G.722 among them the line is one of 16 kHz.
	Codecs      []codec.Kind
	WAV         string
	RingTimeout time.Duration
	// Impair is what is wrong with the caller and its network. Noise that is given is of 16 kHz, whatever the line.
	Impair impair.Config
}

// Play queues a file.
type Play struct {
	ID  string
	WAV string
}

// Stop drops what is playing and what is queued.
type Stop struct{}

// DTMF sends keys.
type DTMF struct{ Digits string }

// Hangup ends a call, also one that still rings.
type Hangup struct{}

// Quit ends the program as the end of its input does.
type Quit struct{}

// Command is one line: Do is a Dial, Play, Stop, DTMF, Hangup or Quit, and Call names the call it is about.
type Command struct {
	Call string
	Do   any
}

type line struct {
	Cmd         string   `json:"cmd"`
	Call        string   `json:"call"`
	URI         string   `json:"uri"`
	Username    string   `json:"username"`
	Password    string   `json:"password"`
	From        string   `json:"from"`
	Codec       string   `json:"codec"`
	WAV         string   `json:"wav"`
	ID          string   `json:"id"`
	Digits      string   `json:"digits"`
	RingTimeout *float64 `json:"ring_timeout_s"`

	Impair json.RawMessage `json:"impair"`
}

// Parse reads one command. Fields it does not know are ignored.
//
// The error never holds the line itself, which may carry a password. Where the call's name could be read,
// it is returned also with an error.
func Parse(text []byte) (Command, error) {
	var in line
	decoder := json.NewDecoder(bytes.NewReader(text))
	if err := decoder.Decode(&in); err != nil {
		var wrongType *json.UnmarshalTypeError
		if errors.As(err, &wrongType) && wrongType.Field != "" {
			return Command{}, fmt.Errorf("field %q must not be a %s", wrongType.Field, wrongType.Value)
		}
		return Command{}, errors.New("not a JSON object")
	}
	if decoder.More() {
		return Command{}, errors.New("more than one JSON object on the line")
	}
	if in.Cmd == "quit" {
		return Command{Do: Quit{}}, nil
	}
	if in.Call == "" || len(in.Call) > maxNameBytes {
		return Command{}, fmt.Errorf("\"call\" must name the call, in 1 to %d bytes", maxNameBytes)
	}
	do, err := in.do()
	return Command{Call: in.Call, Do: do}, err
}

func (in line) do() (any, error) {
	switch in.Cmd {
	case "dial":
		return in.dial()
	case "play":
		if in.WAV == "" || len(in.ID) > maxNameBytes {
			return nil, errors.New("play needs a \"wav\", and an \"id\" of at most 128 bytes")
		}
		return Play{ID: in.ID, WAV: in.WAV}, nil
	case "stop":
		return Stop{}, nil
	case "dtmf":
		if !dtmf.Valid(in.Digits) || len(in.Digits) > maxDigits {
			return nil, fmt.Errorf("\"digits\" must be 1 to %d of 0-9 * # A-D", maxDigits)
		}
		return DTMF{Digits: in.Digits}, nil
	case "hangup":
		return Hangup{}, nil
	}
	return nil, fmt.Errorf("unknown command %.40q (dial, play, stop, dtmf, hangup, quit)", in.Cmd)
}

func (in line) dial() (any, error) {
	dial := Dial{URI: in.URI, Username: in.Username, Password: in.Password, From: in.From, WAV: in.WAV, RingTimeout: DefaultRingTimeout}
	if in.URI == "" {
		return nil, errors.New("dial needs a \"uri\"")
	}
	var err error
	if dial.Codecs, err = codecs(in.Codec); err != nil {
		return nil, err
	}
	if len(in.Impair) > 0 {
		if dial.Impair, err = impair.Parse(in.Impair); err != nil {
			return nil, err
		}
	}
	if in.RingTimeout != nil {
		if *in.RingTimeout <= 0 || *in.RingTimeout > maxRingTimeout.Seconds() {
			return nil, fmt.Errorf("\"ring_timeout_s\" must be over 0 and at most %g", maxRingTimeout.Seconds())
		}
		dial.RingTimeout = time.Duration(*in.RingTimeout * float64(time.Second))
	}
	return dial, nil
}

// codecs reads names with commas between them; none: PCMU.
func codecs(names string) ([]codec.Kind, error) {
	if names == "" {
		return []codec.Kind{codec.PCMU}, nil
	}
	var found []codec.Kind
	for name := range strings.SplitSeq(names, ",") {
		kind, ok := codec.Named(name)
		if !ok {
			return nil, fmt.Errorf("unknown codec %.40q (g722, pcmu, pcma, or several with commas)", name)
		}
		if slices.Contains(found, kind) {
			return nil, fmt.Errorf("codec %s is named twice", kind)
		}
		found = append(found, kind)
	}
	return found, nil
}
