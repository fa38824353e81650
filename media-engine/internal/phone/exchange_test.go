package phone

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/pion/rtp"

	"github.com/trunkline/trunkline/media-engine/internal/codec"
	"github.com/trunkline/trunkline/media-engine/internal/pcm"
	"github.com/trunkline/trunkline/media-engine/internal/protocol"
	"github.com/trunkline/trunkline/media-engine/internal/sipua"
)

// patience is how long a test waits for what must come.
const patience = 5 * time.Second

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler)) // calls that are still up at a test's end can't be hung up
	os.Exit(m.Run())
}

// exchange is the far end of one call: it says on SIP and RTP what a test tells it to.
type exchange struct {
	t       *testing.T
	sip     *net.UDPConn
	rtp     *net.UDPConn
	events  chan protocol.Event
	phone   *Phone
	invite  *sip.Request
	caller  net.Addr
	tag     string
	cseq    int
	version int
	stream  rtp.Header
}

func listen(t *testing.T) *net.UDPConn {
	t.Helper()
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	return socket
}

func newExchange(t *testing.T) *exchange {
	x := &exchange{
		t: t, sip: listen(t), rtp: listen(t), events: make(chan protocol.Event, 1000), tag: "far",
		stream: rtp.Header{Version: 2, SSRC: 7, SequenceNumber: 65530, Timestamp: 1 << 31},
	}
	x.phone = New(sipua.Config{ListenIP: netip.MustParseAddr("127.0.0.1")}, 10, func(e protocol.Event) { x.events <- e })
	t.Cleanup(func() { x.phone.Close(20 * time.Millisecond) })
	return x
}

// dial has the phone call, and takes its INVITE.
func (x *exchange) dial(change func(*protocol.Dial)) {
	x.t.Helper()
	dial := protocol.Dial{
		URI: "sip:room@" + x.sip.LocalAddr().String(), From: "+15550142", Codecs: []codec.Kind{codec.PCMU}, RingTimeout: time.Minute,
	}
	if change != nil {
		change(&dial)
	}
	x.do(dial)
	x.invite = x.request(sip.INVITE)
}

func (x *exchange) do(what any) {
	x.t.Helper()
	if err := x.phone.Do(protocol.Command{Call: "c1", Do: what}); err != nil {
		x.t.Fatal(err)
	}
}

// message is the next one from the phone that is wanted.
func (x *exchange) message(wanted func(sip.Message) bool) sip.Message {
	x.t.Helper()
	_ = x.sip.SetReadDeadline(time.Now().Add(patience))
	space := make([]byte, 65536)
	for {
		size, from, err := x.sip.ReadFrom(space)
		if err != nil {
			x.t.Fatalf("what is expected on SIP does not come: %v", err)
		}
		message, err := sip.ParseMessage(slices.Clone(space[:size]))
		if err != nil {
			x.t.Fatalf("%v in %s", err, space[:size])
		}
		x.caller = from
		if wanted(message) {
			return message
		}
	}
}

func (x *exchange) request(method sip.RequestMethod) *sip.Request {
	x.t.Helper()
	return x.message(func(m sip.Message) bool {
		request, ok := m.(*sip.Request)
		return ok && request.Method == method
	}).(*sip.Request)
}

func (x *exchange) reply(to *sip.Request, status int, reason, body string) {
	x.t.Helper()
	response := sip.NewResponseFromRequest(to, status, reason, nil)
	if status > 100 {
		response.To().Params.Remove("tag")
		response.To().Params.Add("tag", x.tag)
	}
	if body != "" {
		response.AppendHeader(sip.NewHeader("Content-Type", "application/sdp"))
		response.SetBody([]byte(body))
	}
	response.AppendHeader(sip.NewHeader("Contact", "<sip:far@"+x.sip.LocalAddr().String()+">"))
	x.write(response.String())
}

func (x *exchange) write(text string) {
	x.t.Helper()
	if _, err := x.sip.WriteTo([]byte(text), x.caller); err != nil {
		x.t.Fatal(err)
	}
}

// sdp describes the exchange's own RTP socket.
func (x *exchange) sdp(formats string, attributes ...string) string {
	return x.sdpAt(x.rtp.LocalAddr().(*net.UDPAddr).AddrPort(), formats, attributes...)
}

func (x *exchange) sdpAt(at netip.AddrPort, formats string, attributes ...string) string {
	x.version++
	text := fmt.Sprintf("v=0\r\no=- 1 %d IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 %s\r\nt=0 0\r\nm=audio %d RTP/AVP %s\r\n",
		x.version, at.Addr(), at.Port(), formats)
	for _, attribute := range attributes {
		text += "a=" + attribute + "\r\n"
	}
	return text
}

// answer takes the call in some formats, and returns the event that says so.
func (x *exchange) answer(formats string, attributes ...string) protocol.Event {
	x.t.Helper()
	x.reply(x.invite, 200, "OK", x.sdp(formats, attributes...))
	x.request(sip.ACK)
	return x.event("answered")
}

// say sends a request within the call and returns the answer; an INVITE's is acknowledged, with a body if there is one.
func (x *exchange) say(method sip.RequestMethod, body, ackBody string) *sip.Response {
	x.t.Helper()
	x.cseq++
	x.write(x.compose(method, body))
	response := x.message(func(m sip.Message) bool {
		response, ok := m.(*sip.Response)
		return ok && response.CSeq().MethodName == method && !response.IsProvisional()
	}).(*sip.Response)
	if method == sip.INVITE {
		x.write(x.compose(sip.ACK, ackBody))
	}
	return response
}

func (x *exchange) compose(method sip.RequestMethod, body string) string {
	contact := x.invite.Contact().Address
	lines := []string{
		fmt.Sprintf("%s %s SIP/2.0", method, contact.String()),
		fmt.Sprintf("Via: SIP/2.0/UDP %s;branch=z9hG4bK-%s-%d", x.sip.LocalAddr(), method, x.cseq),
		"Max-Forwards: 70",
		fmt.Sprintf("From: %s;tag=%s", x.invite.To().Address.String(), x.tag),
		"To: " + x.invite.From().Value(),
		"Call-ID: " + x.invite.CallID().Value(),
		fmt.Sprintf("CSeq: %d %s", x.cseq, method),
		fmt.Sprintf("Contact: <sip:far@%s>", x.sip.LocalAddr()),
	}
	if body != "" {
		lines = append(lines, "Content-Type: application/sdp")
	}
	lines = append(lines, fmt.Sprintf("Content-Length: %d", len(body)))
	return strings.Join(lines, "\r\n") + "\r\n\r\n" + body
}

// event is the next one of a kind; a call that ends before is an error.
func (x *exchange) event(kind string) protocol.Event {
	x.t.Helper()
	limit := time.After(patience)
	for {
		select {
		case event := <-x.events:
			if event.Ev == kind {
				return event
			}
			if slices.Contains([]string{"ended", "failed", "refused", "error"}, event.Ev) {
				x.t.Fatalf("waiting for %s: %+v", kind, event)
			}
		case <-limit:
			x.t.Fatalf("no event %s", kind)
		}
	}
}

// packet is the next RTP packet at a socket that is wanted.
func packet(t *testing.T, socket *net.UDPConn, wanted func(*rtp.Packet) bool) *rtp.Packet {
	t.Helper()
	_ = socket.SetReadDeadline(time.Now().Add(patience))
	space := make([]byte, 2048)
	for {
		size, _, err := socket.ReadFrom(space)
		if err != nil {
			t.Fatalf("what is expected on RTP does not come: %v", err)
		}
		packet := &rtp.Packet{}
		if err := packet.Unmarshal(slices.Clone(space[:size])); err != nil {
			t.Fatal(err)
		}
		if wanted(packet) {
			return packet
		}
	}
}

func of(kind codec.Kind) func(*rtp.Packet) bool {
	return func(p *rtp.Packet) bool { return p.PayloadType == uint8(kind) }
}

// silent tells that nothing comes any more to a socket: all that is there already was sent before.
func silent(t *testing.T, socket *net.UDPConn) bool {
	t.Helper()
	space := make([]byte, 2048)
	read := func(limit time.Duration) bool {
		_ = socket.SetReadDeadline(time.Now().Add(limit))
		_, _, err := socket.ReadFrom(space)
		return err == nil
	}
	for read(time.Millisecond) { // what is queued, and a frame that was being sent
	}
	return !read(100 * time.Millisecond)
}

// voice sends frames of a loud tone to the phone, as fast as a telephone does.
func (x *exchange) voice(kind codec.Kind, frames int) {
	x.t.Helper()
	port := x.phonePort()
	encoder := codec.NewEncoder(kind.Rate())
	sound := tone(kind.Rate(), frames*kind.Rate().Frame())
	for start := time.Now(); frames > 0; frames-- {
		packet := rtp.Packet{Header: x.stream, Payload: encoder.Encode(kind, sound[:kind.Rate().Frame()])}
		packet.PayloadType = uint8(kind)
		sound = sound[kind.Rate().Frame():]
		x.stream.SequenceNumber++
		x.stream.Timestamp += codec.FrameBytes
		bytes, err := packet.Marshal()
		if err != nil {
			x.t.Fatal(err)
		}
		if _, err := x.rtp.WriteTo(bytes, port); err != nil {
			x.t.Fatal(err)
		}
		start = start.Add(20 * time.Millisecond)
		time.Sleep(time.Until(start))
	}
}

// phonePort is where the phone's INVITE wants audio.
func (x *exchange) phonePort() net.Addr {
	x.t.Helper()
	to, err := understand(x.invite.Body(), codec.All)
	if err != nil {
		x.t.Fatal(err)
	}
	return net.UDPAddrFromAddrPort(to.address)
}

func tone(rate pcm.Rate, samples int) []int16 {
	out := make([]int16, samples)
	for i := range out {
		out[i] = int16(8000 * math.Sin(2*math.Pi*440*float64(i)/float64(rate)))
	}
	return out
}

// speech is a file of some frames of a tone.
func speech(t *testing.T, rate pcm.Rate, frames int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "speech.wav")
	samples := tone(rate, frames*rate.Frame())
	head := append([]byte("RIFF\x00\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00"), make([]byte, 12)...)
	binary.LittleEndian.PutUint32(head[24:], uint32(rate))
	head[34] = 16
	head = binary.LittleEndian.AppendUint32(append(head, "data"...), uint32(2*len(samples)))
	content, err := binary.Append(head, binary.LittleEndian, samples)
	if err == nil {
		err = os.WriteFile(path, content, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}
