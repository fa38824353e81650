package phone

import (
	"net/netip"
	"testing"

	"github.com/trunkline/trunkline/media-engine/internal/codec"
	"github.com/trunkline/trunkline/media-engine/internal/protocol"
)

// FuzzDescription: what can be understood can be answered, and our answer understood by ourselves.
func FuzzDescription(f *testing.F) {
	head := "v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\n"
	f.Add([]byte(head + "m=audio 4000 RTP/AVP 9 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\na=sendonly\r\n"))
	f.Add([]byte(head + "m=video 0 RTP/AVP 97\r\nm=audio 4000 RTP/AVP 0\r\nc=IN IP6 ::1\r\na=inactive\r\n"))
	f.Add([]byte(head + "m=audio 65536 RTP/AVP 0\r\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		to, err := understand(body, codec.All)
		if err != nil {
			return
		}
		us := near{address: netip.MustParseAddrPort("127.0.0.1:4000"), session: 1, version: 1}
		back, err := understand([]byte(us.answer(to)), codec.All)
		if err != nil {
			t.Fatalf("our answer to %q: %v", body, err)
		}
		if back.codecs[0] != to.codecs[0] || back.direction.mirrored() != to.direction || len(back.streams) != len(to.streams) {
			t.Fatalf("%+v was answered with %+v", to, back)
		}
	})
}

// FuzzReceive: no datagram hurts, and each is counted.
func FuzzReceive(f *testing.F) {
	f.Add([]byte{0x80, 0, 0, 1, 0, 0, 0, 160, 0, 0, 0, 7, 0xff, 0xfe})
	f.Add([]byte{0x80, 101, 0, 2, 0, 0, 0, 160, 0, 0, 0, 7, 5, 10, 3, 32})
	f.Add([]byte{0xb1, 9, 0, 2, 0, 0, 0, 160, 0, 0, 0, 7, 0, 0, 0, 1, 0xbe, 0xde, 0, 1, 1, 2, 3, 4})
	peer := netip.MustParseAddrPort("127.0.0.1:4000")
	f.Fuzz(func(t *testing.T, bytes []byte) {
		l, err := newLine(peer.Addr(), protocol.Dial{Codecs: codec.All}, func(protocol.Event) {}, peer.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer l.socket.Close()
		to := far{address: peer, codecs: codec.All, events: 101, direction: sendRecv}
		l.far.Store(&to)
		l.receiver.follow(to)
		for at := range int64(3) {
			l.receive(datagram{bytes, peer}, at*frameUs)
			l.hear(make([]int16, l.rate.Frame()))
		}
		if s := l.receiver.stats(); s.Received+s.Invalid != 3 {
			t.Fatalf("%+v", s)
		}
	})
}
