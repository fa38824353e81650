package phone

import (
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
)

func TestATransferIsTakenToldAndSaidToBeDone(t *testing.T) {
	t.Parallel()
	x := newExchange(t)
	x.dial(nil)
	x.answer("0")
	x.cseq++
	x.write(strings.Replace(x.compose(sip.REFER, ""), "Max-Forwards", "Refer-To: <tel:+15550100>\r\nMax-Forwards", 1))
	accepted := x.message(func(m sip.Message) bool {
		response, ok := m.(*sip.Response)
		return ok && response.CSeq().MethodName == sip.REFER
	}).(*sip.Response)
	if accepted.StatusCode != 202 {
		t.Fatalf("REFER: %d", accepted.StatusCode)
	}
	if event := x.event("refer"); event.To != "<tel:+15550100>" {
		t.Errorf("%+v", event)
	}
	notify := x.request(sip.NOTIFY)
	if got := notify.GetHeader("Event").Value() + " " + string(notify.Body()); got != "refer SIP/2.0 200 OK\r\n" {
		t.Errorf("NOTIFY: %q", got)
	}
	x.reply(notify, 200, "OK", "")
	if response := x.say(sip.BYE, "", ""); response.StatusCode != 200 {
		t.Errorf("BYE: %d", response.StatusCode)
	}
}

func TestATransferToNowhereIsRefused(t *testing.T) {
	t.Parallel()
	x := newExchange(t)
	x.dial(nil)
	x.answer("0")
	if response := x.say(sip.REFER, "", ""); response.StatusCode != 400 {
		t.Errorf("REFER: %d", response.StatusCode)
	}
}
