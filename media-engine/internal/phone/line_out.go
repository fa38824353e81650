package phone

import (
	"github.com/pion/rtp"

	"github.com/trunkline/trunkline/media-engine/internal/codec"
	"github.com/trunkline/trunkline/media-engine/internal/monotime"
	"github.com/trunkline/trunkline/media-engine/internal/protocol"
)

// sender is the RTP stream of a line; the ticker owns it.
type sender struct {
	encoder    *codec.Encoder
	header     rtp.Header
	firstStamp uint32
	keyStamp   uint32
	// marker: the next packet of sound is the first after a pause.
	marker    bool
	sent      int64
	skipped   int64
	maxLateUs int64
}

// speak sends frame n, and leaves the sound that it sent in frame. On hold, what is to be said waits.
func (l *line) speak(n, dueUs int64, frame []int16) {
	to := *l.far.Load()
	if !to.sends() {
		l.sender.marker = true
		return
	}
	u := l.mouth.next(frame)
	muted := false
	if l.mixer != nil {
		_, muted = l.mixer.Mix(frame)
	}
	stamp := l.sender.firstStamp + uint32(n)*codec.FrameBytes
	switch {
	case len(u.keys) > 0 && to.events != 0:
		for _, key := range u.keys {
			if key.First {
				l.sender.keyStamp = stamp
			}
			l.send(to, to.events, l.sender.keyStamp, key.First, key.Payload())
		}
		clear(frame)
		muted = false
	case muted:
		l.sender.marker = true
		clear(frame)
	default:
		kind := to.codecs[0]
		l.send(to, uint8(kind), stamp, l.sender.marker, l.sender.encoder.Encode(kind, frame))
		l.sender.marker = false
	}
	sentUs := monotime.Us()
	l.sender.maxLateUs = max(l.sender.maxLateUs, sentUs-dueUs)
	if u.of != nil {
		l.tellSaid(u, muted, sentUs)
	}
}

// tellSaid tells what a frame of a clip was: its first sound that is sent, its end.
func (l *line) tellSaid(u utterance, muted bool, sentUs int64) {
	clip := u.of
	if u.speech && !muted {
		if !clip.begun {
			clip.begun = true
			offsetUs := int64(0)
			if u.starts {
				offsetUs = l.rate.Us(int64(clip.first % l.rate.Frame()))
			}
			l.tell(protocol.Event{Ev: "play_start", ID: clip.id, AtUs: sentUs, OffsetUs: &offsetUs})
		}
		clip.speechEndUs = sentUs
	}
	if u.done {
		l.tellEnd(clip, sentUs, false)
	}
}

func (l *line) tellEnd(c *clip, atUs int64, stopped bool) {
	event := protocol.Event{Ev: "play_end", ID: c.id, AtUs: atUs, Stopped: &stopped}
	if c.speechEndUs != 0 {
		event.SpeechEndUs = &c.speechEndUs
	}
	l.tell(event)
}

func (l *line) send(to far, kind uint8, stamp uint32, marker bool, payload []byte) {
	header := &l.sender.header
	header.PayloadType, header.Timestamp, header.Marker = kind, stamp, marker
	packet, err := (&rtp.Packet{Header: *header, Payload: payload}).Marshal()
	if err != nil {
		return
	}
	header.SequenceNumber++
	l.sender.sent++
	l.out.push(datagram{packet, to.address}, monotime.Us())
}
