package sipua

import (
	"context"
	"log/slog"
	"time"

	"github.com/emiago/sipgo/sip"
)

// notifyLimit is how long the far end may take to acknowledge what became of its REFER.
const notifyLimit = 4 * time.Second

// Referred tells each address that the far end asks us to call instead of it (RFC 3515). We say that we did, as a
// carrier would that reached it; hanging up is then the far end's part.
func (d *Dialog) Referred() <-chan string { return d.referred }

func (a *Agent) onRefer(req *sip.Request, tx sip.ServerTransaction) {
	d := a.inCall(req, tx)
	if d == nil {
		return
	}
	to := req.GetHeader("Refer-To")
	if to == nil {
		respond(tx, req, sip.StatusBadRequest, "Refer-To is missing", nil)
		return
	}
	select {
	case d.referred <- to.Value():
	default:
		respond(tx, req, sip.StatusTemporarilyUnavailable, "Busy With Another Transfer", nil)
		return
	}
	respond(tx, req, sip.StatusAccepted, "Accepted", nil)
	ctx, cancel := context.WithTimeout(context.Background(), notifyLimit)
	defer cancel()
	if _, err := d.do(ctx, sip.NOTIFY, reached); err != nil {
		slog.Warn("the far end did not take what became of its REFER", "error", err)
	}
}

// reached makes a NOTIFY say that the transfer is done.
func reached(req *sip.Request) {
	req.AppendHeader(sip.NewHeader("Event", "refer"))
	req.AppendHeader(sip.NewHeader("Subscription-State", "terminated;reason=noresource"))
	req.AppendHeader(sip.NewHeader("Content-Type", "message/sipfrag;version=2.0"))
	req.SetBody([]byte("SIP/2.0 200 OK\r\n"))
}
