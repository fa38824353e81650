package sipua

import (
	"strings"
	"testing"
)

func TestATargetIsSplitIntoUriAndHeaders(t *testing.T) {
	target, err := ParseTarget("sip:room-CA1@127.0.0.1:5070;transport=udp?x-call-token=a%2Bb&X-Empty=")
	if err != nil {
		t.Fatal(err)
	}
	if target.URI.User != "room-CA1" || target.URI.Port != 5070 {
		t.Errorf("%+v", target.URI)
	}
	want := []Header{{"x-call-token", "a+b"}, {"X-Empty", ""}}
	if len(target.Headers) != 2 || target.Headers[0] != want[0] || target.Headers[1] != want[1] {
		t.Errorf("%+v", target.Headers)
	}
}

func TestATargetThatCantBeCalledIsNamed(t *testing.T) {
	for text, want := range map[string]string{
		"":                           "not a SIP URI",
		"tel:+15550100":              "",
		"sips:a@b":                   "only sip: over UDP",
		"sip:a@b;transport=tcp":      "only udp",
		"sip:a@b:99999":              "port",
		"sip:a b@c":                  "must be escaped",
		"sip:a@b?Via=x":              "only names that start with x-",
		"sip:a@b?x-a=%0d%0aVia:%20x": "control character",
		"sip:a@b?x-a=%zz":            "percent-encoded",
		"sip:a@b?x%20a=1":            "valid name",
		"sip:a@" + strings.Repeat("b", maxURIBytes): "longer than",
	} {
		if _, err := ParseTarget(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: %v", text, err)
		}
	}
}

// FuzzTarget: no header can be smuggled into a request, however a URI is written.
func FuzzTarget(f *testing.F) {
	f.Add("sip:room@127.0.0.1:5060?x-call-token=abc&x-b=%20")
	f.Add("sip:%00@[::1];transport=UDP?X-%41=1")
	f.Fuzz(func(t *testing.T, text string) {
		target, err := ParseTarget(text)
		if err != nil {
			return
		}
		for _, header := range target.Headers {
			if strings.ContainsAny(header.Name+header.Value, "\r\n") {
				t.Fatalf("%+v", header)
			}
		}
		if strings.ContainsAny(target.URI.String(), "\r\n <>") {
			t.Fatalf("%q", target.URI.String())
		}
	})
}

// FuzzEscapeUser: whatever a caller is named, its From header stays one.
func FuzzEscapeUser(f *testing.F) {
	f.Add("+15550142")
	f.Add("a\r\nVia: b@c>;tag=")
	f.Fuzz(func(t *testing.T, text string) {
		if user := escapeUser(text); user == "" || strings.ContainsAny(user, "\r\n @<>\"") {
			t.Fatalf("%q", user)
		}
	})
}
