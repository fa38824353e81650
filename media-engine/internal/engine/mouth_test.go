package engine

import (
	"slices"
	"testing"

	"github.com/trunkline/trunkline/media-engine/internal/opus"
	"github.com/trunkline/trunkline/media-engine/internal/utterance"
)

// phone is a leg whose listener is a phone; the test drives it.
type phone struct {
	t *testing.T
	*leg
	room *fakeRoom
	told []utterance.Kind
}

func aPhone(t *testing.T) *phone {
	t.Helper()
	l, r := speaker(t, "")
	p := &phone{t: t, leg: l, room: r}
	l.mouth.tell = func(event utterance.Event, _ int64) { p.told = append(p.told, event.Kind) }
	l.company.add(maria)
	l.listenTo("maria")
	return p
}

// tick speaks once; the packets that come of it must have these times, counted in ticks.
func (p *phone) tick(number int64, want ...int64) {
	p.t.Helper()
	before := len(p.room.packets)
	p.mouth.tick(number, p.room)
	var got []int64
	for _, packet := range p.room.packets[before:] {
		got = append(got, int64(packet.Timestamp-p.mouth.timeBase)/rtpFrameTime)
	}
	if !slices.Equal(got, want) {
		p.t.Fatalf("tick %d sent the times %v, not %v", number, got, want)
	}
}

func (p *phone) wantTold(want ...utterance.Kind) {
	p.t.Helper()
	if !slices.Equal(p.told, want) {
		p.t.Fatalf("told %v, not %v", p.told, want)
	}
	p.told = nil
}

func TestWhatIsSaidToAPhoneIsTwoFramesAhead(t *testing.T) {
	p := aPhone(t)
	for _, utterance := range []uint32{1, 2} {
		p.mouth.play(utterance, tone(5*opus.FrameSamples))
		p.mouth.end(utterance)
		begin := int64(utterance) * 10
		p.tick(begin, begin, begin+1, begin+2)
		p.tick(begin+1, begin+3)
		p.tick(begin+2, begin+4)
		p.tick(begin+3, begin+5) // the two of silence
		p.tick(begin+4, begin+6)
		p.tick(begin + 5)
		p.tick(begin + 9)
	}
	p.wantTold(utterance.First, utterance.Last, utterance.First, utterance.Last)
	for i, packet := range p.room.packets {
		if packet.SequenceNumber != p.room.packets[0].SequenceNumber+uint16(i) || packet.Marker != (i%7 == 0) {
			t.Fatalf("packet %d: number %d, marker %v", i, packet.SequenceNumber, packet.Marker)
		}
	}
}

func TestTheLeadIsTakenAsSoundComes(t *testing.T) {
	p := aPhone(t)
	p.mouth.play(1, tone(opus.FrameSamples))
	p.tick(10, 10)
	p.tick(11, 11) // silence: it has run dry
	p.wantTold(utterance.First, utterance.RanDry)
	p.mouth.play(1, tone(3*opus.FrameSamples))
	p.tick(12, 12, 13, 14)
	p.tick(13)
	p.tick(14)
	p.wantTold()
	p.tick(15, 15)
	p.wantTold(utterance.RanDry)
}

func TestAPauseIsNotHeldUpByTheLead(t *testing.T) {
	p := aPhone(t)
	p.mouth.play(1, tone(20*opus.FrameSamples))
	p.tick(10, 10, 11, 12)
	p.mouth.pause()
	p.wantTold(utterance.First, utterance.Halted)
	p.tick(11, 13) // the fade
	p.tick(12, 14)
	p.tick(13, 15)
	p.tick(14)
	p.mouth.resume()
	p.tick(15, 16, 17)
	p.tick(16, 18)
	p.mouth.flush()
	p.tick(17, 19)
	p.tick(18, 20)
	p.tick(19, 21)
	p.tick(20)
}

func TestATickThatIsMissedIsMadeGood(t *testing.T) {
	p := aPhone(t)
	p.mouth.play(1, tone(20*opus.FrameSamples))
	p.tick(10, 10, 11, 12)
	p.tick(13, 13, 14, 15)
	p.tick(19, 19, 20, 21)
}

func TestAPhoneIsGreetedWithWhatIsMixedAtOnce(t *testing.T) {
	p := aPhone(t)
	p.mouth.greet()
	bursts := map[int64]bool{10: true, 13: true, 16: true, 25: true, 60: true, 160: true}
	for number := int64(10); number < 200; number++ {
		if bursts[number] {
			p.tick(number, number, number+1, number+2)
		} else {
			p.tick(number)
		}
	}
}

func TestOnlyPhonesAreSentAnythingAhead(t *testing.T) {
	p := aPhone(t)
	p.company.add(participant{identity: "juan"})
	p.listenTo("juan")
	p.mouth.play(1, tone(5*opus.FrameSamples))
	p.tick(10, 10)
	p.tick(11, 11)
}
