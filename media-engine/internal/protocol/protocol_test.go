package protocol

import (
	"bytes"
	"encoding/json"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/trunkline/trunkline/media-engine/internal/codec"
	"github.com/trunkline/trunkline/media-engine/internal/impair"
)

func TestCommands(t *testing.T) {
	for text, want := range map[string]Command{
		`{"cmd":"dial","call":"c1","uri":"sip:a@b","username":"u","password":"p","from":"+1","codec":"pcma","wav":"x.wav","ring_timeout_s":1.5}`: {"c1",
			Dial{"sip:a@b", "u", "p", "+1", []codec.Kind{codec.PCMA}, "x.wav", 1500 * time.Millisecond, impair.Config{}}},
		`{"cmd":"dial","call":"c1","uri":"sip:a@b","unknown":1}`: {"c1",
			Dial{URI: "sip:a@b", RingTimeout: DefaultRingTimeout, Codecs: []codec.Kind{codec.PCMU}}},
		`{"cmd":"dial","call":"c1","uri":"sip:a@b","codec":"g722,PCMU","impair":{"seed":7,"sent":{"loss":0.1}}}`: {"c1",
			Dial{URI: "sip:a@b", RingTimeout: DefaultRingTimeout, Codecs: []codec.Kind{codec.G722, codec.PCMU},
				Impair: impair.Config{Seed: 7, Sent: impair.Network{Loss: 0.1}}}},
		`{"cmd":"play","call":"c1","id":"s1","wav":"f.wav"}`: {"c1", Play{"s1", "f.wav"}},
		`{"cmd":"stop","call":"c1"}`:                         {"c1", Stop{}},
		`{"cmd":"dtmf","call":"c1","digits":"12#"}`:          {"c1", DTMF{"12#"}},
		` {"cmd":"hangup","call":"c1"} `:                     {"c1", Hangup{}},
		`{"cmd":"quit"}`:                                     {"", Quit{}},
	} {
		if got, err := Parse([]byte(text)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
}

func TestMalformedCommandsAreNamedWithoutTheirSecrets(t *testing.T) {
	for text, want := range map[string]string{
		`hello`:          "not a JSON object",
		`{"cmd":"stop"`:  "not a JSON object",
		`[]`:             "not a JSON object",
		`{"cmd":"stop"}`: `"call"`,
		`{"cmd":1}`:      `field "cmd"`,
		`{"call":"c"}`:   "unknown command",
		`{"cmd":"sing","call":"c","password":"hunter2"}`:                         "unknown command",
		`{"cmd":"dial","call":"c","password":"hunter2"}`:                         `"uri"`,
		`{"cmd":"dial","call":"c","uri":"sip:a@b","codec":"opus"}`:               "codec",
		`{"cmd":"dial","call":"c","uri":"sip:a@b","codec":"pcmu,pcmu"}`:          "twice",
		`{"cmd":"dial","call":"c","uri":"sip:a@b","codec":"pcmu,"}`:              "unknown codec",
		`{"cmd":"dial","call":"c","uri":"sip:a@b","impair":{"sent":{"loss":2}}}`: "sent.loss",
		`{"cmd":"dial","call":"c","uri":"sip:a@b","impair":"much"}`:              "impairments",
		`{"cmd":"dial","call":"c","uri":"sip:a@b","ring_timeout_s":0}`:           "ring_timeout_s",
		`{"cmd":"dial","call":"c","uri":"sip:a@b","password":{"hunter2":1}}`:     `field "password"`,
		`{"cmd":"play","call":"c"}`:                                              `"wav"`,
		`{"cmd":"dtmf","call":"c","digits":"1x"}`:                                `"digits"`,
		`{"cmd":"quit"} {"cmd":"quit"}`:                                          "more than one",
	} {
		_, err := Parse([]byte(text))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestEventsAreLines(t *testing.T) {
	var stream bytes.Buffer
	out := NewOut(&stream)
	stopped, offset := false, int64(0)
	out.Tell(Event{Ev: "answered", Call: "c<1>", AtUs: 5, Codec: "PCMU", PlayoutMs: 40})
	out.Tell(Event{Ev: "play_end", Call: "c1", ID: "s1", AtUs: 6, Stopped: &stopped, OffsetUs: &offset})
	out.Close(time.Second)
	want := `{"ev":"answered","call":"c<1>","at_us":5,"codec":"PCMU","playout_ms":40}` + "\n" +
		`{"ev":"play_end","call":"c1","id":"s1","at_us":6,"offset_us":0,"stopped":false}` + "\n"
	if stream.String() != want {
		t.Errorf("%s", stream.String())
	}
}

func TestASlowReaderLosesEventsButHoldsNobodyUp(t *testing.T) {
	reader, writer := io.Pipe()
	out := NewOut(writer)
	for range queueEvents + 100 {
		out.Tell(Event{Ev: "heard_start", Call: "c1"})
	}
	told := make(chan bool, 1)
	go func() {
		decoder := json.NewDecoder(reader)
		errors := false
		for {
			var event Event
			if decoder.Decode(&event) != nil {
				told <- errors
				return
			}
			errors = errors || event.Ev == "error"
		}
	}()
	out.Close(5 * time.Second)
	_ = writer.Close()
	if !<-told {
		t.Error("no error tells that events were lost")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"cmd":"dial","call":"c1","uri":"sip:a@b?x-h=1","codec":"pcmu","ring_timeout_s":1e300}`))
	f.Add([]byte(`{"cmd":"dtmf","call":"c1","digits":"12#"}`))
	f.Add([]byte(`{"cmd":"dial","call":"c1","uri":"sip:a@b","codec":"g722,pcma","impair":{"received":{"loss":0.1,"burst":4}}}`))
	f.Add([]byte("{\"cmd\":\"play\",\"call\":\"\xff\",\"wav\":\"\\u0000\"}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		command, err := Parse(text)
		if err == nil && command.Do == nil {
			t.Fatal("neither a command nor an error")
		}
	})
}
