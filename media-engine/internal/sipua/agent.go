package sipua

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
)

const (
	userAgent   = "trunkline-phone"
	defaultPort = 5060
	allow       = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, REFER"
	readBuffer  = 1 << 20

	resolveLimit = 5 * time.Second
)

func init() {
	// An INVITE with a long token and a digest is longer than the 1,300 bytes after which RFC 3261 18.1.1 would switch
	// to TCP; carriers send it in UDP fragments all the same.
	sip.UDPMTUSize = 65_000
	sip.SetDefaultLogger(slog.New(redacting{slog.Default().Handler()}))
}

// Config says where the agent listens.
type Config struct {
	// ListenIP is the local address; not valid: the one from which each destination is reached.
	ListenIP netip.Addr
	// Port is the local SIP port; 0: any free one.
	Port int
}

// Agent owns the SIP sockets, one for each local address in use, and the dialogs on them.
type Agent struct {
	config Config

	mu        sync.Mutex
	endpoints map[netip.Addr]*endpoint
	dialogs   map[string]*Dialog
}

// endpoint is one socket with its transactions.
type endpoint struct {
	local  netip.AddrPort
	socket net.PacketConn
	agent  *sipgo.UserAgent
	client *sipgo.Client
}

// host is the local address as it stands in a URI.
func (e *endpoint) host() string {
	if e.local.Addr().Is6() {
		return "[" + e.local.Addr().String() + "]"
	}
	return e.local.Addr().String()
}

func (e *endpoint) contact() sip.Uri {
	return sip.Uri{Scheme: "sip", User: "phone", Host: e.host(), Port: int(e.local.Port())}
}

// New makes an agent that has no sockets yet.
func New(config Config) *Agent {
	return &Agent{config: config, endpoints: map[netip.Addr]*endpoint{}, dialogs: map[string]*Dialog{}}
}

// Close drops all transactions and sockets; dialogs should have been ended before.
func (a *Agent) Close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range a.endpoints {
		_ = e.agent.Close()
		_ = e.socket.Close()
	}
	clear(a.endpoints)
}

// Prepare finds out where a call goes and from which local address.
func (a *Agent) Prepare(ctx context.Context, target Target) (*Dialog, error) {
	remote, err := resolve(ctx, target.URI)
	if err != nil {
		return nil, err
	}
	local := a.config.ListenIP
	if !local.IsValid() {
		if local, err = localFor(remote); err != nil {
			return nil, err
		}
	}
	e, err := a.endpoint(local)
	if err != nil {
		return nil, err
	}
	return newDialog(a, e, remote, target), nil
}

// resolve finds the address of a URI's host (RFC 3263 without NAPTR: SRV if no port is given, then A and AAAA).
func resolve(ctx context.Context, uri sip.Uri) (netip.AddrPort, error) {
	host, port := trimBrackets(uri.Host), uint16(uri.Port)
	if address, err := netip.ParseAddr(host); err == nil {
		if port == 0 {
			port = defaultPort
		}
		return netip.AddrPortFrom(address.Unmap(), port), nil
	}
	ctx, cancel := context.WithTimeout(ctx, resolveLimit)
	defer cancel()
	if port == 0 {
		port = defaultPort
		if _, records, err := net.DefaultResolver.LookupSRV(ctx, "sip", "udp", host); err == nil && len(records) > 0 {
			host, port = records[0].Target, records[0].Port
		}
	}
	addresses, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("host %s: %w", host, err)
	}
	for _, address := range addresses {
		if address.Unmap().Is4() {
			return netip.AddrPortFrom(address.Unmap(), port), nil
		}
	}
	return netip.AddrPortFrom(addresses[0], port), nil
}

func trimBrackets(host string) string {
	if len(host) > 2 && host[0] == '[' && host[len(host)-1] == ']' {
		return host[1 : len(host)-1]
	}
	return host
}

// localFor asks the kernel from which address it would send there; nothing is sent.
func localFor(remote netip.AddrPort) (netip.Addr, error) {
	probe, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(remote))
	if err != nil {
		return netip.Addr{}, fmt.Errorf("no route to %s: %w", remote, err)
	}
	defer probe.Close()
	return probe.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap(), nil
}

func (a *Agent) endpoint(local netip.Addr) (*endpoint, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if e := a.endpoints[local]; e != nil {
		return e, nil
	}
	socket, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(local, uint16(a.config.Port))))
	if err != nil {
		return nil, fmt.Errorf("SIP can't listen: %w", err)
	}
	_ = socket.SetReadBuffer(readBuffer)
	e, err := a.serve(socket)
	if err != nil {
		return nil, errors.Join(err, socket.Close())
	}
	a.endpoints[local] = e
	return e, nil
}

func (a *Agent) serve(socket *net.UDPConn) (*endpoint, error) {
	ua, err := sipgo.NewUA(sipgo.WithUserAgent(userAgent))
	if err != nil {
		return nil, err
	}
	server, err := sipgo.NewServer(ua)
	if err != nil {
		return nil, err
	}
	client, err := sipgo.NewClient(ua)
	if err != nil {
		return nil, err
	}
	address := socket.LocalAddr().(*net.UDPAddr).AddrPort()
	e := &endpoint{
		local:  netip.AddrPortFrom(address.Addr().Unmap(), address.Port()),
		socket: socket, agent: ua, client: client,
	}
	a.handleRequests(server, e)
	go func() { _ = server.ServeUDP(socket) }()
	// The transport knows the socket only when its reader runs; a request before that would open another one.
	for deadline := time.Now().Add(time.Second); ; time.Sleep(time.Millisecond) {
		if known, err := ua.TransportLayer().GetConnection("udp", e.local.String()); err == nil {
			_, _ = known.TryClose()
			return e, nil
		}
		if time.Now().After(deadline) {
			return nil, errors.New("SIP does not listen")
		}
	}
}

func (a *Agent) add(d *Dialog) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.dialogs[d.callID] = d
}

func (a *Agent) remove(d *Dialog) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.dialogs, d.callID)
}

// find returns the dialog that a request belongs to, or nil.
func (a *Agent) find(req *sip.Request) *Dialog {
	id, to := req.CallID(), req.To()
	if id == nil || to == nil || req.From() == nil || req.CSeq() == nil {
		return nil
	}
	a.mu.Lock()
	d := a.dialogs[id.Value()]
	a.mu.Unlock()
	if tag, _ := to.Params.Get("tag"); d == nil || tag != d.localTag {
		return nil
	}
	return d
}

// redacting keeps SIP messages, which may hold digests and tokens, out of the logs of the SIP library.
type redacting struct{ slog.Handler }

func (h redacting) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelError }

func (h redacting) Handle(ctx context.Context, record slog.Record) error {
	clean := slog.NewRecord(record.Time, slog.LevelWarn, "sip: "+record.Message, record.PC)
	record.Attrs(func(attr slog.Attr) bool {
		if attr.Key == "error" {
			clean.AddAttrs(attr)
		}
		return true
	})
	return h.Handler.Handle(ctx, clean)
}

func (h redacting) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h redacting) WithGroup(string) slog.Handler      { return h }
