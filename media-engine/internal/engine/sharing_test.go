package engine

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"
)

func tokenOf(claims string) string {
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".signature"
}

func TestATokenTellsItsRoomAndIdentity(t *testing.T) {
	at, err := doorOf("ws://here", tokenOf(`{"sub": "agent", "video": {"room": "r", "agent": true}}`))
	if err != nil || at != (door{"ws://here", "r", "agent"}) {
		t.Fatalf("%v, %v", at, err)
	}
	for _, token := range []string{
		"", "a.b", "a.b.c", "a.!.c", tokenOf(`{}`), tokenOf(`{"sub": "x"}`), tokenOf(`{"video": {"room": "r"}}`),
		tokenOf(`{"sub": 1, "video": {"room": "r"}}`), tokenOf(`[]`), tokenOf(`{"sub": "a", "video": {"room": "r"}} x`),
	} {
		if at, err := doorOf("ws://here", token); err == nil {
			t.Errorf("%q names %v", token, at)
		}
	}
}

func FuzzDoorOf(f *testing.F) {
	f.Add(tokenOf(`{"sub": "agent", "video": {"room": "r"}}`))
	f.Add("e30.e30.")
	f.Fuzz(func(t *testing.T, token string) {
		at, err := doorOf("ws://here", token)
		if err == nil && (at.room == "" || at.identity == "") {
			t.Fatalf("%q names %v", token, at)
		}
	})
}

func TestSecretsStayOutOfTexts(t *testing.T) {
	text := "unauthorized: invalid token: eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl, try again; also eyJhbG"
	if got := withoutTokens(text); got != "unauthorized: invalid token: (token), try again; also (token)" {
		t.Fatal(got)
	}
}

func TestADetailIsCutBetweenCharacters(t *testing.T) {
	rooms := &fakeRooms{prepare: func(r *fakeRoom) {
		r.joinAnswer = make(chan error, 1)
		r.joinAnswer <- errText(strings.Repeat("ä", maxDetail) + "\xff")
	}}
	w := startEngine(t, rooms.make, shortLimits)
	w.tell(1, join("ws://somewhere", "a token"))
	if detail := w.until(1, "disconnected").GetDisconnected().GetDetail(); detail != strings.Repeat("ä", maxDetail/2) {
		t.Fatalf("%q", detail)
	}
}

type errText string

func (e errText) Error() string { return string(e) }

func TestWhoSendsWithoutEndIsThrottled(t *testing.T) {
	var limit throttle
	now := time.Unix(1000, 0)
	passed := 0
	for range 1000 {
		if limit.pass(now) {
			passed++
		}
	}
	if passed != messageBurst {
		t.Fatalf("%d at once", passed)
	}
	for passed = 0; limit.pass(now.Add(time.Second)); passed++ {
	}
	if passed != messageRate {
		t.Fatalf("%d after a second", passed)
	}
}
