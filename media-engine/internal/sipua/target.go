// Package sipua is the caller's half of SIP (RFC 3261) over UDP: it places calls with digest authentication, keeps
// their dialogs alive and ends them. Media is the business of its user, who gives and gets SDP as bytes.
package sipua

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/emiago/sipgo/sip"
)

const maxURIBytes = 8 << 10

// Header is one header field that a URI asks for.
type Header struct{ Name, Value string }

// Target is whom to call: where the INVITE goes, and the header fields that the URI wants on it (RFC 3261 19.1.1).
type Target struct {
	URI     sip.Uri
	Headers []Header
}

// ParseTarget splits sip:user@host[:port][;params][?header=value&...].
//
// As Twilio does, only headers whose names start with x- are taken, and User-to-User.
func ParseTarget(text string) (Target, error) {
	if len(text) > maxURIBytes {
		return Target{}, fmt.Errorf("the URI is longer than %d bytes", maxURIBytes)
	}
	for _, c := range text {
		if c <= ' ' || c >= 0x7f || strings.ContainsRune(`<>"`, c) {
			return Target{}, fmt.Errorf("the URI holds the character %q, which must be escaped", c)
		}
	}
	plain, query, _ := strings.Cut(text, "?")
	var target Target
	if err := sip.ParseUri(plain, &target.URI); err != nil {
		return Target{}, fmt.Errorf("not a SIP URI: %w", err)
	}
	uri := &target.URI
	transport, _ := uri.UriParams.Get("transport")
	switch {
	case uri.Scheme != "sip":
		return Target{}, fmt.Errorf("the URI's scheme is %.20q; only sip: over UDP is spoken", uri.Scheme)
	case uri.Host == "" || uri.Wildcard || uri.HierarhicalSlashes:
		return Target{}, errors.New("not a SIP URI: no host")
	case uri.Port < 0 || uri.Port > 65535:
		return Target{}, fmt.Errorf("port %d does not exist", uri.Port)
	case transport != "" && !strings.EqualFold(transport, "udp"):
		return Target{}, fmt.Errorf("transport %.20q is not spoken, only udp", transport)
	}
	var err error
	target.Headers, err = splitHeaders(query)
	return target, err
}

// splitHeaders decodes name=value&name=value.
func splitHeaders(query string) ([]Header, error) {
	var headers []Header
	for part := range strings.SplitSeq(query, "&") {
		if part == "" {
			continue
		}
		rawName, rawValue, _ := strings.Cut(part, "=")
		name, errName := url.PathUnescape(rawName)
		value, errValue := url.PathUnescape(rawValue)
		if errName != nil || errValue != nil {
			return nil, errors.New("a header in the URI is not percent-encoded correctly")
		}
		if !isHeaderName(name) {
			return nil, errors.New("a header in the URI has no valid name")
		}
		if !strings.HasPrefix(strings.ToLower(name), "x-") && !strings.EqualFold(name, "User-to-User") {
			return nil, fmt.Errorf("header %.40q in the URI: only names that start with x- are sent", name)
		}
		for _, c := range []byte(value) {
			if c < ' ' || c == 0x7f {
				return nil, fmt.Errorf("header %.40q in the URI holds a control character", name)
			}
		}
		headers = append(headers, Header{name, value})
	}
	return headers, nil
}

// isHeaderName tells if name is a token (RFC 3261 25.1).
func isHeaderName(name string) bool {
	for _, c := range []byte(name) {
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (c < '0' || c > '9') && !strings.ContainsRune("-.!%*_+`'~", rune(c)) {
			return false
		}
	}
	return name != ""
}
