package engine

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/trunkline/trunkline/media-engine/internal/mediapb"
)

func TestAHostileCallerIsCountedAndNotPassedOn(t *testing.T) {
	w, r := joined(t, nil)
	w.tell(1, listenTo("maria"))
	waitFor(t, "the subscription", func() bool { return len(r.said()) == 1 })
	for _, digit := range []string{"", "x", "12", strings.Repeat("1", 1000), "\xff"} {
		r.listener.onKey("maria", digit)
	}
	r.listener.onData("maria", "topic", make([]byte, maxDataBytes+1))
	r.listener.onData("maria", strings.Repeat("x", maxTopicBytes+1), nil)
	r.listener.onData("maria", "\xff", nil)
	for range messageBurst + 10 {
		r.listener.onKey("maria", "1")
	}
	r.listener.onKey("juan", "2")
	r.listener.onData("juan", "topic", []byte("x"))
	w.tell(1, askStats())
	keys := 0
	for {
		event := w.next(1)
		if stats := event.GetStats(); stats != nil {
			if keys > messageBurst+5 || stats.GetMalformed() < 8+5 {
				t.Fatalf("%d keys passed, %v", keys, stats)
			}
			break
		}
		if event.GetDtmf().GetDigit() != "1" {
			t.Fatalf("%v", event)
		}
		keys++
	}
}

func TestMuteIsToldWhenItChanges(t *testing.T) {
	w, r := joined(t, nil)
	w.tell(1, listenTo("maria"))
	waitFor(t, "the subscription", func() bool { return len(r.said()) == 1 })
	for _, muted := range []bool{false, true, true, false} {
		r.listener.onMuted("maria", muted)
		r.listener.onMuted("juan", !muted)
	}
	for _, muted := range []bool{true, false} {
		if got := w.next(1).GetMuted(); got == nil || got.GetMuted() != muted {
			t.Fatalf("%v", got)
		}
	}
	r.listener.onMuted("maria", true)
	w.until(1, "muted")
	// What the next one does is told anew.
	w.tell(1, listenTo("juan"))
	waitFor(t, "the next subscription", func() bool { return len(r.said()) == 3 })
	r.listener.onMuted("juan", true)
	w.until(1, "muted")
}

func TestDataGoesToTheOneWeListenTo(t *testing.T) {
	w, r := joined(t, nil)
	w.tell(1, sendData("x", "t"))
	w.tell(1, listenTo("maria"))
	w.tell(1, sendData("y", "t"))
	waitFor(t, "both", func() bool { return len(r.said()) == 3 })
	if said := strings.Join(r.said(), ", "); said != "data x about t to , subscribe maria, data y about t to maria" {
		t.Fatal(said)
	}
	w.tell(1, sendData(strings.Repeat("x", maxDataBytes+1), "t"))
	w.until(1, "refused")
	w.raw([]byte("\xff\xff nonsense"))
	w.until(0, "refused")
	w.tell(1, askStats())
	if stats := w.until(1, "stats").GetStats(); stats.GetRefused() != 1 {
		t.Fatalf("%v", stats)
	}
	w.tell(0, askStats())
	if stats := w.until(0, "stats").GetStats(); stats.GetRefused() != 2 {
		t.Fatalf("%v", stats)
	}
	w.tell(1, leave())
	if stats := w.until(1, "left").GetLeft().GetStats(); stats.GetRefused() != 1 {
		t.Fatalf("%v", stats)
	}
}

func FuzzCommands(f *testing.F) {
	for _, command := range []*mediapb.Command{
		join("ws://x", "t"), joinShared("ws://x", "t"), leave(), listenTo("maria"), publish(), hide(), saying(1, tone(4)),
		end(1), pause(), resume(), flush(), dtmf("1"), sendData("x", "y"), askStats(),
	} {
		command.Leg = 1
		body, err := proto.Marshal(command)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		w, _ := joined(t, nil)
		w.raw(body)
		// Whatever it was: the engine obeys the next one.
		w.tell(2, join("ws://x", "t"))
		w.eventually("an answer", func() bool { return len(w.events[2]) > 0 })
	})
}
