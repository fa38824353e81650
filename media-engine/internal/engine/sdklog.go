package engine

import (
	"context"
	"log/slog"
	"regexp"

	"github.com/livekit/protocol/livekit"
	"github.com/livekit/protocol/logger"
	lksdk "github.com/livekit/server-sdk-go/v2"
)

// restarting is what the SDK says right before it joins a room anew. It has no callback for that: see
// forgetParticipants. The integration test notices if a later version says something else.
const restarting = "restarting connection..."

// configuring is what the SDK says as it takes the server's settings, with the ICE servers among them, right before it
// listens to the server. See noteOffer.
const configuring = "Using ICE servers"

// notedBefore is what it says when it then finds that its offer is noted down already.
const notedBefore = "could not set local description offer"

// aToken is what a token looks like, also one that was cut off: the server repeats those that it refuses.
var aToken = regexp.MustCompile(`eyJ[\w-]*(\.[\w-]*){0,2}`)

// withoutTokens is a text without its secrets.
func withoutTokens(text string) string { return aToken.ReplaceAllString(text, "(token)") }

// RouteSDKLogs sends what LiveKit's SDK has to say to slog, a level lower than the SDK takes it: what matters of it
// comes as events.
func RouteSDKLogs() { lksdk.SetLogger(sdkLogger{}) }

// sdkLogger is the SDK's logger. It keeps values to itself where they could be secrets: whole requests and responses.
type sdkLogger struct {
	onRestart   func()
	onConfigure func([]*livekit.ICEServer)
	with        []any
}

func (l sdkLogger) Debugw(text string, values ...any) {
	if text != configuring || l.onConfigure == nil || len(values) < 2 {
		return
	}
	if servers, ok := values[1].([]*livekit.ICEServer); ok {
		l.onConfigure(servers)
	}
}

func (l sdkLogger) Infow(text string, values ...any) {
	if text == restarting && l.onRestart != nil {
		l.onRestart()
	}
	l.log(slog.LevelDebug, text, nil, values)
}

func (l sdkLogger) Warnw(text string, err error, values ...any) {
	l.log(slog.LevelInfo, text, err, values)
}

func (l sdkLogger) Errorw(text string, err error, values ...any) {
	if text == notedBefore && l.onConfigure != nil {
		return
	}
	l.log(slog.LevelInfo, text, err, values)
}

func (l sdkLogger) WithValues(values ...any) logger.Logger {
	l.with = append(l.with[:len(l.with):len(l.with)], values...)
	return l
}

func (l sdkLogger) WithUnlikelyValues(values ...any) logger.UnlikelyLogger {
	return logger.NewUnlikelyLogger(l, values...)
}

func (l sdkLogger) WithName(string) logger.Logger      { return l }
func (l sdkLogger) WithComponent(string) logger.Logger { return l }
func (l sdkLogger) WithCallDepth(int) logger.Logger    { return l }
func (l sdkLogger) WithItemSampler() logger.Logger     { return l }
func (l sdkLogger) WithoutSampler() logger.Logger      { return l }

func (l sdkLogger) WithDeferredValues() (logger.Logger, logger.DeferredFieldResolver) {
	_, discarded := logger.GetDiscardLogger().WithDeferredValues()
	return l, discarded
}

func (l sdkLogger) log(level slog.Level, text string, err error, values []any) {
	if !slog.Default().Enabled(context.Background(), level) {
		return
	}
	attributes := make([]any, 0, len(l.with)+len(values)+2)
	if err != nil {
		attributes = append(attributes, "error", withoutTokens(err.Error()))
	}
	for _, pairs := range [][]any{l.with, values} {
		for i := 0; i+1 < len(pairs); i += 2 {
			if pairs[i] != "httpResponse" {
				attributes = append(attributes, pairs[i], pairs[i+1])
			}
		}
	}
	slog.Log(context.Background(), level, "livekit: "+text, attributes...)
}
