package engine

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/livekit/protocol/livekit"
	"github.com/livekit/protocol/signalling"
	lksdk "github.com/livekit/server-sdk-go/v2"
	"github.com/pion/interceptor"
	"github.com/pion/interceptor/pkg/report"
	"github.com/pion/webrtc/v4"
)

// reportEvery is the interval of RFC 3550, section 6.2.
const reportEvery = 5 * time.Second

// codecs are the only ones offered. The SDK asks for room for three videos too, and cannot make an offer of none.
var codecs = []livekit.Codec{{Mime: webrtc.MimeTypeOpus}, {Mime: webrtc.MimeTypeVP8}}

// errMuteAnswer is a join's error where the server's answer cannot be followed by another offer: livekit-server turns
// sections down whose codecs it does not enable, without a name, and pion then makes no offer any more.
var errMuteAnswer = errors.New("livekit-server enables no video codec: the next join takes two peer connections")

var errListenedTo = errors.New("another leg of this connection listens to them")

// toldToLeave are the reasons after which another try is of no use.
var toldToLeave = map[livekit.DisconnectReason]bool{
	livekit.DisconnectReason_DUPLICATE_IDENTITY:  true,
	livekit.DisconnectReason_PARTICIPANT_REMOVED: true,
	livekit.DisconnectReason_ROOM_DELETED:        true,
	livekit.DisconnectReason_ROOM_CLOSED:         true,
}

// mayReturn are the reasons for which somebody is gone without having hung up. The first is what LiveKit's Go SDK, also
// that in livekit-sip, says when it joins anew.
var mayReturn = map[livekit.DisconnectReason]bool{
	livekit.DisconnectReason_UNKNOWN_REASON:     true,
	livekit.DisconnectReason_DUPLICATE_IDENTITY: true,
	livekit.DisconnectReason_SERVER_SHUTDOWN:    true,
	livekit.DisconnectReason_STATE_MISMATCH:     true,
	livekit.DisconnectReason_MIGRATION:          true,
	livekit.DisconnectReason_MEDIA_FAILURE:      true,
}

// connection is one participant of ours in one room of LiveKit. It belongs to one leg, or to several that share it:
// then each has a track of its own, and listens to somebody else.
type connection struct {
	shared bool
	// onePeer is true where what is said and heard goes by one peer connection; set by the join.
	onePeer bool
	room    *lksdk.Room
	// onEnd is called when it is out of the room by itself, before its legs are told.
	onEnd  func()
	joined chan struct{} // closed when the join is over
	err    error         // of the join

	// publishing keeps the tracks of several legs from being published at the same time.
	publishing sync.Mutex
	// restricted is true once who may subscribe to us was said for the first time.
	restricted bool
	// permitting keeps an older list of permissions from being sent after a newer one.
	permitting sync.Mutex

	// noted counts the offers of joins, the first one and those from nothing, that noteOffer noted down.
	noted atomic.Int64
	// returns counts reconnections.
	returns atomic.Int64

	mu     sync.Mutex
	legs   []*liveKitRoom
	heard  map[string]*liveKitRoom // who listens to this participant
	hearer map[*liveKitRoom]string // who may hear this leg's track
}

func newConnection(shared bool) *connection {
	c := &connection{
		shared: shared, onEnd: func() {}, joined: make(chan struct{}),
		heard: map[string]*liveKitRoom{}, hearer: map[*liveKitRoom]string{},
	}
	c.room = lksdk.NewRoom(&lksdk.RoomCallback{
		OnParticipantConnected: func(p *lksdk.RemoteParticipant) {
			who := described(p)
			c.each(func(l roomListener) { l.onJoined(who) })
		},
		OnParticipantDisconnected: func(p *lksdk.RemoteParticipant) {
			// Told in a goroutine of its own, perhaps after the same one came back.
			if c.room.GetParticipantByIdentity(p.Identity()) == nil {
				forGood := !mayReturn[p.DisconnectReason()]
				c.each(func(l roomListener) { l.onLeft(p.Identity(), forGood) })
			}
		},
		OnLocalTrackSubscribed: func(publication *lksdk.LocalTrackPublication, _ *lksdk.LocalParticipant) {
			c.subscribed(publication.TrackLocal())
		},
		OnReconnecting: func() { c.each(roomListener.onReconnecting) },
		OnReconnected: func() {
			c.returns.Add(1)
			if c.shared {
				go c.tidy()
			}
			c.each(roomListener.onReconnected)
		},
		OnDisconnected: func() {
			reason := c.room.DisconnectReason()
			c.onEnd()
			c.each(func(l roomListener) { l.onDisconnected(strings.ToLower(reason.String()), toldToLeave[reason]) })
		},
		ParticipantCallback: lksdk.ParticipantCallback{
			// The SDK calls this one with its own lock held.
			OnTrackPublished: func(publication *lksdk.RemoteTrackPublication, p *lksdk.RemoteParticipant) {
				if publication.Kind() == lksdk.TrackKindAudio {
					c.tell(p.Identity(), func(l roomListener) { l.onPublished(p.Identity()) })
				}
			},
			OnTrackSubscribed: func(audio *webrtc.TrackRemote, _ *lksdk.RemoteTrackPublication, p *lksdk.RemoteParticipant) {
				if strings.EqualFold(audio.Codec().MimeType, webrtc.MimeTypeOpus) {
					c.tell(p.Identity(), func(l roomListener) { l.onTrack(p.Identity(), remoteTrack{audio}) })
				}
			},
			OnTrackMuted:   func(track lksdk.TrackPublication, p lksdk.Participant) { c.muted(track, p, true) },
			OnTrackUnmuted: func(track lksdk.TrackPublication, p lksdk.Participant) { c.muted(track, p, false) },
			OnDataPacket:   c.received,
		},
	})
	return c
}

// join enters the room; it may take longer than the context lives.
//
// One peer connection instead of two is half the handshakes, keepalives and memory at both ends; and it is ours to make
// offers, which the server puts off for a sixth of a second.
func (c *connection) join(ctx context.Context, url, token string, onePeer bool) {
	log := sdkLogger{onRestart: c.forgetParticipants}
	options := []lksdk.ConnectOption{
		lksdk.WithAutoSubscribe(false), lksdk.WithInterceptors(reports()), lksdk.WithCodecs(codecs),
	}
	if c.onePeer = onePeer; onePeer {
		log.onConfigure = c.noteOffer
		options = append(options, lksdk.WithSinglePeerConnection())
	}
	options = append(options, lksdk.WithLogger(log))
	c.err = c.room.JoinWithContextAndToken(ctx, url, token, options...)
	if c.err == nil && onePeer && !c.mayOffer() {
		c.err = errMuteAnswer
	}
	if c.err != nil {
		c.onEnd()
	}
	close(c.joined)
}

// noteOffer notes down what the SDK has offered to the server, as it joins. It does so itself a moment after it begins to
// listen to the server, throws an answer away that comes in between, and would wait for it until the join times out.
// As the offer is written anew here, word for word, the SDK's own is refused then, and does no harm.
func (c *connection) noteOffer(servers []*livekit.ICEServer) {
	publisher := c.room.LocalParticipant.GetPublisherPeerConnection()
	if publisher == nil || publisher.LocalDescription() != nil {
		return
	}
	// Candidates are gathered from here on, so that these have to be known.
	err := publisher.SetConfiguration(webrtc.Configuration{ICEServers: signalling.FromProtoIceServers(servers)})
	if err != nil {
		slog.Warn("can't take the server's ICE servers", "error", err)
	}
	offer, err := publisher.CreateOffer(nil)
	if err == nil {
		err = publisher.SetLocalDescription(offer)
	}
	if err != nil {
		slog.Warn("can't note down the offer", "error", err)
		return
	}
	c.noted.Add(1)
}

// mayOffer tells if all sections of the server's answer have a name.
func (c *connection) mayOffer() bool {
	publisher := c.room.LocalParticipant.GetPublisherPeerConnection()
	if publisher == nil || publisher.RemoteDescription() == nil {
		return true
	}
	answer := publisher.RemoteDescription().SDP
	return strings.Count(answer, "\nm=") == strings.Count(answer, "\na=mid:")
}

// negotiate has the SDK make an offer soon, for what the server has to say of a subscription. The SDK has no other way to
// ask for that than a requirement of the server's, of nothing more.
func (c *connection) negotiate() {
	if !c.onePeer {
		return // It is the server's to make offers.
	}
	c.room.OnMediaSectionsRequirement(&livekit.MediaSectionsRequirement{})
}

// reports are all that a voice needs of RTCP. The SDK's own choice adds what only video needs: packets sent again on
// request, and feedback on bandwidth ten times a second, which the server has to decrypt.
func reports() []interceptor.Factory {
	sender, err := report.NewSenderInterceptor(report.SenderInterval(reportEvery))
	receiver, err2 := report.NewReceiverInterceptor(report.ReceiverInterval(reportEvery))
	if err != nil || err2 != nil {
		return nil // The SDK's own.
	}
	return []interceptor.Factory{sender, receiver}
}

// each tells all legs.
func (c *connection) each(tell func(roomListener)) {
	c.mu.Lock()
	legs := slices.Clone(c.legs)
	c.mu.Unlock()
	for _, each := range legs {
		tell(each.listener)
	}
}

// tell tells the leg that listens to this participant; an only leg is told of everybody.
func (c *connection) tell(identity string, tell func(roomListener)) {
	if !c.shared {
		c.each(tell)
		return
	}
	c.mu.Lock()
	leg := c.heard[identity]
	c.mu.Unlock()
	if leg != nil {
		tell(leg.listener)
	}
}

// subscribed tells the leg whose track it is that somebody hears it.
func (c *connection) subscribed(track webrtc.TrackLocal) {
	c.mu.Lock()
	legs := slices.Clone(c.legs)
	c.mu.Unlock()
	for _, each := range legs {
		if own := each.track.Load(); own != nil && own == track {
			each.listener.onSubscribed()
		}
	}
}

func (c *connection) muted(track lksdk.TrackPublication, p lksdk.Participant, muted bool) {
	if track.Kind() == lksdk.TrackKindAudio {
		c.tell(p.Identity(), func(l roomListener) { l.onMuted(p.Identity(), muted) })
	}
}

func (c *connection) received(data lksdk.DataPacket, from lksdk.DataReceiveParams) {
	identity := from.SenderIdentity
	switch data := data.(type) {
	case *livekit.SipDTMF:
		c.tell(identity, func(l roomListener) { l.onKey(identity, data.Digit) })
	case *lksdk.UserDataPacket:
		c.tell(identity, func(l roomListener) { l.onData(identity, data.Topic, data.Payload) })
	}
}

// listen makes this leg the one that listens to this participant.
func (c *connection) listen(leg *liveKitRoom, identity string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if other := c.heard[identity]; other != nil && other != leg {
		return errListenedTo
	}
	if slices.Contains(c.legs, leg) {
		c.heard[identity] = leg
	}
	return nil
}

// unlisten takes that back; false where this leg did not listen to them.
func (c *connection) unlisten(leg *liveKitRoom, identity string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.heard[identity] != leg {
		return false
	}
	delete(c.heard, identity)
	return true
}

// permit lets this participant hear the leg's track, and nobody else; empty: nobody.
func (c *connection) permit(leg *liveKitRoom, identity string) {
	c.permitting.Lock()
	defer c.permitting.Unlock()
	c.mu.Lock()
	if slices.Contains(c.legs, leg) {
		c.hearer[leg] = identity
	}
	c.mu.Unlock()
	// The list replaces the one before, whole.
	c.room.LocalParticipant.SetSubscriptionPermission(&livekit.SubscriptionPermission{TrackPermissions: c.permissions()})
}

func (c *connection) permissions() []*livekit.TrackPermission {
	tracks := c.published()
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []*livekit.TrackPermission
	for leg, identity := range c.hearer {
		switch sid := tracks[leg.track.Load()]; {
		case identity == "":
		case !c.shared:
			// It holds for what the SDK publishes again after a restart of the server, too.
			list = append(list, &livekit.TrackPermission{ParticipantIdentity: identity, AllTracks: true})
		case sid != "":
			at := slices.IndexFunc(list, func(p *livekit.TrackPermission) bool { return p.ParticipantIdentity == identity })
			if at < 0 {
				at, list = len(list), append(list, &livekit.TrackPermission{ParticipantIdentity: identity})
			}
			list[at].TrackSids = append(list[at].TrackSids, sid)
		}
	}
	return list
}

// published are our tracks by what the server calls them now: it is another name after each rejoin.
func (c *connection) published() map[*lksdk.LocalTrack]string {
	sids := map[*lksdk.LocalTrack]string{}
	for _, each := range c.room.LocalParticipant.TrackPublications() {
		if publication, ok := each.(*lksdk.LocalTrackPublication); ok {
			if track, ok := publication.TrackLocal().(*lksdk.LocalTrack); ok {
				sids[track] = publication.SID()
			}
		}
	}
	return sids
}

// tidy takes back tracks of legs that left while the SDK was publishing all of them again.
func (c *connection) tidy() {
	c.publishing.Lock()
	defer c.publishing.Unlock()
	sids := c.published()
	c.mu.Lock()
	for _, each := range c.legs {
		delete(sids, each.track.Load())
	}
	c.mu.Unlock()
	for _, sid := range sids {
		_ = c.room.LocalParticipant.UnpublishTrack(sid)
	}
}

// add makes the connection serve this leg, too.
func (c *connection) add(leg *liveKitRoom) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.legs = append(c.legs, leg)
}

// remove ends that; last is true where no other leg is left.
func (c *connection) remove(leg *liveKitRoom) (last bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.legs = slices.DeleteFunc(c.legs, func(each *liveKitRoom) bool { return each == leg })
	delete(c.hearer, leg)
	return len(c.legs) == 0
}

// withdraw takes what a leg that was removed has left in the room: its track, and what it listens to.
func (c *connection) withdraw(leg *liveKitRoom) {
	c.mu.Lock()
	var heard []string
	for identity, by := range c.heard {
		if by == leg {
			heard = append(heard, identity)
		}
	}
	c.mu.Unlock()
	for _, identity := range heard {
		_ = c.setSubscribed(identity, false)
		c.unlisten(leg, identity)
	}
	c.publishing.Lock()
	c.unpublishLocked(leg.track.Swap(nil))
	c.publishing.Unlock()
	leg.allow("")
}

func (c *connection) unpublishLocked(track *lksdk.LocalTrack) {
	if track == nil {
		return
	}
	if sid := c.published()[track]; sid != "" {
		_ = c.room.LocalParticipant.UnpublishTrack(sid)
	}
}

func (c *connection) has(leg *liveKitRoom) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Contains(c.legs, leg)
}

func (c *connection) setSubscribed(identity string, wanted bool) error {
	for _, publication := range c.audioOf(identity) {
		if err := publication.SetSubscribed(wanted); err != nil {
			return err
		}
	}
	return nil
}

// audioOf is the audio that a participant has published so far.
func (c *connection) audioOf(identity string) (audio []*lksdk.RemoteTrackPublication) {
	other := c.room.GetParticipantByIdentity(identity)
	if other == nil {
		return nil
	}
	for _, each := range other.TrackPublications() {
		if publication, ok := each.(*lksdk.RemoteTrackPublication); ok && publication.Kind() == lksdk.TrackKindAudio {
			audio = append(audio, publication)
		}
	}
	return audio
}

// forgetParticipants makes everybody leave, as the SDK sees it, before it joins anew; who is there comes back with
// that. It does so itself, except where a resumption fails first: then who left meanwhile would stay for ever.
func (c *connection) forgetParticipants() {
	for _, each := range c.room.GetRemoteParticipants() {
		c.room.OnParticipantDisconnect(each, livekit.DisconnectReason_UNKNOWN_REASON)
	}
}
