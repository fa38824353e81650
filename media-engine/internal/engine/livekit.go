package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/livekit/protocol/livekit"
	lksdk "github.com/livekit/server-sdk-go/v2"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"github.com/trunkline/trunkline/media-engine/internal/mediapb"
)

var errNotPublished = errors.New("not published")

// toldToLeave are the reasons after which another try is of no use.
var toldToLeave = map[livekit.DisconnectReason]bool{
	livekit.DisconnectReason_DUPLICATE_IDENTITY:  true,
	livekit.DisconnectReason_PARTICIPANT_REMOVED: true,
	livekit.DisconnectReason_ROOM_DELETED:        true,
	livekit.DisconnectReason_ROOM_CLOSED:         true,
}

// mayReturn are the reasons for which somebody is gone without having hung up.
var mayReturn = map[livekit.DisconnectReason]bool{
	livekit.DisconnectReason_SERVER_SHUTDOWN: true,
	livekit.DisconnectReason_MIGRATION:       true,
}

// liveKitRoom is a room of LiveKit, by its Go SDK.
type liveKitRoom struct {
	listener roomListener
	room     *lksdk.Room
	track    atomic.Pointer[lksdk.LocalTrack]
}

func newLiveKitRoom(listener roomListener) room {
	r := &liveKitRoom{listener: listener}
	r.room = lksdk.NewRoom(&lksdk.RoomCallback{
		OnParticipantConnected: func(p *lksdk.RemoteParticipant) { listener.onJoined(described(p)) },
		OnParticipantDisconnected: func(p *lksdk.RemoteParticipant) {
			// Told in a goroutine of its own, perhaps after the same one came back.
			if r.room.GetParticipantByIdentity(p.Identity()) == nil {
				listener.onLeft(p.Identity(), !mayReturn[p.DisconnectReason()])
			}
		},
		OnLocalTrackSubscribed: func(*lksdk.LocalTrackPublication, *lksdk.LocalParticipant) { listener.onSubscribed() },
		OnReconnecting:         listener.onReconnecting,
		OnReconnected:          listener.onReconnected,
		OnDisconnected: func() {
			reason := r.room.DisconnectReason()
			listener.onDisconnected(strings.ToLower(reason.String()), toldToLeave[reason])
		},
		ParticipantCallback: lksdk.ParticipantCallback{
			// The SDK calls this one with its own lock held.
			OnTrackPublished: func(publication *lksdk.RemoteTrackPublication, p *lksdk.RemoteParticipant) {
				if publication.Kind() == lksdk.TrackKindAudio {
					listener.onPublished(p.Identity())
				}
			},
			OnTrackSubscribed: func(audio *webrtc.TrackRemote, _ *lksdk.RemoteTrackPublication, p *lksdk.RemoteParticipant) {
				if strings.EqualFold(audio.Codec().MimeType, webrtc.MimeTypeOpus) {
					listener.onTrack(p.Identity(), remoteTrack{audio})
				}
			},
			OnDataPacket: func(data lksdk.DataPacket, from lksdk.DataReceiveParams) {
				if key, ok := data.(*livekit.SipDTMF); ok {
					listener.onKey(from.SenderIdentity, key.Digit)
				}
			},
		},
	})
	return r
}

func (r *liveKitRoom) join(ctx context.Context, url, token string) error {
	return r.room.JoinWithContextAndToken(ctx, url, token,
		lksdk.WithAutoSubscribe(false), lksdk.WithLogger(sdkLogger{onRestart: r.forgetParticipants}))
}

func (r *liveKitRoom) present() []participant {
	others := r.room.GetRemoteParticipants()
	present := make([]participant, len(others))
	for i, each := range others {
		present[i] = described(each)
	}
	return present
}

func (r *liveKitRoom) subscribe(identity string) error { return r.setSubscribed(identity, true) }

func (r *liveKitRoom) unsubscribe(identity string) { _ = r.setSubscribed(identity, false) }

func (r *liveKitRoom) setSubscribed(identity string, wanted bool) error {
	other := r.room.GetParticipantByIdentity(identity)
	if other == nil {
		return nil
	}
	for _, each := range other.TrackPublications() {
		publication, ok := each.(*lksdk.RemoteTrackPublication)
		if !ok || publication.Kind() != lksdk.TrackKindAudio {
			continue
		}
		if err := publication.SetSubscribed(wanted); err != nil {
			return err
		}
	}
	return nil
}

func (r *liveKitRoom) publish() error {
	// Before the track is known to anybody: until then, everybody might subscribe.
	r.allow("")
	audio, err := lksdk.NewLocalTrack(webrtc.RTPCodecCapability{
		MimeType:    webrtc.MimeTypeOpus,
		ClockRate:   rtpClockHz,
		Channels:    2, // of the name in SDP (RFC 7587, section 7), not of the sound
		SDPFmtpLine: "minptime=10;useinbandfec=1",
	})
	if err != nil {
		return err
	}
	_, err = r.room.LocalParticipant.PublishTrack(audio, &lksdk.TrackPublicationOptions{
		Name: "agent", Source: livekit.TrackSource_MICROPHONE,
	})
	if err != nil {
		return err
	}
	r.track.Store(audio)
	return nil
}

func (r *liveKitRoom) allow(identity string) {
	permission := &livekit.SubscriptionPermission{}
	if identity != "" {
		permission.TrackPermissions = []*livekit.TrackPermission{{ParticipantIdentity: identity, AllTracks: true}}
	}
	r.room.LocalParticipant.SetSubscriptionPermission(permission)
}

// ready asks for the connection too: what is written to a bound track before DTLS is up is dropped without a word.
func (r *liveKitRoom) ready() bool {
	audio := r.track.Load()
	if audio == nil || !audio.IsBound() {
		return false
	}
	connection := r.room.LocalParticipant.GetPublisherPeerConnection()
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
	options := []lksdk.DataPublishOption{lksdk.WithDataPublishReliable(true)}
	if identity != "" {
		options = append(options, lksdk.WithDataPublishDestination([]string{identity}))
	}
	return r.room.LocalParticipant.PublishDataPacket(&livekit.SipDTMF{Code: code, Digit: digit}, options...)
}

func (r *liveKitRoom) leave() { r.room.Disconnect() }

// forgetParticipants makes everybody leave, as the SDK sees it, before it joins anew; who is there comes back with
// that. It does so itself, except where a resumption fails first: then who left meanwhile would stay for ever.
func (r *liveKitRoom) forgetParticipants() {
	for _, each := range r.room.GetRemoteParticipants() {
		r.room.OnParticipantDisconnect(each, livekit.DisconnectReason_UNKNOWN_REASON)
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
