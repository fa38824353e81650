package engine

import (
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtp"

	"github.com/trunkline/trunkline/media-engine/internal/mediapb"
	"github.com/trunkline/trunkline/media-engine/internal/opus"
)

var shortLimits = limits{join: 50 * time.Millisecond, absent: 50 * time.Millisecond}

var maria = participant{"maria", mediapb.ParticipantJoined_PHONE, map[string]string{"call.token": "t"}}

// joined is an engine with leg 1 in a fake room.
func joined(t *testing.T, prepare func(*fakeRoom)) (*fakeWorker, *fakeRoom) {
	t.Helper()
	rooms := &fakeRooms{prepare: prepare}
	w := startEngine(t, rooms.make, shortLimits)
	w.tell(1, join("ws://somewhere", "a token"))
	w.until(1, "joined")
	return w, rooms.last()
}

// waits until something outside the socket holds.
func waitFor(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for limit := time.Now().Add(patience); time.Now().Before(limit); time.Sleep(time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatalf("never came: %s", what)
}

func TestThoseWhoAreThereAreToldFirst(t *testing.T) {
	rooms := &fakeRooms{prepare: func(r *fakeRoom) { r.others = []participant{maria} }}
	w := startEngine(t, rooms.make, shortLimits)
	w.tell(1, join("ws://somewhere", "a token"))
	first := w.next(1).GetParticipantJoined()
	if first.GetIdentity() != "maria" || first.GetAttributes()["call.token"] != "t" {
		t.Fatalf("first came %v", first)
	}
	if second := w.next(1); second.GetJoined() == nil || second.GetAtUs() == 0 {
		t.Fatalf("second came %v", second)
	}
	rooms.last().listener.onJoined(maria)
	w.tell(1, leave())
	if last := w.next(1); last.GetLeft() == nil {
		t.Fatalf("told of twice: %v", last)
	}
	waitFor(t, "the leave", rooms.last().left)
}

func TestCommandsAreDoneInOrderAfterTheJoin(t *testing.T) {
	answer := make(chan error)
	rooms := &fakeRooms{prepare: func(r *fakeRoom) { r.joinAnswer = answer }}
	w := startEngine(t, rooms.make, limits{join: time.Minute})
	w.tell(1, join("ws://somewhere", "a token"))
	w.tell(1, listenTo("maria"))
	w.tell(1, publish())
	w.tell(1, publish())
	w.tell(1, dtmf("1a"))
	w.tell(1, listenTo("juan"))
	w.tell(1, hide())
	w.tell(1, listenTo("maria"))
	answer <- nil
	w.until(1, "published")
	if why := w.until(1, "refused").GetRefused().GetWhy(); why != "published already" {
		t.Fatal(why)
	}
	want := []string{
		"subscribe maria", "publish", "allow maria", "key 1 to maria", "key A to maria",
		"unsubscribe maria", "subscribe juan", "allow juan", "allow ", "unsubscribe juan", "subscribe maria",
	}
	waitFor(t, "all commands", func() bool { return len(rooms.last().said()) >= len(want) })
	if said := rooms.last().said(); !slices.Equal(said, want) {
		t.Fatalf("%q", said)
	}
}

func TestAudioThatIsPublishedLaterIsSubscribedTo(t *testing.T) {
	w, r := joined(t, nil)
	w.tell(1, listenTo("maria"))
	waitFor(t, "the first", func() bool { return len(r.said()) == 1 })
	r.listener.onPublished("juan")
	r.listener.onPublished("maria")
	waitFor(t, "the second", func() bool { return len(r.said()) == 2 })
	if said := r.said(); said[1] != "subscribe maria" {
		t.Fatalf("%q", said)
	}
}

func TestRTPTimeGoesOnThroughSilence(t *testing.T) {
	w, r := joined(t, func(r *fakeRoom) { r.isReady = true })
	w.tell(1, publish())
	for utterance := range uint32(2) {
		w.tell(1, saying(utterance+1, tone(5*opus.FrameSamples)))
		w.tell(1, end(utterance+1))
		first := w.until(1, "first_packet")
		last := w.until(1, "last_packet")
		if first.GetFirstPacket().GetUtterance() != utterance+1 || last.GetLastPacket().GetSamples() != 1600 {
			t.Fatalf("%v, %v", first, last)
		}
		time.Sleep(100 * time.Millisecond)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	const each = 5 + hushFrames
	if len(r.packets) != 2*each {
		t.Fatalf("%d packets", len(r.packets))
	}
	for i, packet := range r.packets[1:] {
		before := r.packets[i]
		step, speech := packet.Timestamp-before.Timestamp, (i+1)%each != 0
		if packet.SequenceNumber != before.SequenceNumber+1 {
			t.Fatalf("a hole before packet %d", i+1)
		}
		if packet.Marker == speech || speech && step != rtpFrameTime || !speech && step < 2*rtpFrameTime || step%rtpFrameTime != 0 {
			t.Fatalf("packet %d: marker %v, %d after the one before", i+1, packet.Marker, step)
		}
	}
	if !r.packets[0].Marker {
		t.Fatal("no marker on the first packet")
	}
}

func TestWhoSubscribesIsGreetedWithSilence(t *testing.T) {
	w, r := joined(t, nil)
	w.tell(1, publish())
	w.until(1, "published")
	r.listener.onSubscribed()
	w.until(1, "track_heard")
	time.Sleep(60 * time.Millisecond)
	sent := func() (packets []rtp.Packet) {
		r.set(func(r *fakeRoom) { packets = append(packets, r.packets...) })
		return packets
	}
	if packets := sent(); len(packets) > 0 {
		t.Fatalf("%d packets before anything could be sent", len(packets))
	}
	r.set(func(r *fakeRoom) { r.isReady = true })
	waitFor(t, "the greetings", func() bool { return len(sent()) == len(greetings) })
	time.Sleep(60 * time.Millisecond)
	packets := sent()
	for i, packet := range packets {
		after := int64(packet.Timestamp-packets[0].Timestamp) / rtpFrameTime
		if i == len(greetings) || !packet.Marker || after != greetings[i] {
			t.Fatalf("packet %d after %d ticks, marker %v", i, after, packet.Marker)
		}
	}
	decoder, err := opus.NewDecoder()
	if err != nil {
		t.Fatal(err)
	}
	var heard [opus.MaxPacketSamples]int16
	for _, packet := range packets {
		n, err := decoder.Decode(packet.Payload, heard[:])
		if err != nil || level(heard[:n]) < 80 {
			t.Fatalf("%d dB below overload, %v", level(heard[:n]), err)
		}
	}
}

func TestAnAnswerWaitsForTheNetwork(t *testing.T) {
	w, r := joined(t, nil)
	w.tell(1, saying(1, tone(640)))
	w.tell(1, end(1))
	w.tell(1, publish())
	w.until(1, "published")
	time.Sleep(60 * time.Millisecond)
	if names := w.names(1); len(names) > 0 {
		t.Fatalf("%v before anything could be sent", names)
	}
	r.set(func(r *fakeRoom) { r.isReady = true })
	w.until(1, "first_packet")
	if last := w.until(1, "last_packet").GetLastPacket(); last.GetSamples() != 640 {
		t.Fatalf("%v", last)
	}
}

func TestFramesTellLevelAndSequence(t *testing.T) {
	w, r := joined(t, nil)
	w.tell(1, listenTo("maria"))
	waitFor(t, "the subscription", func() bool { return len(r.said()) == 1 })
	encoder, err := opus.NewEncoder()
	if err != nil {
		t.Fatal(err)
	}
	audio := make(fakeTrack)
	r.listener.onTrack("maria", audio)
	pcm := tone(20 * opus.FrameSamples)
	for i := range 20 {
		payload := make([]byte, opus.MaxPacketBytes)
		n, err := encoder.Encode(pcm[i*opus.FrameSamples:(i+1)*opus.FrameSamples], payload)
		if err != nil {
			t.Fatal(err)
		}
		packet, err := (&rtp.Packet{
			Header:  rtp.Header{Version: 2, SequenceNumber: uint16(i), Timestamp: uint32(i) * rtpFrameTime},
			Payload: payload[:n],
		}).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		audio <- packet
		audio <- []byte("not a packet")
		time.Sleep(20 * time.Millisecond)
	}
	close(audio)
	w.eventually("the tone", func() bool { return loud(w.heard[1]) >= 15 })
	for _, frame := range w.frames(1)[5:15] {
		// A sine at a quarter of full scale is 15 dB below a square wave at full scale.
		if level := frame.GetLevelDbov(); level < 14 || level > 16 || len(frame.GetPcm()) != frameBytes {
			t.Fatalf("%d dB below, %d bytes", level, len(frame.GetPcm()))
		}
	}
	w.tell(1, askStats())
	if stats := w.until(1, "stats").GetStats(); stats.GetReceived() != 20 || stats.GetLegs() != 1 {
		t.Fatalf("%v", stats)
	}
}

func TestWhoVanishesWithOurConnectionHasNotLeft(t *testing.T) {
	juan := participant{identity: "juan"}
	w, r := joined(t, func(r *fakeRoom) { r.others = []participant{maria, juan} })
	w.tell(1, listenTo("maria"))
	w.tell(1, publish())
	w.until(1, "published")
	r.listener.onReconnecting()
	r.listener.onLeft("maria", true)
	r.listener.onLeft("juan", true)
	ana := participant{identity: "ana"}
	r.set(func(r *fakeRoom) { r.others, r.wanted = []participant{maria, ana}, nil })
	r.listener.onReconnected()
	for _, want := range []string{"reconnecting", "participant_joined", "reconnected", "participant_left"} {
		event := w.next(1)
		if nameOf(event) != want {
			t.Fatalf("%v instead of %s", event, want)
		}
		if left := event.GetParticipantLeft(); left != nil && left.GetIdentity() != "juan" {
			t.Fatalf("%v", event)
		}
	}
	if said := r.said(); !slices.Equal(said, []string{"subscribe maria", "allow maria"}) {
		t.Fatalf("%q", said)
	}
	r.listener.onLeft("maria", false)
	r.listener.onJoined(maria)
	r.listener.onLeft("maria", true)
	if left := w.next(1).GetParticipantLeft(); left.GetIdentity() != "maria" {
		t.Fatalf("%v", left)
	}
}

func TestAJoinThatTakesTooLongIsTheEndAndLeftAgain(t *testing.T) {
	answer := make(chan error)
	rooms := &fakeRooms{prepare: func(r *fakeRoom) { r.joinAnswer = answer }}
	w := startEngine(t, rooms.make, shortLimits)
	w.tell(1, join("ws://somewhere", "a token"))
	if end := w.next(1).GetDisconnected(); end.GetReason() != "join_timeout" {
		t.Fatalf("%v", end)
	}
	if rooms.last().left() {
		t.Fatal("left while joining")
	}
	answer <- nil
	waitFor(t, "the leave", rooms.last().left)
	// Both crossed with the end on the way.
	w.tell(1, pause())
	w.tell(1, leave())
	if event := w.next(1); event.GetLeft() == nil {
		t.Fatalf("%v", event)
	}
}

func TestALeaveDoesNotWaitForTheJoin(t *testing.T) {
	answer := make(chan error)
	rooms := &fakeRooms{prepare: func(r *fakeRoom) { r.joinAnswer = answer }}
	w := startEngine(t, rooms.make, limits{join: time.Minute})
	w.tell(1, join("ws://somewhere", "a token"))
	w.tell(1, leave())
	if event := w.next(1); event.GetLeft() == nil {
		t.Fatalf("%v", event)
	}
	answer <- nil
	waitFor(t, "the leave", rooms.last().left)
}

func TestTheEndIsTheLastEvent(t *testing.T) {
	w, r := joined(t, nil)
	r.listener.onDisconnected("room_deleted", true)
	r.listener.onJoined(maria)
	r.listener.onSubscribed()
	r.listener.onKey("maria", "1")
	r.listener.onDisconnected("again", false)
	w.tell(1, publish())
	w.tell(0, askStats())
	w.until(0, "stats")
	if end := w.next(1).GetDisconnected(); end.GetReason() != "room_deleted" || !end.GetByServer() {
		t.Fatalf("%v", end)
	}
	if names := w.names(1); len(names) > 0 {
		t.Fatalf("after the end came %v", names)
	}
}

func TestWhatCanNotBeDoneIsRefused(t *testing.T) {
	w, r := joined(t, func(r *fakeRoom) { r.publishes = errors.New("no permission") })
	halfASample := saying(1, nil)
	halfASample.GetPlay().Pcm = []byte{1}
	for _, each := range []struct {
		leg     uint32
		command *mediapb.Command
		why     string
	}{
		{1, join("ws://somewhere", "a token"), "used before"},
		{0, join("ws://somewhere", "a token"), "numbered from 1"},
		{2, join("", ""), "URL"},
		{3, leave(), "no such leg"},
		{3, pause(), "no such leg"},
		{3, askStats(), "no such leg"},
		{1, &mediapb.Command{}, "without anything"},
		{1, listenTo(""), "nobody"},
		{1, halfASample, "half a sample"},
		{1, saying(0, nil), "numbered from 1"},
		{1, end(0), "numbered from 1"},
		{1, dtmf(""), "DTMF"},
		{1, dtmf("1x"), "DTMF"},
		{1, dtmf(strings.Repeat("1", 65)), "DTMF"},
		{1, hide(), "nothing is published"},
		{1, publish(), "no permission"},
	} {
		w.tell(each.leg, each.command)
		if why := w.next(each.leg).GetRefused().GetWhy(); !strings.Contains(why, each.why) {
			t.Fatalf("%v: %q", each.command, why)
		}
	}
	w.raw([]byte{0xff, 0xff})
	if why := w.next(0).GetRefused().GetWhy(); why != "not a command" {
		t.Fatal(why)
	}
	w.tell(1, leave())
	w.tell(1, leave())
	names := []string{nameOf(w.next(1)), nameOf(w.next(1))}
	slices.Sort(names)
	if !slices.Equal(names, []string{"left", "refused"}) {
		t.Fatalf("two leaves: %v", names)
	}
	waitFor(t, "the leave", r.left)
}

func TestALongMessageIsTheEnd(t *testing.T) {
	w, r := joined(t, nil)
	if _, err := w.conn.Write([]byte{0xff, 0xff, 0xff, 0xff}); err != nil {
		t.Fatal(err)
	}
	err := <-w.ended
	w.ended <- err
	if err == nil || !r.left() {
		t.Fatalf("ended by %v, left: %v", err, r.left())
	}
}

func TestTheEngineLeavesAllRoomsWhenItsWorkerGoes(t *testing.T) {
	rooms := &fakeRooms{}
	w := startEngine(t, rooms.make, shortLimits)
	for leg := range uint32(100) {
		w.tell(leg+1, join("ws://somewhere", "a token"))
	}
	w.until(100, "joined")
	w.conn.Close()
	err := <-w.ended
	w.ended <- err
	if err != nil {
		t.Fatal(err)
	}
	for _, each := range rooms.made {
		if !each.left() {
			t.Fatal("a room was not left")
		}
	}
}

func TestAThousandLegsLeaveNothingBehind(t *testing.T) {
	rooms := &fakeRooms{prepare: func(r *fakeRoom) { r.isReady, r.others = true, []participant{maria} }}
	w := startEngine(t, rooms.make, limits{join: time.Minute, absent: time.Minute})
	before := runtime.NumGoroutine()
	for round := range uint32(10) {
		for i := range uint32(100) {
			leg := round*100 + i + 1
			w.tell(leg, join("ws://somewhere", "a token"))
			w.tell(leg, listenTo("maria"))
			w.tell(leg, publish())
			w.tell(leg, saying(1, tone(6400)))
		}
		for i := range uint32(100) {
			leg := round*100 + i + 1
			w.until(leg, "published")
			listener := rooms.last().listener // of one of these legs
			audio := make(fakeTrack)
			listener.onTrack("maria", audio)
			listener.onLeft("maria", false)
			close(audio)
			w.tell(leg, leave())
		}
		for i := range uint32(100) {
			w.until(round*100+i+1, "left")
		}
	}
	waitFor(t, "the end of all goroutines", func() bool { return runtime.NumGoroutine() <= before })
	w.tell(0, askStats())
	if stats := w.until(0, "stats").GetStats(); stats.GetLegs() != 0 || stats.GetSent() == 0 {
		t.Fatalf("%v", stats)
	}
}
