package engine

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/livekit/protocol/livekit"
	lksdk "github.com/livekit/server-sdk-go/v2"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"github.com/trunkline/trunkline/media-engine/internal/mediapb"
)

var errNotPublished = errors.New("not published")

// liveKitRoom is a leg's share of a connection to LiveKit, by its Go SDK.
type liveKitRoom struct {
	listener   roomListener
	sharing    *sharing
	heardByAll bool
	connection *connection
	track      atomic.Pointer[lksdk.LocalTrack]

	// Of the goroutine that subscribes only. The server closes a connection that asks it for too much at once, so
	// that it is asked once for each track, and again after a reconnection, which may have swallowed what was asked.
	asked   map[string]bool
	returns int64
}

// newLiveKitRooms makes the rooms of one engine.
func newLiveKitRooms(heardByAll bool) newRoom {
	s := &sharing{open: map[door]*connection{}, twoPeers: map[string]bool{}}
	return func(listener roomListener) room {
		return &liveKitRoom{listener: listener, sharing: s, heardByAll: heardByAll}
	}
}

func (r *liveKitRoom) join(ctx context.Context, to invitation) (err error) {
	if r.connection, err = r.sharing.connect(ctx, to, r); err != nil {
		return err
	}
	<-r.connection.joined
	return r.connection.err
}

func (r *liveKitRoom) present() []participant {
	others := r.connection.room.GetRemoteParticipants()
	present := make([]participant, len(others))
	for i, each := range others {
		present[i] = described(each)
	}
	return present
}

func (r *liveKitRoom) subscribe(identity string) error {
	if err := r.connection.listen(r, identity); err != nil {
		return err
	}
	if returns := r.connection.returns.Load(); r.asked == nil || r.returns != returns {
		r.asked, r.returns = map[string]bool{}, returns
	}
	for _, publication := range r.connection.audioOf(identity) {
		if sid := publication.SID(); !r.asked[sid] {
			if err := publication.SetSubscribed(true); err != nil {
				return err
			}
			r.asked[sid] = true
			// The server would ask for an offer too, a sixth of a second later.
			r.connection.negotiate()
		}
		r.listener.onMuted(identity, publication.IsMuted())
	}
	return nil
}

func (r *liveKitRoom) unsubscribe(identity string) {
	_ = r.connection.setSubscribed(identity, false)
	r.asked = nil
	r.connection.unlisten(r, identity)
}

func (r *liveKitRoom) publish() error {
	audio, err := lksdk.NewLocalTrack(webrtc.RTPCodecCapability{
		MimeType:    webrtc.MimeTypeOpus,
		ClockRate:   rtpClockHz,
		Channels:    2, // of the name in SDP (RFC 7587, section 7), not of the sound
		SDPFmtpLine: "minptime=10;useinbandfec=1",
	})
	if err != nil {
		return err
	}
	r.connection.publishing.Lock()
	defer r.connection.publishing.Unlock()
	if !r.connection.has(r) {
		// The SDK would wait for an answer for seconds, and the next leg after it.
		return errNotPublished
	}
	// Before a track is known to anybody: until then, everybody might subscribe. Once is enough for all.
	if !r.connection.restricted && !r.heardByAll {
		r.connection.restricted = true
		r.allow("")
	}
	_, err = r.connection.room.LocalParticipant.PublishTrack(audio, &lksdk.TrackPublicationOptions{
		Name: "agent", Source: livekit.TrackSource_MICROPHONE,
	})
	if err != nil {
		return err
	}
	r.track.Store(audio)
	if !r.connection.has(r) {
		// It left meanwhile; the others of the connection stay.
		r.connection.unpublishLocked(r.track.Swap(nil))
		return errNotPublished
	}
	return nil
}

func (r *liveKitRoom) allow(identity string) {
	if !r.heardByAll {
		r.connection.permit(r, identity)
	}
}

// ready asks for the connection too: what is written to a bound track before DTLS is up is dropped without a word.
func (r *liveKitRoom) ready() bool {
	audio := r.track.Load()
	if audio == nil || !audio.IsBound() {
		return false
	}
	connection := r.connection.room.LocalParticipant.GetPublisherPeerConnection()
	return connection != nil && connection.ConnectionState() == webrtc.PeerConnectionStateConnected
}

func (r *liveKitRoom) send(packet *rtp.Packet) error {
	audio := r.track.Load()
	if audio == nil {
		return errNotPublished
	}
	return audio.WriteRTP(packet, nil)
}

func (r *liveKitRoom) sendKey(code uint32, digit, identity string) error {
	return r.sendPacket(&livekit.SipDTMF{Code: code, Digit: digit}, identity)
}

func (r *liveKitRoom) sendData(payload []byte, topic, identity string) error {
	return r.sendPacket(&lksdk.UserDataPacket{Payload: payload, Topic: topic}, identity)
}

func (r *liveKitRoom) sendPacket(packet lksdk.DataPacket, identity string) error {
	options := []lksdk.DataPublishOption{lksdk.WithDataPublishReliable(true)}
	if identity != "" {
		options = append(options, lksdk.WithDataPublishDestination([]string{identity}))
	}
	return r.connection.room.LocalParticipant.PublishDataPacket(packet, options...)
}

func (r *liveKitRoom) leave() {
	if r.connection != nil {
		r.sharing.leave(r.connection, r)
	}
}

// described is what the worker is told of a participant.
func described(p *lksdk.RemoteParticipant) participant {
	kind := mediapb.ParticipantJoined_WEBRTC
	switch p.Kind() {
	case lksdk.ParticipantSIP:
		kind = mediapb.ParticipantJoined_PHONE
	case lksdk.ParticipantAgent:
		kind = mediapb.ParticipantJoined_AGENT
	}
	return participant{p.Identity(), kind, p.Attributes()}
}

type remoteTrack struct{ audio *webrtc.TrackRemote }

func (t remoteTrack) read(buf []byte) (int, error) {
	n, _, err := t.audio.Read(buf)
	if err != nil {
		return 0, fmt.Errorf("the track ended: %w", err)
	}
	return n, nil
}
