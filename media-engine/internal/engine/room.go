package engine

import (
	"context"

	"github.com/pion/rtp"

	"github.com/trunkline/trunkline/media-engine/internal/mediapb"
)

// room is a participant of ours in a room of LiveKit, as its leg sees it; several legs may be the same participant.
type room interface {
	// join enters the room; it may take longer than the context lives. On an error nothing is left in the room.
	join(ctx context.Context, to invitation) error
	// present are the others that are in the room now.
	present() []participant
	// subscribe asks for all audio that this participant has published so far, and tells if it is muted.
	subscribe(identity string) error
	// unsubscribe takes that back.
	unsubscribe(identity string)
	// publish announces our track, which nobody may subscribe to before allow.
	publish() error
	// allow lets this participant subscribe to us, and nobody else; empty: nobody at all.
	allow(identity string)
	// ready tells if a packet that is sent now reaches the network.
	ready() bool
	// send writes a packet of our track.
	send(packet *rtp.Packet) error
	// sendKey sends a key of a telephone to this participant; empty: to all.
	sendKey(code uint32, digit, identity string) error
	// sendData sends a message to this participant; empty: to all.
	sendData(payload []byte, topic, identity string) error
	// leave leaves the room, also after a failed join.
	leave()
}

// participant is somebody else in the room.
type participant struct {
	identity   string
	kind       mediapb.ParticipantJoined_Kind
	attributes map[string]string
}

// track is the audio of a participant: Opus packets.
type track interface {
	// read waits for a packet and fills the buffer; an error is the end of the track.
	read(buf []byte) (int, error)
}

// roomListener is told what happens in the room. None of its functions blocks, or calls the room.
type roomListener interface {
	onJoined(participant)
	// onLeft tells that somebody is not there any more; forGood is false where the connection may be to blame.
	onLeft(identity string, forGood bool)
	// onPublished tells that this participant has audio to subscribe to.
	onPublished(identity string)
	// onTrack hands over audio that was subscribed to.
	onTrack(identity string, audio track)
	// onSubscribed tells that somebody hears our track.
	onSubscribed()
	onKey(identity, digit string)
	onData(identity, topic string, payload []byte)
	onMuted(identity string, muted bool)
	onReconnecting()
	onReconnected()
	// onDisconnected is the end: reason is LiveKit's word, in lower case.
	onDisconnected(reason string, byServer bool)
}

// newRoom makes the room of a leg; another one in tests.
type newRoom func(roomListener) room
