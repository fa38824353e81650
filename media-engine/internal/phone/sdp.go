package phone

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/pion/sdp/v3"

	"github.com/trunkline/trunkline/media-engine/internal/g711"
)

// eventPayloadType is what we offer for telephone-events.
const eventPayloadType = 101

// far is where the far end wants its audio, and how it wants keys.
type far struct {
	address netip.AddrPort
	// events is the payload type of telephone-events; 0: it takes none.
	events uint8
}

// describe is our session description: one code, telephone-events, 20 ms.
func describe(local netip.AddrPort, law g711.Law, session uint64) []byte {
	family := "IP4"
	if local.Addr().Is6() {
		family = "IP6"
	}
	lines := []string{
		"v=0",
		fmt.Sprintf("o=- %d 1 IN %s %s", session, family, local.Addr()),
		"s=-",
		fmt.Sprintf("c=IN %s %s", family, local.Addr()),
		"t=0 0",
		fmt.Sprintf("m=audio %d RTP/AVP %d %d", local.Port(), law.PayloadType(), eventPayloadType),
		fmt.Sprintf("a=rtpmap:%d %s/8000", law.PayloadType(), law),
		fmt.Sprintf("a=rtpmap:%d telephone-event/8000", eventPayloadType),
		fmt.Sprintf("a=fmtp:%d 0-15", eventPayloadType),
		"a=ptime:20",
		"a=sendrecv",
	}
	return []byte(strings.Join(lines, "\r\n") + "\r\n")
}

// understand reads the far end's description.
func understand(body []byte, law g711.Law) (far, error) {
	var session sdp.SessionDescription
	if err := session.Unmarshal(body); err != nil {
		return far{}, errors.New("the session description can't be read")
	}
	for _, media := range session.MediaDescriptions {
		if media.MediaName.Media != "audio" || media.MediaName.Port.Value == 0 {
			continue
		}
		connection := media.ConnectionInformation
		if connection == nil {
			connection = session.ConnectionInformation
		}
		if connection == nil || connection.Address == nil {
			return far{}, errors.New("the session description names no address")
		}
		host, _, _ := strings.Cut(connection.Address.Address, "/")
		address, err := netip.ParseAddr(host)
		if err != nil || media.MediaName.Port.Value < 0 || media.MediaName.Port.Value > 65535 {
			return far{}, errors.New("the session description names no valid address")
		}
		found := far{address: netip.AddrPortFrom(address.Unmap(), uint16(media.MediaName.Port.Value))}
		spoken := false
		for _, format := range media.MediaName.Formats {
			spoken = spoken || format == strconv.Itoa(int(law.PayloadType()))
		}
		if !spoken {
			return far{}, fmt.Errorf("no common codec: %s was offered", law)
		}
		for _, attribute := range media.Attributes {
			number, name, _ := strings.Cut(attribute.Value, " ")
			if attribute.Key == "rtpmap" && strings.EqualFold(name, "telephone-event/8000") {
				if kind, err := strconv.ParseUint(number, 10, 7); err == nil {
					found.events = uint8(kind)
				}
			}
		}
		return found, nil
	}
	return far{}, errors.New("the session description has no audio")
}
