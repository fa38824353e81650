module github.com/trunkline/trunkline/media-engine

go 1.26

require (
	github.com/emiago/sipgo v1.4.0
	github.com/google/uuid v1.6.0
	github.com/icholy/digest v1.1.0
	github.com/pion/rtp v1.10.6
	github.com/pion/sdp/v3 v3.0.19
	golang.org/x/sys v0.24.0
	gopkg.in/hraban/opus.v2 v2.0.0-20230925203106-0188a62cb302
)

require (
	github.com/gobwas/httphead v0.1.0 // indirect
	github.com/gobwas/pool v0.2.1 // indirect
	github.com/gobwas/ws v1.3.2 // indirect
	github.com/pion/randutil v0.1.0 // indirect
	golang.org/x/sync v0.16.0 // indirect
)
