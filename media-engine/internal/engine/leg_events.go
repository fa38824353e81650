package engine

import (
	"github.com/trunkline/trunkline/media-engine/internal/mediapb"
	"github.com/trunkline/trunkline/media-engine/internal/monotime"
	"github.com/trunkline/trunkline/media-engine/internal/utterance"
)

// tell tells the worker of something, unless the leg is over.
func (l *leg) tell(event *mediapb.Event) {
	event.Leg = l.number
	if event.AtUs == 0 {
		event.AtUs = monotime.Us()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.isOver {
		l.report(event)
	}
}

func (l *leg) refuse(why string) {
	l.refused.Add(1)
	l.tell(&mediapb.Event{What: &mediapb.Event_Refused{Refused: &mediapb.Refused{Why: why}}})
}

func (l *leg) tellJoined(who participant) {
	l.tell(&mediapb.Event{What: &mediapb.Event_ParticipantJoined{ParticipantJoined: &mediapb.ParticipantJoined{
		Identity: who.identity, Kind: who.kind, Attributes: who.attributes,
	}}})
}

func (l *leg) tellLeft(identity string) {
	l.tell(&mediapb.Event{What: &mediapb.Event_ParticipantLeft{
		ParticipantLeft: &mediapb.ParticipantLeft{Identity: identity},
	}})
}

func (l *leg) tellUtterance(happened utterance.Event, atUs int64) {
	event := &mediapb.Event{AtUs: atUs}
	switch happened.Kind {
	case utterance.First:
		event.What = &mediapb.Event_FirstPacket{FirstPacket: &mediapb.FirstPacket{Utterance: happened.Utterance}}
	case utterance.Last:
		event.What = &mediapb.Event_LastPacket{
			LastPacket: &mediapb.LastPacket{Utterance: happened.Utterance, Samples: happened.Samples},
		}
	case utterance.Halted:
		event.What = &mediapb.Event_Halted{
			Halted: &mediapb.Halted{Utterance: happened.Utterance, Samples: happened.Samples},
		}
	case utterance.RanDry:
		l.ranDry.Add(1)
		event.What = &mediapb.Event_RanDry{RanDry: &mediapb.RanDry{Utterance: happened.Utterance}}
	}
	l.tell(event)
}

func leftEvent(number uint32, stats *mediapb.Stats) *mediapb.Event {
	return &mediapb.Event{Leg: number, AtUs: monotime.Us(), What: &mediapb.Event_Left{Left: &mediapb.Left{Stats: stats}}}
}
