package engine

import (
	"strings"
	"time"
	"unicode/utf8"

	"github.com/trunkline/trunkline/media-engine/internal/mediapb"
)

// What the room tells a leg. Nothing in here waits, or calls the room: the SDK may hold its locks.

func (l *leg) onJoined(who participant) { l.company.add(who) }

func (l *leg) onLeft(identity string, forGood bool) { l.company.remove(identity, forGood) }

func (l *leg) onPublished(identity string) {
	if identity == l.listeningTo() {
		signal(l.audible)
	}
}

func (l *leg) onTrack(identity string, audio track) {
	if identity == l.listeningTo() {
		go l.ear.follow(audio)
		l.tell(&mediapb.Event{What: &mediapb.Event_Listening{Listening: &mediapb.Listening{}}})
	}
}

func (l *leg) onSubscribed() {
	l.mouth.greet()
	l.tell(&mediapb.Event{What: &mediapb.Event_TrackHeard{TrackHeard: &mediapb.TrackHeard{}}})
}

// onKey tells of a key: of the one we listen to, and of nobody else once there is one.
func (l *leg) onKey(identity, digit string) {
	if listening := l.listeningTo(); listening != "" && listening != identity {
		return
	}
	if key, ok := keys(digit); !ok || len(key) != 1 || !l.messages.pass(time.Now()) {
		l.malformed.Add(1)
		return
	}
	l.tell(&mediapb.Event{What: &mediapb.Event_Dtmf{Dtmf: &mediapb.Dtmf{Digit: digit}}})
}

// onData tells of a message of the one we listen to.
func (l *leg) onData(identity, topic string, payload []byte) {
	if listening := l.listeningTo(); listening != identity {
		return
	}
	if len(payload) > maxDataBytes || len(topic) > maxTopicBytes || !utf8.ValidString(topic) || !l.messages.pass(time.Now()) {
		l.malformed.Add(1)
		return
	}
	l.tell(&mediapb.Event{What: &mediapb.Event_Data{Data: &mediapb.Data{Payload: payload, Topic: topic}}})
}

// onMuted tells when it changes.
func (l *leg) onMuted(identity string, muted bool) {
	l.mu.Lock()
	changed := identity == l.listening && muted != l.muted
	if changed {
		l.muted = muted
	}
	l.mu.Unlock()
	if changed {
		l.tell(&mediapb.Event{What: &mediapb.Event_Muted{Muted: &mediapb.Muted{Muted: muted}}})
	}
}

func (l *leg) onReconnecting() {
	l.company.lost()
	l.tell(&mediapb.Event{What: &mediapb.Event_Reconnecting{Reconnecting: &mediapb.Reconnecting{}}})
}

func (l *leg) onReconnected() { signal(l.returned) }

func (l *leg) onDisconnected(reason string, byServer bool) { l.disconnect(reason, "", byServer) }

// signal never waits: one that was not taken yet says the same.
func signal(to chan struct{}) {
	select {
	case to <- struct{}{}:
	default:
	}
}

// keyCode is a key's number as RFC 4733, section 3.2, counts them.
func keyCode(digit rune) uint32 { return uint32(strings.IndexRune(dtmfKeys, digit)) }

// keys are the digits as they are sent; false where one is none.
func keys(digits string) (string, bool) {
	digits = strings.ToUpper(digits)
	none := strings.TrimLeft(digits, dtmfKeys) != ""
	return digits, !none && digits != "" && len(digits) <= maxDtmfDigits
}
