package phone

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/pion/rtp"

	"github.com/trunkline/trunkline/media-engine/internal/codec"
	"github.com/trunkline/trunkline/media-engine/internal/pcm"
	"github.com/trunkline/trunkline/media-engine/internal/protocol"
	"github.com/trunkline/trunkline/media-engine/internal/wav"
)

func TestACallSpeaksHearsAndTellsWhen(t *testing.T) {
	for _, kind := range codec.All {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			x := newExchange(t)
			recording := t.TempDir() + "/call.wav"
			x.dial(func(d *protocol.Dial) { d.Codecs, d.WAV = []codec.Kind{kind}, recording })
			if got := x.answer(fmt.Sprint(uint8(kind), " 101"), "rtpmap:101 telephone-event/8000"); got.Codec != kind.String() {
				t.Errorf("answered with %q", got.Codec)
			}
			packet(t, x.rtp, of(kind))
			x.do(protocol.Play{ID: "s1", WAV: speech(t, pcm.Wide, 10)})
			said := x.event("play_start")
			if end := x.event("play_end"); *end.SpeechEndUs < said.AtUs+100_000 || end.ID != "s1" {
				t.Errorf("%+v after %+v", end, said)
			}
			decoder, heard := codec.NewDecoder(kind.Rate()), make([]int16, kind.Rate().Frame())
			for pcm.LevelDbfs(heard) < -20 {
				decoder.Decode(heard, codec.Codes(kind, packet(t, x.rtp, of(kind)).Payload))
			}
			x.voice(kind, 25)
			if event := x.event("heard_start"); *event.LevelDbfs < -30 {
				t.Errorf("heard at %.1f dBFS", *event.LevelDbfs)
			}
			x.event("heard_stop")
			x.do(protocol.DTMF{Digits: "5"})
			packet(t, x.rtp, func(p *rtp.Packet) bool { return p.PayloadType == 101 && p.Payload[0] == 5 })
			x.do(protocol.Hangup{})
			x.reply(x.request(sip.BYE), 200, "OK", "")
			ended := x.event("ended")
			if s := ended.Stats; ended.By != protocol.ByCaller || s.Received != 25 || s.Lost != 0 || s.Gaps.Count != 24 || s.Sent < 10 {
				t.Errorf("%+v, %+v", ended, ended.Stats)
			}
			if header := recorded(t, recording); header != int(kind.Rate()) {
				t.Errorf("recorded at %d Hz", header)
			}
		})
	}
}

// recorded is the rate in the header of a recording.
func recorded(t *testing.T, path string) int {
	t.Helper()
	_, err := wav.Read(path)
	var rate int
	if _, scanErr := fmt.Sscanf(fmt.Sprint(err), path+": not mono 16-bit PCM (coding 1, 2 channels, 16 bits, %d Hz)", &rate); scanErr != nil {
		t.Fatalf("recording: %v", err)
	}
	return rate
}

func TestTheFarEndChoosesFromWhatIsOffered(t *testing.T) {
	t.Parallel()
	x := newExchange(t)
	x.dial(func(d *protocol.Dial) { d.Codecs = []codec.Kind{codec.G722, codec.PCMA} })
	if body := string(x.invite.Body()); !strings.Contains(body, " RTP/AVP 9 8 101\r\n") {
		t.Errorf("offered: %s", body)
	}
	if got := x.answer("8"); got.Codec != "PCMA" {
		t.Errorf("answered with %q", got.Codec)
	}
	packet(t, x.rtp, of(codec.PCMA))
	x.voice(codec.PCMA, 15)
	x.event("heard_start")
}

func TestTheFarEndHangsUp(t *testing.T) {
	t.Parallel()
	x := newExchange(t)
	x.dial(nil)
	x.answer("0")
	if response := x.say(sip.BYE, "", ""); response.StatusCode != 200 {
		t.Errorf("BYE: %d", response.StatusCode)
	}
	if ended := x.event("ended"); ended.By != protocol.ByAgent {
		t.Errorf("%+v", ended)
	}
}

func TestEarlyMediaIsHeardBeforeTheAnswer(t *testing.T) {
	t.Parallel()
	x := newExchange(t)
	x.dial(nil)
	x.reply(x.invite, 183, "Session Progress", x.sdp("0"))
	early := x.event("early_media")
	if early.Codec != "PCMU" || early.Status != 183 || early.RecordingUs == 0 {
		t.Errorf("%+v", early)
	}
	x.voice(codec.PCMU, 15)
	x.event("heard_start")
	if answered := x.answer("0"); answered.RecordingUs != early.RecordingUs {
		t.Errorf("the recording starts at %d, not at %d", answered.RecordingUs, early.RecordingUs)
	}
	x.voice(codec.PCMU, 5)
}

func TestRefusalsAreToldWithTheirWords(t *testing.T) {
	for status, reason := range map[int]string{
		403: "Forbidden", 404: "Not Found", 486: "Busy Here", 503: "Service Unavailable", 603: "Decline",
	} {
		t.Run(reason, func(t *testing.T) {
			t.Parallel()
			x := newExchange(t)
			x.dial(nil)
			x.reply(x.invite, 180, "Ringing", "")
			if ringing := x.event("ringing"); ringing.Status != 180 {
				t.Errorf("%+v", ringing)
			}
			x.reply(x.invite, status, reason, "")
			x.request(sip.ACK)
			refused := <-x.events
			if refused.Ev != "refused" || refused.Status != status || refused.Reason != reason {
				t.Errorf("%+v", refused)
			}
		})
	}
}

func TestACallThatNobodyAnswersIsCancelledAndToldSo(t *testing.T) {
	t.Parallel()
	x := newExchange(t)
	x.dial(func(d *protocol.Dial) { d.RingTimeout = 300 * time.Millisecond })
	x.reply(x.invite, 180, "Ringing", "")
	x.event("ringing")
	x.reply(x.request(sip.CANCEL), 200, "OK", "")
	x.reply(x.invite, 487, "Request Terminated", "")
	if failed := <-x.events; failed.Ev != "failed" || failed.Reason != "not answered in 0.3 s" {
		t.Errorf("%+v", failed)
	}
}

func TestADigestIsGivenWhenItIsAskedFor(t *testing.T) {
	t.Parallel()
	x := newExchange(t)
	x.dial(func(d *protocol.Dial) { d.Username, d.Password = "twilio", "secret" })
	challenge := sip.NewResponseFromRequest(x.invite, 407, "Proxy Authentication Required", nil)
	challenge.AppendHeader(sip.NewHeader("Proxy-Authenticate", `Digest realm="r", nonce="n", algorithm=MD5`))
	x.write(challenge.String())
	x.invite = x.request(sip.INVITE)
	header := x.invite.GetHeader("Proxy-Authorization")
	if header == nil || !strings.Contains(header.Value(), `username="twilio"`) || strings.Contains(header.Value(), "secret") {
		t.Fatalf("credentials: %v", header)
	}
	x.answer("0")
}

func TestHoldIsObeyedUntilItEnds(t *testing.T) {
	for _, way := range []direction{sendOnly, inactive} {
		t.Run(string(way), func(t *testing.T) {
			t.Parallel()
			x := newExchange(t)
			x.dial(nil)
			x.answer("0")
			packet(t, x.rtp, of(codec.PCMU))
			held := x.say(sip.INVITE, x.sdp("0", string(way)), "")
			if body := string(held.Body()); held.StatusCode != 200 || !strings.Contains(body, "a="+string(way.mirrored())+"\r\n") {
				t.Errorf("%d: %s", held.StatusCode, body)
			}
			if changed := x.event("media_changed"); changed.Direction != string(way.mirrored()) {
				t.Errorf("%+v", changed)
			}
			x.do(protocol.Play{ID: "s1", WAV: speech(t, pcm.Narrow, 5)})
			if !silent(t, x.rtp) {
				t.Error("it speaks on hold")
			}
			if len(x.events) > 0 {
				t.Errorf("told on hold: %+v", <-x.events)
			}
			x.say(sip.INVITE, x.sdp("0", "sendrecv"), "")
			x.event("media_changed")
			first := packet(t, x.rtp, of(codec.PCMU))
			if !first.Marker {
				t.Error("the first packet after the pause is not marked")
			}
			x.event("play_start") // what was to be said has waited
		})
	}
}

func TestTheFarEndMovesAndChangesItsCodec(t *testing.T) {
	t.Parallel()
	x := newExchange(t)
	x.dial(func(d *protocol.Dial) { d.Codecs = codec.All })
	x.answer("9 0")
	packet(t, x.rtp, of(codec.G722))
	elsewhere := listen(t)
	response := x.say(sip.INVITE, x.sdpAt(elsewhere.LocalAddr().(*net.UDPAddr).AddrPort(), "8 0"), "")
	if body := string(response.Body()); !strings.Contains(body, " RTP/AVP 8\r\n") || !strings.Contains(body, "o=- ") {
		t.Errorf("%s", body)
	}
	if changed := x.event("media_changed"); changed.Codec != "PCMA" {
		t.Errorf("%+v", changed)
	}
	packet(t, elsewhere, of(codec.PCMA))
	if !silent(t, x.rtp) {
		t.Error("it still speaks to where the far end was")
	}
	x.voice(codec.PCMA, 15)
	x.event("heard_start")
}

func TestARefreshChangesNothing(t *testing.T) {
	t.Parallel()
	x := newExchange(t)
	x.dial(nil)
	x.answer("0")
	first := x.say(sip.INVITE, x.sdp("0"), "")
	again := x.say(sip.INVITE, x.sdp("0"), "")
	if first.StatusCode != 200 || string(first.Body()) != string(again.Body()) {
		t.Errorf("%s\n%s", first.Body(), again.Body())
	}
	update := x.say(sip.UPDATE, "", "")
	if update.StatusCode != 200 || len(update.Body()) != 0 {
		t.Errorf("UPDATE: %d %s", update.StatusCode, update.Body())
	}
	packet(t, x.rtp, of(codec.PCMU))
	if len(x.events) > 0 {
		t.Errorf("told: %+v", <-x.events)
	}
}

func TestAReinviteWithoutAnOfferGetsOneAndItsAnswerIsObeyed(t *testing.T) {
	t.Parallel()
	x := newExchange(t)
	x.dial(func(d *protocol.Dial) { d.Codecs = []codec.Kind{codec.PCMU, codec.PCMA} })
	x.answer("0")
	offer := x.say(sip.INVITE, "", x.sdp("8"))
	if body := string(offer.Body()); body != string(x.invite.Body()) {
		t.Errorf("offered %s", body)
	}
	if changed := x.event("media_changed"); changed.Codec != "PCMA" {
		t.Errorf("%+v", changed)
	}
	packet(t, x.rtp, of(codec.PCMA))
}

func TestAnOfferThatCantBeMetIsRefusedAndTheCallGoesOn(t *testing.T) {
	t.Parallel()
	x := newExchange(t)
	x.dial(nil)
	x.answer("0")
	if response := x.say(sip.INVITE, x.sdp("96", "rtpmap:96 opus/48000/2"), ""); response.StatusCode != 488 {
		t.Errorf("%d", response.StatusCode)
	}
	packet(t, x.rtp, of(codec.PCMU))
	x.say(sip.BYE, "", "")
	x.event("ended")
}

func TestVideoIsDeclinedInItsPlace(t *testing.T) {
	t.Parallel()
	to, err := understand([]byte("v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\n"+
		"m=video 5000 RTP/AVP 97\r\nm=audio 4000 RTP/AVP 8 0\r\na=recvonly\r\n"), codec.All)
	if err != nil {
		t.Fatal(err)
	}
	body := near{address: netip.MustParseAddrPort("10.0.0.2:6000"), session: 5, version: 2}.answer(to)
	want := "v=0\r\no=- 5 2 IN IP4 10.0.0.2\r\ns=-\r\nc=IN IP4 10.0.0.2\r\nt=0 0\r\nm=video 0 RTP/AVP 97\r\n" +
		"m=audio 6000 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\na=ptime:20\r\na=sendonly\r\n"
	if body != want {
		t.Errorf("%s", body)
	}
}
