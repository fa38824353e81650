package sipua

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"
)

const (
	// answerLimit is how long an INVITE may stay without any answer: 64*T1 (RFC 3261 17.1.1.2).
	answerLimit = 32 * time.Second
	// cancelLimit is how long the final answer to a cancelled INVITE is waited for.
	cancelLimit   = 5 * time.Second
	challengesMax = 3
)

// ErrCancelled is told when the caller hung up before the call was answered.
var ErrCancelled = errors.New("cancelled")

// Refused is a final answer of 300 or more.
type Refused struct {
	Status int
	Reason string
}

func (r *Refused) Error() string { return fmt.Sprintf("%d %s", r.Status, r.Reason) }

// Offer is what an INVITE says.
type Offer struct {
	From     string // number or name of the caller
	Username string
	Password string
	SDP      []byte
	// Progress is told of each provisional answer over 100, with its session description if it has one.
	Progress func(status int, sdp []byte)
}

// Invite places the call and returns the session description of the answer, already acknowledged.
//
// When ctx ends the INVITE is cancelled, and ErrCancelled returned; an answer that crosses it is hung up.
// The error is a *Refused when the far end said no.
func (d *Dialog) Invite(ctx context.Context, offer Offer) ([]byte, error) {
	invite := d.firstInvite(offer)
	d.agent.add(d)
	answer, err := d.negotiate(ctx, invite, offer)
	if err != nil {
		d.Close()
		return nil, err
	}
	return answer.Body(), nil
}

func (d *Dialog) firstInvite(offer Offer) *sip.Request {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cseq = 1
	d.from = sip.FromHeader{Address: sip.Uri{Scheme: "sip", User: escapeUser(offer.From), Host: d.endpoint.host()}}
	d.from.Params.Add("tag", d.localTag)
	d.remoteTarget = *d.target.URI.Clone()
	req := sip.NewRequest(sip.INVITE, *d.target.URI.Clone())
	d.head(req, d.cseq)
	req.AppendHeader(sip.NewHeader("Allow", allow))
	for _, header := range d.target.Headers {
		req.AppendHeader(sip.NewHeader(header.Name, header.Value))
	}
	req.AppendHeader(sip.NewHeader("Content-Type", "application/sdp"))
	req.SetBody(offer.SDP)
	req.SetDestination(d.remote.String())
	return req
}

// negotiate sends the INVITE, again with credentials where it is challenged, until it is answered for good.
func (d *Dialog) negotiate(ctx context.Context, invite *sip.Request, offer Offer) (*sip.Response, error) {
	for attempt := 1; ; attempt++ {
		res, err := d.transact(ctx, invite, offer.Progress)
		if err != nil {
			return nil, err
		}
		if res.IsSuccess() {
			return res, nil
		}
		challenged := res.StatusCode == sip.StatusUnauthorized || res.StatusCode == sip.StatusProxyAuthRequired
		if !challenged || attempt == challengesMax || ctx.Err() != nil {
			return nil, &Refused{res.StatusCode, res.Reason}
		}
		next, err := authorized(invite, res, offer)
		if err != nil {
			return nil, err
		}
		if next == nil {
			return nil, &Refused{res.StatusCode, res.Reason}
		}
		invite = next
		d.mu.Lock()
		d.cseq++
		invite.CSeq().SeqNo = d.cseq
		d.mu.Unlock()
	}
}

// authorized is the INVITE with the answer to a challenge; nil where it was answered before, and not taken.
func authorized(invite *sip.Request, res *sip.Response, offer Offer) (*sip.Request, error) {
	ask, answer := "WWW-Authenticate", "Authorization"
	if res.StatusCode == sip.StatusProxyAuthRequired {
		ask, answer = "Proxy-Authenticate", "Proxy-Authorization"
	}
	header := res.GetHeader(ask)
	if header == nil {
		return nil, fmt.Errorf("%d without a challenge", res.StatusCode)
	}
	challenge, err := digest.ParseChallenge(header.Value())
	if err != nil {
		return nil, fmt.Errorf("%d with a challenge that can't be read", res.StatusCode)
	}
	if offer.Username == "" || (invite.GetHeader(answer) != nil && !challenge.Stale) {
		return nil, nil
	}
	challenge.Algorithm = strings.ToUpper(challenge.Algorithm)
	credentials, err := digest.Digest(challenge, digest.Options{
		Method: sip.INVITE.String(), URI: invite.Recipient.String(), Username: offer.Username, Password: offer.Password,
		GetBody: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(offer.SDP)), nil },
	})
	if err != nil {
		return nil, err
	}
	next := invite.Clone()
	next.RemoveHeader(answer)
	next.AppendHeader(sip.NewHeader(answer, credentials.String()))
	next.Via().Params.Add("branch", sip.GenerateBranchN(16))
	next.Laddr = invite.Laddr
	next.SetDestination(invite.Destination())
	return next, nil
}

// transact sends one INVITE and waits for its final answer; a 2xx is acknowledged, also each time it is repeated.
func (d *Dialog) transact(ctx context.Context, invite *sip.Request, progress func(int, []byte)) (*sip.Response, error) {
	tx, err := d.endpoint.client.TransactionRequest(ctx, invite, asBuilt)
	if err != nil {
		return nil, err
	}
	var acknowledge func() error
	silent := time.NewTimer(answerLimit)
	defer silent.Stop()
	hungUp, sentCancel, provisional := ctx.Done(), false, false
	for {
		select {
		case res := <-tx.Responses():
			if ctx.Err() == nil {
				silent.Stop()
			}
			switch {
			case res.IsProvisional():
				provisional = true
				if res.StatusCode > 100 && ctx.Err() == nil && progress != nil {
					progress(res.StatusCode, res.Body())
				}
			case !res.IsSuccess():
				if ctx.Err() != nil {
					return nil, ErrCancelled
				}
				return res, nil
			default:
				if acknowledge, err = d.establish(invite, res); err != nil {
					return nil, err
				}
				tx.OnRetransmission(func(*sip.Response) { _ = acknowledge() })
				if err := acknowledge(); err != nil {
					return nil, fmt.Errorf("ACK: %w", err)
				}
				if ctx.Err() != nil { // the answer crossed our CANCEL
					return nil, errors.Join(ErrCancelled, d.hangUpCrossed())
				}
				return res, nil
			}
		case <-hungUp:
			hungUp = nil
			silent.Reset(cancelLimit)
		case <-silent.C:
			if ctx.Err() == nil {
				tx.Terminate()
				return nil, fmt.Errorf("no answer to INVITE in %v", answerLimit)
			}
			go d.drain(tx, invite)
			return nil, ErrCancelled
		case <-tx.Done():
			if ctx.Err() != nil {
				return nil, ErrCancelled
			}
			if errors.Is(tx.Err(), sip.ErrTransactionTimeout) {
				return nil, fmt.Errorf("no answer to INVITE in %v", answerLimit)
			}
			return nil, fmt.Errorf("INVITE: %w", tx.Err())
		}
		// A CANCEL may only be sent once something has been answered (RFC 3261 9.1).
		if ctx.Err() != nil && provisional && !sentCancel {
			sentCancel = true
			go d.cancel(invite)
		}
	}
}

// drain watches a cancelled INVITE that got no final answer yet: should it be answered after all, it is hung up.
func (d *Dialog) drain(tx sip.ClientTransaction, invite *sip.Request) {
	defer tx.Terminate()
	limit := time.After(answerLimit)
	for {
		select {
		case res := <-tx.Responses():
			if res.IsSuccess() {
				if acknowledge, err := d.establish(invite, res); err == nil && acknowledge() == nil {
					_ = d.hangUpCrossed()
				}
				return
			}
			if !res.IsProvisional() {
				return
			}
			go d.cancel(invite)
		case <-tx.Done():
			return
		case <-limit:
			return
		}
	}
}

func (d *Dialog) hangUpCrossed() error {
	ctx, cancel := context.WithTimeout(context.Background(), cancelLimit)
	defer cancel()
	return d.Bye(ctx)
}

// cancel sends CANCEL: the INVITE's own Via, From, To, Call-ID and CSeq number (RFC 3261 9.1).
func (d *Dialog) cancel(invite *sip.Request) {
	req := sip.NewRequest(sip.CANCEL, *invite.Recipient.Clone())
	hops := sip.MaxForwardsHeader(70)
	req.AppendHeader(sip.HeaderClone(invite.Via()))
	req.AppendHeader(&hops)
	req.AppendHeader(sip.HeaderClone(invite.From()))
	req.AppendHeader(sip.HeaderClone(invite.To()))
	req.AppendHeader(sip.HeaderClone(invite.CallID()))
	req.AppendHeader(&sip.CSeqHeader{SeqNo: invite.CSeq().SeqNo, MethodName: sip.CANCEL})
	req.SetBody(nil)
	req.SetTransport("UDP")
	req.Laddr = invite.Laddr
	req.SetDestination(d.remote.String())
	ctx, stop := context.WithTimeout(context.Background(), cancelLimit)
	defer stop()
	tx, err := d.endpoint.client.TransactionRequest(ctx, req, asBuilt)
	if err != nil {
		return
	}
	defer tx.Terminate()
	select {
	case <-tx.Responses():
	case <-tx.Done():
	case <-ctx.Done():
	}
}

// establish takes the dialog's state from a 2xx (RFC 3261 12.1.2) and returns what sends its ACK.
func (d *Dialog) establish(invite *sip.Request, res *sip.Response) (func() error, error) {
	to := res.To()
	if to == nil {
		return nil, errors.New("answer without To")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.to = *sip.HeaderClone(to).(*sip.ToHeader)
	if contact := res.Contact(); contact != nil {
		d.remoteTarget = *contact.Address.Clone()
	}
	d.routes = nil
	records := res.GetHeaders("Record-Route")
	for i := len(records) - 1; i >= 0; i-- {
		d.routes = append(d.routes, records[i].Value())
	}
	ack := d.request(sip.ACK, invite.CSeq().SeqNo)
	for _, name := range []string{"Authorization", "Proxy-Authorization"} { // RFC 3261 22.1
		if header := invite.GetHeader(name); header != nil {
			ack.AppendHeader(sip.HeaderClone(header))
		}
	}
	return func() error { return d.endpoint.client.WriteRequest(ack.Clone(), asBuilt) }, nil
}

// escapeUser makes any text fit to be the user part of a URI.
func escapeUser(text string) string {
	var out strings.Builder
	for _, c := range []byte(text) {
		if c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || strings.ContainsRune("-_.!~*'()&=+$,;?/", rune(c)) {
			out.WriteByte(c)
		} else {
			fmt.Fprintf(&out, "%%%02X", c)
		}
	}
	if out.Len() == 0 {
		return "anonymous"
	}
	return out.String()
}
