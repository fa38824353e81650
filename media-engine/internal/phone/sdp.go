package phone

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/pion/sdp/v3"

	"github.com/trunkline/trunkline/media-engine/internal/codec"
)

// eventPayloadType is what we offer for telephone-events.
const eventPayloadType = 101

// direction is who sends, as the side that says it sees it (RFC 3264).
type direction string

const (
	sendRecv direction = "sendrecv"
	sendOnly direction = "sendonly"
	recvOnly direction = "recvonly"
	inactive direction = "inactive"
)

// mirrored is how the other side sees it.
func (d direction) mirrored() direction {
	switch d {
	case sendOnly:
		return recvOnly
	case recvOnly:
		return sendOnly
	}
	return d
}

// far is what the far end wants: where its audio goes, in which codecs, who sends, and how it takes keys.
type far struct {
	address netip.AddrPort
	// codecs are those that we know, in the far end's order. We send in the first.
	codecs []codec.Kind
	// events is the payload type of telephone-events; 0: it takes none.
	events uint8
	// direction is as we see it: sendonly means that only we send.
	direction direction
	// streams are all media of its description, of which number audio is ours; for the answer.
	streams []stream
	audio   int
}

// stream is a medium that we answer with no.
type stream struct{ media, protocol, format string }

// sends tells if we may send to it. The address 0.0.0.0 is an older way to say no (RFC 3264 8.4).
func (f far) sends() bool {
	return (f.direction == sendRecv || f.direction == sendOnly) && !f.address.Addr().IsUnspecified()
}

// near is our side of a session description.
type near struct {
	address netip.AddrPort
	session uint64
	version int
}

// describe is our session description: an offer of codecs, or the answer with one, and 20 ms.
func (n near) describe(codecs []codec.Kind, events uint8, way direction) string {
	return n.head() + n.audio(codecs, events, way)
}

// answer describes our side to a far end, with no to all its media but the one.
func (n near) answer(to far) string {
	text := n.head()
	for i, other := range to.streams {
		if i == to.audio {
			text += n.audio(to.codecs[:1], to.events, to.direction)
		} else {
			text += fmt.Sprintf("m=%s 0 %s %s\r\n", other.media, other.protocol, other.format)
		}
	}
	return text
}

func (n near) family() string {
	if n.address.Addr().Is6() {
		return "IP6"
	}
	return "IP4"
}

func (n near) head() string {
	return fmt.Sprintf("v=0\r\no=- %d %d IN %s %s\r\ns=-\r\nc=IN %[3]s %[4]s\r\nt=0 0\r\n",
		n.session, n.version, n.family(), n.address.Addr())
}

func (n near) audio(codecs []codec.Kind, events uint8, way direction) string {
	var formats, maps []string
	for _, kind := range codecs {
		formats = append(formats, strconv.Itoa(int(kind)))
		maps = append(maps, fmt.Sprintf("a=rtpmap:%d %s/%d", kind, kind, codec.ClockHz))
	}
	if events != 0 {
		formats = append(formats, strconv.Itoa(int(events)))
		maps = append(maps, fmt.Sprintf("a=rtpmap:%d telephone-event/8000", events), fmt.Sprintf("a=fmtp:%d 0-15", events))
	}
	lines := []string{fmt.Sprintf("m=audio %d RTP/AVP %s", n.address.Port(), strings.Join(formats, " "))}
	lines = append(append(lines, maps...), "a=ptime:20", "a="+string(way))
	return strings.Join(lines, "\r\n") + "\r\n"
}

// understand reads the far end's description. The codecs that it may choose from are ours.
func understand(body []byte, ours []codec.Kind) (far, error) {
	var session sdp.SessionDescription
	if err := session.Unmarshal(body); err != nil {
		return far{}, errors.New("the session description can't be read")
	}
	found := far{audio: -1}
	for i, media := range session.MediaDescriptions {
		name := media.MediaName
		protocol := strings.Join(name.Protos, "/")
		if len(name.Formats) == 0 {
			return far{}, errors.New("the session description has media without formats")
		}
		found.streams = append(found.streams, stream{name.Media, protocol, name.Formats[0]})
		if found.audio < 0 && name.Media == "audio" && protocol == "RTP/AVP" && name.Port.Value != 0 {
			found.audio = i
		}
	}
	if found.audio < 0 {
		return far{}, errors.New("the session description has no audio")
	}
	return found, found.read(&session, session.MediaDescriptions[found.audio], ours)
}

func (f *far) read(session *sdp.SessionDescription, media *sdp.MediaDescription, ours []codec.Kind) error {
	connection := media.ConnectionInformation
	if connection == nil {
		connection = session.ConnectionInformation
	}
	if connection == nil || connection.Address == nil {
		return errors.New("the session description names no address")
	}
	host, _, _ := strings.Cut(connection.Address.Address, "/")
	address, err := netip.ParseAddr(host)
	if err != nil || media.MediaName.Port.Value < 0 || media.MediaName.Port.Value > 65535 {
		return errors.New("the session description names no valid address")
	}
	f.address = netip.AddrPortFrom(address.Unmap(), uint16(media.MediaName.Port.Value))
	for _, format := range media.MediaName.Formats {
		number, err := strconv.ParseUint(format, 10, 7)
		if kind := codec.Kind(number); err == nil && slices.Contains(ours, kind) && !slices.Contains(f.codecs, kind) {
			f.codecs = append(f.codecs, kind)
		}
	}
	if len(f.codecs) == 0 {
		return fmt.Errorf("no common codec: we speak %v", ours)
	}
	f.direction = sendRecv
	for _, attribute := range append(slices.Clone(session.Attributes), media.Attributes...) {
		switch way := direction(attribute.Key); way {
		case sendRecv, sendOnly, recvOnly, inactive:
			f.direction = way.mirrored()
		case "rtpmap":
			number, name, _ := strings.Cut(attribute.Value, " ")
			if kind, err := strconv.ParseUint(number, 10, 7); err == nil && strings.EqualFold(name, "telephone-event/8000") {
				f.events = uint8(kind)
			}
		}
	}
	return nil
}
