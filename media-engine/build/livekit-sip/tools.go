//go:build tools

// Package tools pins livekit-sip and all it is made of: go.mod names the version, go.sum the hash of every module.
// `go install` can't do it, as it asks the proxy for a list of versions that there is none of.
package tools

import _ "github.com/livekit/sip/cmd/livekit-sip"
