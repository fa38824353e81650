"""The `sdk` engine: each call is a participant of LiveKit's Python SDK, with direct capture at 16 kHz.

It serves where no native engine is at hand. Frames go straight to the encoder (`queue_size_ms=0`), so the pace is ours:
20 ms a tick on the monotonic clock, at most one frame ahead. The SDK's RTP time stands still while it is fed nothing,
and a receiver takes that for network delay: after a hole of 1.3 s its jitter buffer plays 300 ms late, for good. So
the encoder is fed silence between answers, and its discontinuous transmission (DTX) keeps that from being sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from typing import Any

import numpy as np
import structlog
from livekit import rtc

from trunkline.core.errors import MediaError
from trunkline.core.units import FRAME_S, FRAME_SAMPLES, SAMPLE_RATE_HZ, Pcm
from trunkline.media.engine import (
    MAX_DATA_BYTES,
    MAX_TOPIC_BYTES,
    CallerFrame,
    CallerMuted,
    DataReceived,
    Disconnected,
    DtmfReceived,
    Listening,
    MediaEvent,
    MediaListener,
    MediaStats,
    ParticipantJoined,
    ParticipantKind,
    ParticipantLeft,
    Reconnected,
    Reconnecting,
    RenewToken,
    TrackHeard,
    check_data,
)
from trunkline.media.playout import Playout

log = structlog.get_logger()

JOIN_TIMEOUT_S = 5.0
PUBLISH_TIMEOUT_S = 5.0
LEAVE_TIMEOUT_S = 2.0
CONNECT_END_TIMEOUT_S = 20.0
"""How long a connect that nobody waits for any more may take to end; the SDK itself gives up before."""

# Direct capture takes 10 ms at a time; two of them make one Opus packet.
_CAPTURE_SAMPLES = FRAME_SAMPLES // 2
# The server repeats a token that it refuses, and the SDK what the server said.
_A_TOKEN = re.compile(r"eyJ[\w-]*(\.[\w-]*){0,2}")
_SILENCE = np.zeros(FRAME_SAMPLES, dtype=np.int16)
_KINDS = {
    rtc.ParticipantKind.PARTICIPANT_KIND_SIP: ParticipantKind.PHONE,
    rtc.ParticipantKind.PARTICIPANT_KIND_AGENT: ParticipantKind.AGENT,
}
_GONE_FOR_GOOD = {
    rtc.DisconnectReason.DUPLICATE_IDENTITY,
    rtc.DisconnectReason.PARTICIPANT_REMOVED,
    rtc.DisconnectReason.ROOM_DELETED,
    rtc.DisconnectReason.ROOM_CLOSED,
}


class SdkEngine:
    """All audio of one worker, on LiveKit's Python SDK."""

    name = "sdk"

    def __init__(self) -> None:
        self._legs: set[SdkLeg] = set()
        self._late: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """There is nothing to start."""

    async def join(
        self, url: str, token: str, listener: MediaListener, *, renew: RenewToken | None = None, shared: bool = False
    ) -> SdkLeg:
        """Joins a room within 5 s. See `MediaEngine.join`. Tokens are renewed by the SDK; legs can't be shared."""
        if shared:
            raise MediaError("the sdk engine has a participant for each call: shared rooms need MEDIA_ENGINE=native")
        leg = SdkLeg(listener, on_left=self._legs.discard)
        self._legs.add(leg)
        try:
            await leg.join(url, token)
        except BaseException:
            # It may be in the room all the same, by and by; somebody must see it out.
            leaving = asyncio.get_running_loop().create_task(leg.leave())
            self._late.add(leaving)
            leaving.add_done_callback(self._late.discard)
            raise
        return leg

    async def stats(self) -> MediaStats:
        """How many legs there are; the SDK counts nothing else."""
        return MediaStats(legs=len(self._legs))

    async def close(self) -> None:
        """Leaves all rooms. Joins that were given up are waited for only shortly: the process is about to end."""
        leaving = [asyncio.ensure_future(leg.leave()) for leg in list(self._legs)] + list(self._late)
        if leaving:
            _, unfinished = await asyncio.wait(leaving, timeout=LEAVE_TIMEOUT_S * 2)
            for task in unfinished:
                task.cancel()


class SdkLeg:
    """One participant. See `MediaLeg` for what each method promises.

    Args:
        listener: Is told what happens.
        on_left: Called once with this leg when it has left.
    """

    def __init__(self, listener: MediaListener, on_left: Any) -> None:
        self._listener = listener
        self._on_left = on_left
        self._room = rtc.Room()
        self._connecting: asyncio.Future[None] | None = None
        self._source: rtc.AudioSource | None = None
        self._playout = Playout()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listening_to = ""
        self._reader: asyncio.Task[None] | None = None
        self._left = False
        self.late_ticks = 0

    async def join(self, url: str, token: str) -> None:
        """Connects; participants that are there are told before it returns."""
        self._subscribe_to_events()
        options = rtc.RoomOptions(auto_subscribe=False, dynacast=False)
        self._connecting = asyncio.ensure_future(self._room.connect(url, token, options))
        try:
            async with asyncio.timeout(JOIN_TIMEOUT_S):
                # Never cancelled: a cancelled connect that succeeds later makes the SDK end the whole process.
                await asyncio.shield(self._connecting)
        except (rtc.ConnectError, TimeoutError) as error:
            reason = _A_TOKEN.sub("(token)", str(error)) or "no answer within 5 s"
            raise MediaError(f"can't join the room: {reason}") from error
        for participant in self._room.remote_participants.values():
            self._on_joined(participant)

    async def publish(self) -> None:
        """Publishes the agent's track for the participant that it listens to, and starts the pacer."""
        self._let_hear("")
        self._source = rtc.AudioSource(SAMPLE_RATE_HZ, 1, queue_size_ms=0)
        track = rtc.LocalAudioTrack.create_audio_track("agent", self._source)
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE, dtx=True, red=False)
        try:
            async with asyncio.timeout(PUBLISH_TIMEOUT_S):
                await self._room.local_participant.publish_track(track, options)
            # Only now: a permission given before does not cover this track.
            self._let_hear(self._listening_to)
        except (rtc.participant.PublishTrackError, TimeoutError) as error:
            raise MediaError(f"can't publish: {error or 'no answer within 5 s'}") from error
        self._spawn(self._pace(self._source))

    async def listen_to(self, identity: str) -> None:
        """Subscribes to the participant's microphone, now or when it is published."""
        self._listening_to = identity
        participant = self._room.remote_participants.get(identity)
        for publication in participant.track_publications.values() if participant else ():
            self._on_published(publication, participant)

    def play(self, utterance: int, samples: Pcm) -> None:
        self._playout.play(utterance, samples)

    def end(self, utterance: int) -> None:
        self._playout.end(utterance)

    def pause(self) -> None:
        self._tell_all(self._playout.pause(time.monotonic()))

    def resume(self) -> None:
        self._playout.resume()

    def flush(self) -> None:
        self._tell_all(self._playout.flush(time.monotonic()))

    async def send_dtmf(self, digits: str) -> None:
        """Sends each key as a DTMF message, which livekit-sip turns into RFC 4733 events."""
        codes = {digit: code for code, digit in enumerate("0123456789*#ABCD")}
        for digit in digits.upper():
            if digit not in codes:
                raise MediaError(f"{digit!r} is no DTMF key")
            await self._room.local_participant.publish_dtmf(code=codes[digit], digit=digit)

    async def send_data(self, payload: bytes, topic: str = "") -> None:
        check_data(payload, topic)
        to = [self._listening_to] if self._listening_to else []
        await self._room.local_participant.publish_data(payload, destination_identities=to, topic=topic)

    async def stats(self) -> MediaStats:
        """Only the ticks that came late are counted, and of this leg: the SDK keeps the rest to itself."""
        return MediaStats(late_ticks=self.late_ticks)

    def hide(self) -> None:
        """Takes the caller's permission to hear us."""
        if not self._left and self._source is not None:
            self._let_hear("")

    async def leave(self) -> None:
        """Leaves the room; no event follows."""
        if self._left:
            return
        self._left = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._connecting is not None:
            await asyncio.wait([self._connecting], timeout=CONNECT_END_TIMEOUT_S)
        try:
            async with asyncio.timeout(LEAVE_TIMEOUT_S):
                await self._room.disconnect()
                if self._source is not None:
                    await self._source.aclose()
        except TimeoutError:
            log.warning("leave_timed_out", room=self._room.name)
        self._on_left(self)

    def _let_hear(self, identity: str) -> None:
        """Nobody but this participant may subscribe to us; empty: nobody at all."""
        allowed = [rtc.ParticipantTrackPermission(participant_identity=identity, allow_all=True)] if identity else []
        self._room.local_participant.set_track_subscription_permissions(
            allow_all_participants=False, participant_permissions=allowed
        )

    async def _pace(self, source: rtc.AudioSource) -> None:
        """Feeds the encoder one frame each 20 ms: what waits to be played, else silence."""
        tick_at = time.monotonic()
        while True:
            frame, events = self._playout.next_frame(time.monotonic())
            await capture(source, _SILENCE if frame is None else frame)
            self._tell_all(events)
            tick_at += FRAME_S
            delay_s = tick_at - time.monotonic()
            if delay_s < -5 * FRAME_S:
                # The loop was held up: catching up would only pile audio up at the receiver.
                self.late_ticks += 1
                tick_at = time.monotonic()
            await asyncio.sleep(max(0.0, delay_s))

    async def _read(self, track: rtc.Track) -> None:
        """Hands the caller's frames to the listener. The SDK's stream drops the oldest beyond 10 frames."""
        stream = rtc.AudioStream.from_track(
            track=track, sample_rate=SAMPLE_RATE_HZ, num_channels=1, frame_size_ms=20, capacity=10
        )
        try:
            async for event in stream:
                samples = np.frombuffer(event.frame.data, dtype=np.int16)
                if samples.size == FRAME_SAMPLES:
                    self._listener.on_frame(CallerFrame(time.monotonic(), samples))
        finally:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LEAVE_TIMEOUT_S):
                    await stream.aclose()

    def _subscribe_to_events(self) -> None:
        room = self._room
        room.on("participant_connected", self._on_joined)
        room.on("participant_disconnected", lambda participant: self._tell(ParticipantLeft(participant.identity)))
        room.on("track_published", self._on_published)
        room.on("track_subscribed", self._on_subscribed)
        room.on("local_track_subscribed", lambda _track: self._tell(TrackHeard()))
        room.on("sip_dtmf_received", lambda dtmf: self._tell(DtmfReceived(dtmf.digit)))
        room.on("data_received", self._on_data)
        room.on("track_muted", lambda who, track: self._on_muted(who, track, muted=True))
        room.on("track_unmuted", lambda who, track: self._on_muted(who, track, muted=False))
        room.on("reconnecting", lambda: self._tell(Reconnecting()))
        room.on("reconnected", lambda: self._tell(Reconnected()))
        room.on("disconnected", self._on_disconnected)

    def _on_joined(self, participant: rtc.RemoteParticipant) -> None:
        kind = _KINDS.get(participant.kind, ParticipantKind.WEBRTC)
        self._tell(ParticipantJoined(participant.identity, kind, dict(participant.attributes)))

    def _on_published(self, publication: Any, participant: Any) -> None:
        if participant.identity == self._listening_to and publication.kind == rtc.TrackKind.KIND_AUDIO:
            publication.set_subscribed(True)

    def _on_subscribed(self, track: rtc.Track, _publication: Any, participant: Any) -> None:
        if participant.identity != self._listening_to or track.kind != rtc.TrackKind.KIND_AUDIO:
            return
        if self._reader is not None:
            self._reader.cancel()
        self._reader = self._spawn(self._read(track))
        self._tell(Listening())

    def _on_data(self, packet: rtc.DataPacket) -> None:
        topic = packet.topic or ""
        known = packet.participant is not None and packet.participant.identity == self._listening_to
        if known and len(packet.data) <= MAX_DATA_BYTES and len(topic.encode()) <= MAX_TOPIC_BYTES:
            self._tell(DataReceived(packet.data, topic))

    def _on_muted(self, participant: Any, publication: Any, muted: bool) -> None:
        if participant.identity == self._listening_to and publication.kind == rtc.TrackKind.KIND_AUDIO:
            self._tell(CallerMuted(muted))

    def _on_disconnected(self, reason: Any = None) -> None:
        name = rtc.DisconnectReason.Name(reason) if reason is not None else "unknown"
        self._tell(Disconnected(name.lower(), reason in _GONE_FOR_GOOD))

    def _tell(self, event: MediaEvent) -> None:
        if not self._left:
            self._listener.on_event(event)

    def _tell_all(self, events: list[MediaEvent]) -> None:
        for event in events:
            self._tell(event)

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("media_task_failed", error=repr(error))
            self._tell(Disconnected("engine_failed", by_server=False))


async def capture(source: rtc.AudioSource, frame: Pcm) -> None:
    """Hands 20 ms to an encoder with direct capture: int16, shape (320,), mono, 16000 Hz."""
    for start in (0, _CAPTURE_SAMPLES):
        piece = frame[start : start + _CAPTURE_SAMPLES].tobytes()
        await source.capture_frame(rtc.AudioFrame(piece, SAMPLE_RATE_HZ, 1, _CAPTURE_SAMPLES))
