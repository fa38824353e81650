package sipua

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
	"github.com/google/uuid"
)

// Media is the audio side of a call, told of session descriptions that the far end sends while it lasts.
type Media interface {
	// Answer takes an offer and returns the answer to it. An error refuses the offer; the call goes on as it was.
	Answer(offer []byte) ([]byte, error)
	// Offer is told to a far end that asks for one, and Answered what it says to that.
	Offer() []byte
	Answered(answer []byte)
}

// acknowledgement is an ACK of the far end's.
type acknowledgement struct {
	cseq uint32
	body []byte
}

// Dialog is the signalling of one call that we placed.
type Dialog struct {
	agent    *Agent
	endpoint *endpoint
	remote   netip.AddrPort // where the first INVITE goes
	target   Target
	callID   string
	localTag string
	from     sip.FromHeader

	// confirmed is closed when the call is answered and our side is ready for it, ended when the far end hung up.
	confirmed chan struct{}
	ended     chan struct{}
	referred  chan string // bounded; a REFER that does not fit is refused

	mu           sync.Mutex
	cseq         uint32
	remoteCSeq   int64 // highest so far, -1 before the first
	to           sip.ToHeader
	remoteTarget sip.Uri
	routes       []string
	byeReason    string
	hasEnded     bool
	media        Media
	acks         chan acknowledgement
}

func newDialog(agent *Agent, e *endpoint, remote netip.AddrPort, target Target) *Dialog {
	return &Dialog{
		agent: agent, endpoint: e, remote: remote, target: target,
		callID: uuid.NewString(), localTag: sip.GenerateTagN(16),
		confirmed: make(chan struct{}), ended: make(chan struct{}), referred: make(chan string, 1),
		to:   sip.ToHeader{Address: *target.URI.Clone()},
		acks: make(chan acknowledgement, 4), remoteCSeq: -1,
	}
}

// LocalIP is the address that the far end sees, for SIP and for RTP.
func (d *Dialog) LocalIP() netip.Addr { return d.endpoint.local.Addr() }

// RemoteIP is the address the INVITE goes to.
func (d *Dialog) RemoteIP() netip.Addr { return d.remote.Addr() }

// Ended is closed when the far end has hung up.
func (d *Dialog) Ended() <-chan struct{} { return d.ended }

// EndReason is what the far end said about why it hung up; often nothing.
func (d *Dialog) EndReason() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.byeReason
}

// Confirm lets the far end's requests in, after Invite: until then they wait. Once.
func (d *Dialog) Confirm(media Media) {
	d.media = media
	close(d.confirmed)
}

// Close forgets the dialog; nothing is sent.
func (d *Dialog) Close() { d.agent.remove(d) }

// Bye hangs up. An answer that the call is no longer known is as good as one that it ended.
func (d *Dialog) Bye(ctx context.Context) error {
	defer d.Close()
	res, err := d.do(ctx, sip.BYE)
	if err != nil {
		return fmt.Errorf("BYE: %w", err)
	}
	if res.StatusCode >= 300 && res.StatusCode != sip.StatusCallTransactionDoesNotExists && res.StatusCode != sip.StatusRequestTimeout {
		return &Refused{res.StatusCode, res.Reason}
	}
	return nil
}

// Alive asks the far end if the call still exists; any answer but "unknown call" says yes.
func (d *Dialog) Alive(ctx context.Context) error {
	res, err := d.do(ctx, sip.OPTIONS)
	if err != nil {
		return err
	}
	if res.StatusCode == sip.StatusCallTransactionDoesNotExists || res.StatusCode == sip.StatusRequestTimeout {
		return &Refused{res.StatusCode, res.Reason}
	}
	return nil
}

// do sends a request within the dialog, with what dress adds to it, and waits for its final answer.
func (d *Dialog) do(ctx context.Context, method sip.RequestMethod, dress ...func(*sip.Request)) (*sip.Response, error) {
	d.mu.Lock()
	d.cseq++
	req := d.request(method, d.cseq)
	d.mu.Unlock()
	for _, add := range dress {
		add(req)
	}
	tx, err := d.endpoint.client.TransactionRequest(ctx, req, asBuilt)
	if err != nil {
		return nil, err
	}
	defer tx.Terminate()
	for {
		select {
		case res := <-tx.Responses():
			if !res.IsProvisional() {
				return res, nil
			}
		case <-tx.Done():
			return nil, fmt.Errorf("no answer: %w", tx.Err())
		case <-ctx.Done():
			return nil, fmt.Errorf("no answer in time: %w", context.Cause(ctx))
		}
	}
}

// request builds a request within the dialog (RFC 3261 12.2.1.1). d.mu is held.
func (d *Dialog) request(method sip.RequestMethod, cseq uint32) *sip.Request {
	req := sip.NewRequest(method, *d.remoteTarget.Clone())
	d.head(req, cseq)
	for _, route := range d.routes {
		req.AppendHeader(sip.NewHeader("Route", route))
	}
	req.SetBody(nil)
	return req
}

// head appends what every request of ours has. d.mu is held.
func (d *Dialog) head(req *sip.Request, cseq uint32) {
	e := d.endpoint
	via := &sip.ViaHeader{ProtocolName: "SIP", ProtocolVersion: "2.0", Transport: "UDP", Host: e.host(), Port: int(e.local.Port())}
	via.Params.Add("branch", sip.GenerateBranchN(16))
	via.Params.Add("rport", "")
	callID, hops := sip.CallIDHeader(d.callID), sip.MaxForwardsHeader(70)
	req.AppendHeader(via)
	req.AppendHeader(&hops)
	req.AppendHeader(sip.HeaderClone(&d.from))
	req.AppendHeader(sip.HeaderClone(&d.to))
	req.AppendHeader(&callID)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: cseq, MethodName: req.Method})
	req.AppendHeader(&sip.ContactHeader{Address: e.contact()})
	req.AppendHeader(sip.NewHeader("User-Agent", userAgent))
	req.SetTransport("UDP")
	req.Laddr = sip.Addr{IP: net.IP(e.local.Addr().AsSlice()), Port: int(e.local.Port())}
}

// asBuilt tells the SIP library to add nothing to a request.
func asBuilt(*sipgo.Client, *sip.Request) error { return nil }
