package engine

import "github.com/trunkline/trunkline/media-engine/internal/mediapb"

// What a leg does one after the other, each when the one before is done: all of it may wait for the server.

func (l *leg) listenTo(identity string) {
	l.mu.Lock()
	before, visible := l.listening, l.published && !l.hidden
	l.listening = identity
	if before != identity {
		l.muted = false
	}
	l.mu.Unlock()
	if before != "" && before != identity {
		l.room.unsubscribe(before)
		l.ear.forget()
	}
	lead := int64(0)
	if l.company.isPhone(identity) {
		lead = phoneLead
	}
	l.mouth.setLead(lead)
	l.subscribe()
	if visible && before != identity {
		l.room.allow(identity)
	}
}

func (l *leg) subscribe() {
	if identity := l.listeningTo(); identity != "" {
		if err := l.room.subscribe(identity); err != nil {
			l.refuse("can't listen to " + identity + ": " + err.Error())
		}
	}
}

func (l *leg) publish() {
	if l.isPublished() {
		l.refuse("published already")
		return
	}
	if err := l.room.publish(); err != nil {
		l.refuse("can't publish: " + err.Error())
		return
	}
	if err := l.mouth.start(); err != nil {
		l.refuse("can't publish: " + err.Error())
		return
	}
	l.mu.Lock()
	l.published = true
	l.mu.Unlock()
	// Only now: a permission given before does not cover this track.
	l.room.allow(l.listeningTo())
	l.tell(&mediapb.Event{What: &mediapb.Event_Published{Published: &mediapb.Published{}}})
}

func (l *leg) hide() {
	if !l.isPublished() {
		l.refuse("nothing is published that could be hidden")
		return
	}
	l.mu.Lock()
	l.hidden = true
	l.mu.Unlock()
	l.room.allow("")
}

func (l *leg) sendKeys(digits string) {
	identity := l.listeningTo()
	for _, digit := range digits {
		if err := l.room.sendKey(keyCode(digit), string(digit), identity); err != nil {
			l.refuse("can't send DTMF: " + err.Error())
			return
		}
	}
}

func (l *leg) sendData(payload []byte, topic string) {
	if err := l.room.sendData(payload, topic, l.listeningTo()); err != nil {
		l.refuse("can't send data: " + err.Error())
	}
}

// settle makes everything as it was before our connection broke, and looks who is there.
func (l *leg) settle() {
	l.company.found(l.room.present())
	l.subscribe()
	l.mu.Lock()
	visible, identity := l.published && !l.hidden, l.listening
	l.mu.Unlock()
	if visible {
		l.room.allow(identity)
	}
	l.tell(&mediapb.Event{What: &mediapb.Event_Reconnected{Reconnected: &mediapb.Reconnected{}}})
}
