package impair

import (
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"
)

const whole = `{
	"seed": 18446744073709551615,
	"sent": {"loss": 0.05, "burst": 3, "delay_ms": 10, "jitter_ms": 40, "jitter_shape": "normal", "jitter_limit_ms": 90,
		"reorder": 0.02, "reorder_ms": 25, "duplicate": 0.01},
	"received": {"loss": 1},
	"sound": {"drift_ppm": -100, "noise": {"kind": "babble", "level_dbov": -45},
		"silence": {"every_ms": 5000, "lasts_ms": 400}, "echo": {"gain_db": -20, "delay_ms": 150}}}`

func TestParse(t *testing.T) {
	config, err := Parse([]byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		Seed: math.MaxUint64,
		Sent: Network{
			Loss: 0.05, Burst: 3, DelayMs: 10, JitterMs: 40, JitterShape: Normal, JitterLimitMs: 90,
			Reorder: 0.02, ReorderMs: 25, Duplicate: 0.01,
		},
		Received: Network{Loss: 1},
		Sound: Sound{
			DriftPpm: -100, Noise: &Noise{Kind: Babble, LevelDbov: -45},
			Silence: &Silence{EveryMs: 5000, LastsMs: 400}, Echo: &Echo{GainDb: -20, DelayMs: 150},
		},
	}
	if !reflect.DeepEqual(config, want) {
		t.Errorf("%+v", config)
	}
	given, err := Parse([]byte(`{"sound": {"noise": {"kind": "given", "level_dbov": -40, "pcm": "AQD+/w=="}}}`))
	if err != nil || !reflect.DeepEqual(given.Sound.Noise.PCM, PCM{1, -2}) {
		t.Errorf("%+v, %v", given.Sound.Noise, err)
	}
	if nothing, err := Parse([]byte("{}")); err != nil || !reflect.DeepEqual(nothing, Config{}) {
		t.Errorf("%+v, %v", nothing, err)
	}
}

func TestParseNamesWhatIsWrong(t *testing.T) {
	for text, want := range map[string]string{
		`{"sent": {"loss": 1.5}}`:                                         "sent.loss: 1.5 is not between 0 and 1",
		`{"received": {"reorder": -1}}`:                                   "received.reorder: -1 is not between 0 and 1",
		`{"sent": {"duplicate": 2}}`:                                      "sent.duplicate: 2 is",
		`{"sent": {"delay_ms": 5000}}`:                                    "sent.delay_ms: 5000 is not between 0 and 2000",
		`{"sent": {"jitter_ms": -1}}`:                                     "sent.jitter_ms: -1 is",
		`{"sent": {"jitter_limit_ms": 9999}}`:                             "sent.jitter_limit_ms: 9999 is",
		`{"sent": {"reorder_ms": 1001}}`:                                  "sent.reorder_ms: 1001 is",
		`{"sent": {"jitter_shape": "odd"}}`:                               `sent.jitter_shape: "odd" is none of uniform`,
		`{"sent": {"burst": 0.5}}`:                                        "sent.burst: 0.5 is not between 1",
		`{"sent": {"loss": 0.8, "burst": 2}}`:                             "sent.burst: with a loss of 0.8, bursts are longer than 2",
		`{"sound": {"drift_ppm": 1e9}}`:                                   "sound.drift_ppm: 1e+09 is",
		`{"sound": {"noise": {"kind": "pink", "level_dbov": 0}}}`:         "sound.noise.level_dbov: 0 is",
		`{"sound": {"noise": {"kind": "loud", "level_dbov": -40}}}`:       `sound.noise.kind: "loud" is none of white`,
		`{"sound": {"noise": {"kind": "given", "level_dbov": -40}}}`:      "sound.noise.pcm samples: 0 is",
		`{"sound": {"noise": {"kind": "given", "pcm": "AA=="}}}`:          "half a sample",
		`{"sound": {"noise": {"kind": "given", "pcm": [1]}}}`:             "half a sample",
		`{"sound": {"noise": {"kind": "hum", "pcm": "AAA="}}}`:            "sound.noise.pcm samples: 1 is not between 0 and 0",
		`{"sound": {"silence": {"every_ms": 0, "lasts_ms": 100}}}`:        "sound.silence.every_ms: 0 is",
		`{"sound": {"silence": {"every_ms": 1000, "lasts_ms": 1000000}}}`: "sound.silence.lasts_ms: 1e+06 is",
		`{"sound": {"echo": {"gain_db": 3}}}`:                             "sound.echo.gain_db: 3 is",
		`{"sound": {"echo": {"gain_db": -3, "delay_ms": 2001}}}`:          "sound.echo.delay_ms: 2001 is",
		`{"sent": {"lost": 1}}`:                                           `unknown field "lost"`,
		`{"sent": {"loss": "5%"}}`:                                        "sent.loss",
		`{} {}`:                                                           "something follows",
		``:                                                                "EOF",
	} {
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	_, err := Parse([]byte(`{"sent": {"loss": 2, "reorder": 2}}`))
	if err == nil || !strings.Contains(err.Error(), "1; sent.reorder") || strings.Contains(err.Error(), "\n") {
		t.Errorf("two errors: %v", err)
	}
	if err := (Config{Sent: Network{Loss: math.NaN()}}).Validate(); err == nil {
		t.Error("a loss that is no number is valid")
	}
}

// FuzzConfig: what is valid works, within its bounds, and survives being written and read again.
func FuzzConfig(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte(`{"sent": {"loss": 0.5, "burst": 1, "jitter_ms": 1000, "jitter_shape": "exponential"}}`))
	f.Add([]byte(`{"sound": {"noise": {"kind": "hum", "level_dbov": -10}, "silence": {"every_ms": 20, "lasts_ms": 20}}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		config, err := Parse(text)
		if err != nil {
			return
		}
		again, err := json.Marshal(config)
		if err != nil {
			t.Fatal(err)
		}
		if read, err := Parse(again); err != nil || !reflect.DeepEqual(read, config) {
			t.Fatalf("%+v was read as %+v, %v", config, read, err)
		}
		link := NewSent[int64](config)
		out := 0
		for us := int64(0); us < 10_000_000; us += 20_000 {
			link.Push(us, us)
			for {
				sentUs, outUs, ok := link.Pop(us)
				if !ok {
					break
				}
				if outUs < sentUs || outUs > us {
					t.Fatalf("sent at %d, out at %d, at %d", sentUs, outUs, us)
				}
				out++
			}
		}
		stats := link.Stats()
		if held := len(link.waiting); uint64(out+held) > stats.Pushed-stats.Lost+stats.Duplicated {
			t.Fatalf("%d came out and %d are held, but %+v", out, held, stats)
		}
		mixer := NewMixer(config, 8000)
		var one [160]int16
		for range 10 {
			mixer.Hear(one[:])
			mixer.Mix(one[:])
		}
		if first, second := config.Sound.FrameUs(1000), config.Sound.FrameUs(1001); second-first < 19_000 || second-first > 21_000 {
			t.Fatalf("frames are due at %d and %d", first, second)
		}
	})
}
