package engine

import (
	"context"
	"errors"
	"os"
	"testing"

	"github.com/livekit/protocol/livekit"
	"github.com/pion/webrtc/v4"
)

// joinedAlone is a connection of its own to a room.
func joinedAlone(t *testing.T, s *sfu, onePeer bool) *connection {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := newConnection(false)
	c.join(ctx, s.url, s.token("room", "somebody", livekit.ParticipantInfo_AGENT), onePeer)
	t.Cleanup(c.room.Disconnect)
	return c
}

// withOpusOnly is a server that turns down all sections of video.
func withOpusOnly(t *testing.T) *sfu {
	t.Helper()
	s := newSFU(t)
	text, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	text = append(text, "room: {enabled_codecs: [{mime: audio/opus}]}\n"...)
	if err := os.WriteFile(s.config, text, 0o600); err != nil {
		t.Fatal(err)
	}
	s.start()
	t.Cleanup(s.kill)
	return s
}

func TestAnOfferIsNotedDownBeforeItsAnswerCanCome(t *testing.T) {
	c := joinedAlone(t, startSFU(t), true)
	if c.err != nil || c.noted.Load() != 1 {
		t.Fatalf("%d offers noted down, %v", c.noted.Load(), c.err)
	}
	publisher := c.room.LocalParticipant.GetPublisherPeerConnection()
	before := publisher.RemoteDescription().SDP
	c.negotiate()
	waitFor(t, "another answer", func() bool {
		return publisher.SignalingState() == webrtc.SignalingStateStable && publisher.RemoteDescription().SDP != before
	})
}

func TestTwoPeerConnectionsNeedNoNote(t *testing.T) {
	if c := joinedAlone(t, startSFU(t), false); c.err != nil || c.noted.Load() != 0 {
		t.Fatalf("%d offers noted down, %v", c.noted.Load(), c.err)
	}
}

func TestAServerWithoutVideoCodecsIsTakenWithTwoPeerConnections(t *testing.T) {
	s := withOpusOnly(t)
	if c := joinedAlone(t, s, true); !errors.Is(c.err, errMuteAnswer) {
		t.Fatalf("joined with one: %v", c.err)
	}
	w := realEngine(t)
	call(t, s, w)
	w.tell(caller, saying(1, tone(16000)))
	w.tell(caller, end(1))
	w.eventually("the tone", func() bool { return loud(w.heard[agent]) >= 48 })
}
