package sipua

import (
	"fmt"
	"strings"
	"time"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
)

// confirmLimit is how long a request of the far end waits for our side to take in its 200 OK, which it may overtake.
const confirmLimit = 500 * time.Millisecond

// handleRequests answers what the far end sends. Each handler runs in a goroutine of its own.
func (a *Agent) handleRequests(server *sipgo.Server, e *endpoint) {
	server.OnInvite(func(req *sip.Request, tx sip.ServerTransaction) { a.onInvite(req, tx, e) })
	server.OnAck(func(req *sip.Request, _ sip.ServerTransaction) {
		if d := a.find(req); d != nil {
			select {
			case d.acks <- acknowledgement{req.CSeq().SeqNo, req.Body()}:
			default:
			}
		}
	})
	server.OnBye(a.onBye)
	server.OnRefer(a.onRefer)
	server.OnOptions(func(req *sip.Request, tx sip.ServerTransaction) {
		if outsideDialogs(req) || a.find(req) != nil {
			respond(tx, req, sip.StatusOK, "OK", nil, sip.NewHeader("Allow", allow), sip.NewHeader("Accept", "application/sdp"))
		} else {
			unknownCall(tx, req)
		}
	})
	server.OnUpdate(func(req *sip.Request, tx sip.ServerTransaction) {
		if d := a.inCall(req, tx); d != nil {
			res, _ := d.accept(req, e)
			_ = tx.Respond(res)
		}
	})
	server.OnInfo(func(req *sip.Request, tx sip.ServerTransaction) {
		if d := a.inCall(req, tx); d != nil {
			respond(tx, req, sip.StatusOK, "OK", nil)
		}
	})
	server.OnCancel(func(req *sip.Request, tx sip.ServerTransaction) { unknownCall(tx, req) })
	server.OnNoRoute(func(req *sip.Request, tx sip.ServerTransaction) {
		respond(tx, req, sip.StatusMethodNotAllowed, "Method Not Allowed", nil, sip.NewHeader("Allow", allow))
	})
}

func (a *Agent) onBye(req *sip.Request, tx sip.ServerTransaction) {
	d := a.inCall(req, tx)
	if d == nil {
		return
	}
	respond(tx, req, sip.StatusOK, "OK", nil)
	a.remove(d)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.hasEnded {
		return
	}
	d.hasEnded = true
	if reason := req.GetHeader("Reason"); reason != nil {
		d.byeReason = reason.Value()
	}
	close(d.ended)
}

// onInvite answers a re-INVITE, and repeats the answer until it is acknowledged.
func (a *Agent) onInvite(req *sip.Request, tx sip.ServerTransaction, e *endpoint) {
	if outsideDialogs(req) {
		respond(tx, req, sip.StatusTemporarilyUnavailable, "This phone only calls", nil)
		return
	}
	d := a.inCall(req, tx)
	if d == nil {
		return
	}
	res, offered := d.accept(req, e)
	if tx.Respond(res) != nil || !res.IsSuccess() {
		return
	}
	repeat, limit := sip.T1, time.After(64*sip.T1)
	for {
		select {
		case ack := <-d.acks:
			if ack.cseq != req.CSeq().SeqNo {
				continue
			}
			if offered && len(ack.body) > 0 {
				d.media.Answered(ack.body)
			}
			return
		case <-time.After(repeat):
			repeat = min(2*repeat, sip.T2)
			if tx.Respond(res) != nil {
				return
			}
		case <-limit:
			return
		case <-d.ended:
			return
		}
	}
}

// inCall returns the answered call that a request belongs to; if there is none, it has answered the request.
func (a *Agent) inCall(req *sip.Request, tx sip.ServerTransaction) *Dialog {
	d := a.find(req)
	if d != nil {
		select {
		case <-d.confirmed:
		case <-time.After(confirmLimit):
			d = nil
		}
	}
	if d == nil {
		unknownCall(tx, req)
		return nil
	}
	d.mu.Lock()
	stale := int64(req.CSeq().SeqNo) <= d.remoteCSeq
	d.remoteCSeq = max(d.remoteCSeq, int64(req.CSeq().SeqNo))
	d.mu.Unlock()
	if stale {
		respond(tx, req, sip.StatusInternalServerError, "CSeq Out Of Order", nil)
		return nil
	}
	return d
}

// accept builds the answer to a re-INVITE or UPDATE, and follows the far end to where its offer says it is now; it tells
// if the answer makes an offer, which it does to a re-INVITE without one.
func (d *Dialog) accept(req *sip.Request, e *endpoint) (res *sip.Response, offers bool) {
	var body []byte
	switch offer := req.Body(); {
	case len(offer) > 0:
		var err error
		if body, err = d.media.Answer(offer); err != nil {
			res = sip.NewResponseFromRequest(req, sip.StatusNotAcceptableHere, "Not Acceptable Here", nil)
			res.AppendHeader(sip.NewHeader("Warning", fmt.Sprintf("399 %s %q", userAgent, err.Error())))
			return res, false
		}
	case req.Method == sip.INVITE:
		body, offers = d.media.Offer(), true
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if contact := req.Contact(); contact != nil {
		d.remoteTarget = *contact.Address.Clone()
	}
	res = sip.NewResponseFromRequest(req, sip.StatusOK, "OK", nil)
	res.AppendHeader(&sip.ContactHeader{Address: e.contact()})
	res.AppendHeader(sip.NewHeader("Allow", allow))
	// Session timer (RFC 4028): the far end goes on refreshing; we do not offer to.
	if expires := req.GetHeader("Session-Expires"); expires != nil {
		seconds, parameters, _ := strings.Cut(expires.Value(), ";")
		if !strings.Contains(strings.ToLower(parameters), "refresher=uas") {
			res.AppendHeader(sip.NewHeader("Require", "timer"))
			res.AppendHeader(sip.NewHeader("Session-Expires", strings.TrimSpace(seconds)+";refresher=uac"))
		}
	}
	if body != nil {
		res.AppendHeader(sip.NewHeader("Content-Type", "application/sdp"))
		res.SetBody(body)
	}
	return res, offers
}

func outsideDialogs(req *sip.Request) bool {
	to := req.To()
	return to == nil || !to.Params.Has("tag")
}

func unknownCall(tx sip.ServerTransaction, req *sip.Request) {
	respond(tx, req, sip.StatusCallTransactionDoesNotExists, "Call/Transaction Does Not Exist", nil)
}

func respond(tx sip.ServerTransaction, req *sip.Request, status int, reason string, body []byte, headers ...sip.Header) {
	res := sip.NewResponseFromRequest(req, status, reason, body)
	for _, header := range headers {
		res.AppendHeader(header)
	}
	_ = tx.Respond(res)
}
