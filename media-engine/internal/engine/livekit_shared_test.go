package engine

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/livekit/protocol/livekit"

	"github.com/trunkline/trunkline/media-engine/internal/mediapb"
)

func joinShared(url, token string) *mediapb.Command {
	return &mediapb.Command{Do: &mediapb.Command_Join{Join: &mediapb.Join{Url: url, Token: token, Shared: true}}}
}

func sendData(payload, topic string) *mediapb.Command {
	return &mediapb.Command{Do: &mediapb.Command_SendData{SendData: &mediapb.SendData{Payload: []byte(payload), Topic: topic}}}
}

// sine is a tone of this frequency at -12 dBFS.
func sine(hz float64, samples int) []int16 {
	pcm := make([]int16, samples)
	for i := range pcm {
		pcm[i] = int16(8192 * math.Sin(2*math.Pi*hz*float64(i)/16000))
	}
	return pcm
}

// pitch is the frequency of a pure tone, to about 25 Hz.
func pitch(frame *mediapb.Frame) float64 {
	pcm := frame.GetPcm()
	var before int16
	crossings := 0
	for i := 0; i+1 < len(pcm); i += 2 {
		sample := int16(uint16(pcm[i]) | uint16(pcm[i+1])<<8)
		if i > 0 && (sample >= 0) != (before >= 0) {
			crossings++
		}
		before = sample
	}
	return float64(crossings) * 50 / 2
}

// hz is the tone of one of many.
func hz(i uint32) float64 { return 300 + 100*float64(i) }

// astray counts loud frames that are not of this tone.
func astray(frames []*mediapb.Frame, want float64) (n int) {
	for _, each := range frames {
		if each.GetLevelDbov() < 30 && !each.GetConcealed() && math.Abs(pitch(each)-want) > 50 {
			n++
		}
	}
	return n
}

// sharedCall has so many callers in one room, each with a leg of the agent's only participant.
func sharedCall(t *testing.T, s *sfu, agents, callers *fakeWorker, n uint32) {
	t.Helper()
	for i := uint32(1); i <= n; i++ {
		callers.tell(i, join(s.url, s.token("shared", fmt.Sprint("caller ", i), livekit.ParticipantInfo_SIP)))
	}
	for i := uint32(1); i <= n; i++ {
		callers.until(i, "joined")
		callers.tell(i, listenTo("the agent"))
		callers.tell(i, publish())
	}
	s.waitFor("shared", int(n))
	token := s.token("shared", "the agent", livekit.ParticipantInfo_AGENT)
	for i := uint32(1); i <= n; i++ {
		agents.tell(i, joinShared(s.url, token))
		agents.tell(i, listenTo(fmt.Sprint("caller ", i)))
		agents.tell(i, publish())
	}
	for i := uint32(1); i <= n; i++ {
		agents.until(i, "published")
		agents.until(i, "track_heard")
	}
}

// everybodySpeaks has all say their own tones at the same time, and checks that each hears the right one.
func everybodySpeaks(t *testing.T, agents, callers *fakeWorker, from, n, utterance uint32) {
	t.Helper()
	for _, w := range []*fakeWorker{agents, callers} {
		w.mu.Lock()
		clear(w.heard)
		w.mu.Unlock()
	}
	for i := from; i <= n; i++ {
		agents.tell(i, saying(utterance, sine(hz(i), 16000)))
		agents.tell(i, end(utterance))
		callers.tell(i, saying(utterance, sine(hz(n-i), 16000)))
		callers.tell(i, end(utterance))
	}
	for i := from; i <= n; i++ {
		agents.until(i, "last_packet")
		callers.until(i, "last_packet")
		callers.eventually(fmt.Sprint("the answer for caller ", i), func() bool { return loud(callers.heard[i]) >= 30 })
		agents.eventually(fmt.Sprint("the words of caller ", i), func() bool { return loud(agents.heard[i]) >= 30 })
	}
	for i := from; i <= n; i++ {
		// The fade at either end may bend a frame.
		if bad := astray(callers.frames(i), hz(i)); bad > 3 {
			t.Errorf("caller %d heard %d frames that were not for it", i, bad)
		}
		if bad := astray(agents.frames(i), hz(n-i)); bad > 3 {
			t.Errorf("leg %d heard %d frames that were not its caller's", i, bad)
		}
	}
}

func TestTwentyFiveCallersOfOneRoomHearTheirOwnAnswersOnly(t *testing.T) {
	s := startSFU(t)
	agents, callers := realEngine(t), realEngine(t)
	const n = 25
	sharedCall(t, s, agents, callers, n)
	list, err := s.rooms().ListParticipants(context.Background(), &livekit.ListParticipantsRequest{Room: "shared"})
	if err != nil || len(list.GetParticipants()) != n+1 {
		t.Fatalf("%d participants, %v", len(list.GetParticipants()), err)
	}
	everybodySpeaks(t, agents, callers, 1, n, 1)

	agents.tell(7, dtmf("7"))
	if got := callers.until(7, "dtmf").GetDtmf().GetDigit(); got != "7" {
		t.Fatalf("%q", got)
	}
	callers.tell(8, dtmf("8"))
	if got := agents.until(8, "dtmf").GetDtmf().GetDigit(); got != "8" {
		t.Fatalf("%q", got)
	}

	// Some end, the others go on; the participant leaves with its last leg.
	for i := uint32(1); i <= 10; i++ {
		agents.tell(i, leave())
		agents.until(i, "left")
	}
	everybodySpeaks(t, agents, callers, 11, n, 2)
	for i := uint32(1); i <= 10; i++ {
		// What was in the jitter buffer at the end of the first tone came after it was cleared.
		if n := loud(callers.frames(i)); n > 3 {
			t.Errorf("caller %d heard %d frames after the end", i, n)
		}
		for _, name := range agents.names(i) {
			t.Errorf("leg %d was told %s", i, name)
		}
	}
	// A new leg for a caller whose leg has left.
	agents.tell(100, joinShared(s.url, s.token("shared", "the agent", livekit.ParticipantInfo_AGENT)))
	agents.tell(100, listenTo("caller 3"))
	agents.tell(100, publish())
	agents.until(100, "track_heard")
	callers.tell(3, saying(5, sine(500, 16000)))
	agents.eventually("caller 3", func() bool { return loud(agents.heard[100]) > 20 })
	agents.tell(100, leave())
	for i := uint32(11); i <= n; i++ {
		agents.tell(i, leave())
	}
	for i := uint32(11); i <= n; i++ {
		agents.until(i, "left")
		callers.until(i, "participant_left")
	}
}

func TestASharedParticipantComesBackWithAllItsLegs(t *testing.T) {
	s := startSFU(t)
	agents, callers := realEngine(t), realEngine(t)
	const n = 4
	sharedCall(t, s, agents, callers, n)
	s.kill()
	for i := uint32(1); i <= n; i++ {
		agents.until(i, "reconnecting")
		callers.until(i, "reconnecting")
	}
	s.start()
	for i := uint32(1); i <= n; i++ {
		agents.until(i, "reconnected")
		callers.until(i, "reconnected")
	}
	for i := uint32(1); i <= n; i++ {
		agents.until(i, "track_heard")
	}
	everybodySpeaks(t, agents, callers, 1, n, 1)
	for i := uint32(1); i <= n; i++ {
		for _, name := range agents.names(i) {
			if name == "participant_left" || name == "disconnected" {
				t.Errorf("leg %d was told %v", i, name)
			}
		}
	}
}

func TestTwoLegsOfAParticipantDoNotListenToTheSame(t *testing.T) {
	s := startSFU(t)
	w := realEngine(t)
	token := s.token("shared", "the agent", livekit.ParticipantInfo_AGENT)
	for leg := uint32(1); leg <= 2; leg++ {
		w.tell(leg, joinShared(s.url, token))
		w.until(leg, "joined")
		w.tell(leg, listenTo("maria"))
	}
	if why := w.until(2, "refused").GetRefused().GetWhy(); why != "can't listen to maria: "+errListenedTo.Error() {
		t.Fatal(why)
	}
	w.tell(1, leave())
	w.until(1, "left")
	w.tell(2, listenTo("maria"))
	w.tell(2, publish())
	w.until(2, "published")
	if names := w.names(2); len(names) > 0 {
		t.Fatalf("%v", names)
	}
}

func TestASharedJoinThatFailsFailsForAll(t *testing.T) {
	s := startSFU(t)
	w := realEngine(t)
	// Well formed, but signed by somebody else.
	token := s.token("shared", "the agent", livekit.ParticipantInfo_AGENT)
	forged := token[:len(token)-4] + "AAAA"
	for leg := range uint32(3) {
		w.tell(leg+1, joinShared(s.url, forged))
	}
	for leg := range uint32(3) {
		end := w.until(leg+1, "disconnected").GetDisconnected()
		if end.GetReason() != "join_failed" || strings.Contains(end.GetDetail(), token[:8]) {
			t.Fatalf("%v", end)
		}
	}
	w.tell(5, joinShared(s.url, "nonsense"))
	if end := w.until(5, "disconnected").GetDisconnected(); end.GetDetail() != errNoRoom.Error() {
		t.Fatalf("%v", end)
	}
	// The door is not closed by that.
	w.tell(6, joinShared(s.url, token))
	w.until(6, "joined")
}

func TestDataAndMuteAreTold(t *testing.T) {
	s := startSFU(t)
	w := realEngine(t)
	call(t, s, w)
	w.tell(agent, sendData("what", "a topic"))
	if data := w.until(caller, "data").GetData(); string(data.GetPayload()) != "what" || data.GetTopic() != "a topic" {
		t.Fatalf("%v", data)
	}
	mute := func(muted bool) {
		list, err := s.rooms().ListParticipants(context.Background(), &livekit.ListParticipantsRequest{Room: "call"})
		if err != nil {
			t.Fatal(err)
		}
		for _, each := range list.GetParticipants() {
			if each.GetIdentity() == "the caller" {
				_, err = s.rooms().MutePublishedTrack(context.Background(), &livekit.MuteRoomTrackRequest{
					Room: "call", Identity: "the caller", TrackSid: each.GetTracks()[0].GetSid(), Muted: muted,
				})
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	mute(true)
	if !w.until(agent, "muted").GetMuted().GetMuted() {
		t.Fatal("not muted")
	}
	w.mu.Lock()
	clear(w.heard)
	w.mu.Unlock()
	w.tell(caller, saying(1, tone(16000)))
	w.tell(caller, end(1))
	w.until(caller, "last_packet")
	time.Sleep(100 * time.Millisecond)
	if n := loud(w.frames(agent)); n > 0 {
		t.Fatalf("%d frames of a muted caller were heard", n)
	}
}
