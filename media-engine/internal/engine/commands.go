package engine

import (
	"encoding/binary"
	"fmt"

	"github.com/trunkline/trunkline/media-engine/internal/mediapb"
	"github.com/trunkline/trunkline/media-engine/internal/monotime"
)

// obey does what a command says, or refuses it; it never waits.
func (e *Engine) obey(command *mediapb.Command) {
	number := command.GetLeg()
	switch do := command.GetDo().(type) {
	case nil:
		e.refuse(number, "a command without anything to do")
	case *mediapb.Command_Join:
		e.join(number, do.Join)
	case *mediapb.Command_AskStats:
		e.tellStats(number)
	case *mediapb.Command_Leave:
		e.leave(number)
	default:
		e.mu.Lock()
		l, gone := e.legs[number], e.gone[number]
		e.mu.Unlock()
		if l == nil {
			// What crossed with Disconnected on the way is nobody's fault.
			if !gone {
				e.refuse(number, "no such leg")
			}
			return
		}
		if over, told := l.ending(); over {
			if told {
				e.refuse(number, "the leg was told to leave")
			}
			return
		}
		if why := act(l, command); why != "" {
			l.refused.Add(1)
			e.refuse(number, why)
		}
	}
}

// act has a leg do something; it tells why it can't.
func act(l *leg, command *mediapb.Command) (why string) {
	switch do := command.GetDo().(type) {
	case *mediapb.Command_Play:
		return play(l, do.Play)
	case *mediapb.Command_End:
		if do.End.GetUtterance() == 0 {
			return "utterances are numbered from 1"
		}
		l.mouth.end(do.End.GetUtterance())
	case *mediapb.Command_Pause:
		l.mouth.pause()
	case *mediapb.Command_Resume:
		l.mouth.resume()
	case *mediapb.Command_Flush:
		l.mouth.flush()
	case *mediapb.Command_ListenTo:
		identity := do.ListenTo.GetIdentity()
		if identity == "" {
			return "nobody to listen to"
		}
		return queue(l, func() { l.listenTo(identity) })
	case *mediapb.Command_Publish:
		return queue(l, l.publish)
	case *mediapb.Command_Hide:
		return queue(l, l.hide)
	case *mediapb.Command_SendDtmf:
		digits, ok := keys(do.SendDtmf.GetDigits())
		if !ok {
			return fmt.Sprintf("DTMF keys are %s, and at most %d", dtmfKeys, maxDtmfDigits)
		}
		return queue(l, func() { l.sendKeys(digits) })
	case *mediapb.Command_Impair:
		return l.impair(do.Impair)
	case *mediapb.Command_SendData:
		payload, topic := do.SendData.GetPayload(), do.SendData.GetTopic()
		if len(payload) > maxDataBytes || len(topic) > maxTopicBytes {
			return fmt.Sprintf("data has at most %d bytes, its topic %d", maxDataBytes, maxTopicBytes)
		}
		return queue(l, func() { l.sendData(payload, topic) })
	default:
		return "an unknown command"
	}
	return ""
}

func play(l *leg, do *mediapb.Play) (why string) {
	bytes := do.GetPcm()
	switch {
	case do.GetUtterance() == 0:
		return "utterances are numbered from 1"
	case len(bytes)%2 != 0:
		return "PCM with half a sample"
	}
	pcm := make([]int16, len(bytes)/2)
	for i := range pcm {
		pcm[i] = int16(binary.LittleEndian.Uint16(bytes[2*i:]))
	}
	l.mouth.play(do.GetUtterance(), pcm)
	return ""
}

func queue(l *leg, job func()) (why string) {
	if !l.do(job) {
		return "too many commands wait"
	}
	return ""
}

func (e *Engine) join(number uint32, do *mediapb.Join) {
	e.mu.Lock()
	why := ""
	switch {
	case number == 0:
		why = "legs are numbered from 1"
	case e.legs[number] != nil || e.gone[number]:
		why = "the number of a leg was used before"
	case do.GetUrl() == "" || do.GetToken() == "":
		why = "a join needs a URL and a token"
	case len(e.legs) >= maxLegs:
		why = "too many legs"
	}
	if why != "" {
		e.mu.Unlock()
		e.refuse(number, why)
		return
	}
	l := newLeg(number, e.rooms, e.config.Jitter, e.limits, e.event, e.ended)
	e.legs[number] = l
	e.ticker.set(e.legs)
	e.mu.Unlock()
	go l.run(invitation{do.GetUrl(), do.GetToken(), do.GetShared()})
}

func (e *Engine) leave(number uint32) {
	e.mu.Lock()
	l, gone := e.legs[number], e.gone[number]
	delete(e.gone, number)
	e.mu.Unlock()
	switch {
	case l != nil:
		if !l.leave() {
			e.refuse(number, "the leg was told to leave")
		}
	case gone:
		e.event(leftEvent(number, nil))
	default:
		e.refuse(number, "no such leg")
	}
}

func (e *Engine) tellStats(number uint32) {
	var stats *mediapb.Stats
	if number == 0 {
		stats = e.stats()
	} else {
		e.mu.Lock()
		l, legs := e.legs[number], len(e.legs)
		e.mu.Unlock()
		if l == nil {
			e.refuse(number, "no such leg")
			return
		}
		stats = e.stamped(l.stats(), legs)
	}
	e.event(&mediapb.Event{Leg: number, AtUs: monotime.Us(), What: &mediapb.Event_Stats{Stats: stats}})
}
