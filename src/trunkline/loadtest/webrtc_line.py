"""One WebRTC caller: a participant of LiveKit's Python SDK with a microphone and an ear, seen as a line of a phone.

Speech goes straight to the encoder (`queue_size_ms=0`), a frame every 20 ms of the monotonic clock, and silence between
utterances, so that RTP time never stands still (docs/decisions/0002). What the agent says is measured as it arrives.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import wave
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from livekit import rtc

from trunkline.core.errors import CallError, MediaError, Reason, Result, Termination
from trunkline.core.units import FRAME_S, FRAME_SAMPLES, SAMPLE_RATE_HZ, Pcm, s_to_us, samples_to_s
from trunkline.loadtest.ear import CodeEar, Ear, HeardCode
from trunkline.loadtest.pacing import Pacing
from trunkline.loadtest.phone import MAX_EVENTS_WAITING, CallEnded, PhoneEvent, PlayEnd, PlayStart
from trunkline.media.sdk import capture

log = structlog.get_logger()

JOIN_TIMEOUT_S = 10.0
ANSWER_TIMEOUT_S = 20.0
LEAVE_TIMEOUT_S = 2.0

_SILENCE = np.zeros(FRAME_SAMPLES, dtype=np.int16)


class WebRtcLine:
    """One call. Its WAVs are 16 kHz and begin and end with sound.

    Args:
        pacing: Is told of every tick.
        coded: Read the numbers in what is heard.
    """

    def __init__(self, pacing: Pacing, coded: bool = False) -> None:
        self._pacing = pacing
        self._room = rtc.Room()
        self._connecting: asyncio.Future[None] | None = None
        self._source: rtc.AudioSource | None = None
        self._ear = Ear()
        self._code_ear = CodeEar() if coded else None
        self._events: asyncio.Queue[PhoneEvent] = asyncio.Queue(MAX_EVENTS_WAITING)
        self._answered: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._tasks: set[asyncio.Task[None]] = set()
        self._speech: Pcm = _SILENCE[:0]
        self._spoken = 0
        self._name = ""
        self._left = False

    async def join(self, url: str, token: str, _agent_prefix: str = "") -> int:
        """Joins the room and opens the microphone; whatever agent can be heard is its own.

        Returns:
            The instant of the join, in microseconds.

        Raises:
            MediaError: the room can't be joined.
        """
        self._room.on("track_subscribed", self._on_subscribed)
        self._room.on("participant_disconnected", lambda someone: self._on_ended(f"{someone.identity} left"))
        self._room.on("disconnected", self._on_disconnected)
        self._source = rtc.AudioSource(SAMPLE_RATE_HZ, 1, queue_size_ms=0)
        track = rtc.LocalAudioTrack.create_audio_track("caller", self._source)
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE, dtx=True, red=False)
        self._connecting = asyncio.ensure_future(self._room.connect(url, token, rtc.RoomOptions(auto_subscribe=True)))
        try:
            async with asyncio.timeout(JOIN_TIMEOUT_S):
                # A cancelled connect that succeeds later makes the SDK end the whole process, so it is left alone.
                await asyncio.shield(self._connecting)
                joined_us = s_to_us(time.monotonic())
                await self._room.local_participant.publish_track(track, options)
        except TimeoutError as error:
            raise MediaError(f"not in the room within {JOIN_TIMEOUT_S:.0f} s") from error
        except (rtc.ConnectError, rtc.participant.PublishTrackError) as error:
            raise MediaError(f"can't join the room: {error}") from error
        self._spawn(self._pace(self._source))
        return joined_us

    async def answered(self) -> int:
        """Waits for the agent's track; the instant in microseconds. Raises CallError after 20 s."""
        try:
            return await asyncio.wait_for(asyncio.shield(self._answered), ANSWER_TIMEOUT_S)
        except TimeoutError:
            raise CallError(
                f"no agent answered within {ANSWER_TIMEOUT_S:.0f} s",
                Termination(Result.SERVER_ERROR, Reason.NO_AGENT),
            ) from None

    async def play(self, name: str, wav: Path) -> None:
        """Speaks a WAV, from the next tick on; the one before must be over."""
        self._speech, self._spoken, self._name = read_wav(wav), 0, name

    async def event(self) -> PhoneEvent:
        """The next event of this call."""
        return await self._events.get()

    async def hang_up(self) -> CallEnded:
        """Leaves the room, within 8 s."""
        if not self._left:
            self._left = True
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            if self._connecting is not None and not self._connecting.done():
                await asyncio.wait([self._connecting], timeout=LEAVE_TIMEOUT_S)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._room.disconnect(), LEAVE_TIMEOUT_S)
            if self._source is not None:
                await self._source.aclose()
            self._answered.cancel()
        return CallEnded("caller", "hung up")

    async def codes(self) -> list[HeardCode]:
        """See `CallerLine.codes`."""
        return self._code_ear.found if self._code_ear is not None else []

    async def _pace(self, source: rtc.AudioSource) -> None:
        due_at = time.monotonic()
        while True:
            now = time.monotonic()
            self._pacing.tick(due_at, now)
            if now - due_at > 5 * FRAME_S:
                due_at = now  # catching up would only pile audio up at the receiver; the lateness is counted
            await capture(source, self._next_frame(s_to_us(now)))
            due_at += FRAME_S
            await asyncio.sleep(max(0.0, due_at - time.monotonic()))

    def _next_frame(self, now_us: int) -> Pcm:
        """The next 20 ms: of the speech while there is some, else silence."""
        if self._spoken >= self._speech.size:
            return _SILENCE
        if self._spoken == 0:
            self._tell(PlayStart(self._name, now_us))
        frame = self._speech[self._spoken : self._spoken + FRAME_SAMPLES]
        self._spoken += FRAME_SAMPLES
        if self._spoken >= self._speech.size:
            self._tell(PlayEnd(self._name, now_us, now_us + s_to_us(samples_to_s(frame.size))))
            frame = np.concatenate([frame, _SILENCE[frame.size :]])
        return frame

    async def _listen(self, track: rtc.Track) -> None:
        stream = rtc.AudioStream.from_track(
            track=track, sample_rate=SAMPLE_RATE_HZ, num_channels=1, frame_size_ms=20, capacity=10
        )
        try:
            async for heard in stream:
                samples = np.frombuffer(heard.frame.data, dtype=np.int16)
                played_us = s_to_us(time.monotonic() + FRAME_S)  # a frame can be played from now on
                for event in self._ear.listen(samples, played_us):
                    self._tell(event)
                if self._code_ear is not None:
                    self._code_ear.listen(samples, played_us)
        finally:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stream.aclose(), LEAVE_TIMEOUT_S)

    def _on_subscribed(self, track: rtc.Track, _publication: Any, _participant: Any) -> None:
        if track.kind != rtc.TrackKind.KIND_AUDIO or self._left:
            return
        if not self._answered.done():
            self._answered.set_result(s_to_us(time.monotonic()))
        self._spawn(self._listen(track))

    def _on_disconnected(self, reason: Any = None) -> None:
        name = rtc.DisconnectReason.Name(reason).lower() if reason is not None else "connection lost"
        self._on_ended(name)

    def _on_ended(self, reason: str) -> None:
        if not self._answered.done():
            return  # an agent may come and go before another one answers; who waits has a time limit
        self._tell(CallEnded("agent", reason))

    def _tell(self, event: PhoneEvent) -> None:
        """Queues an event; where nobody reads, the oldest is dropped."""
        if self._left:
            return
        if self._events.full():
            self._events.get_nowait()
        self._events.put_nowait(event)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._tell(CallEnded("error", repr(error)))


def read_wav(wav: Path) -> Pcm:
    """The samples of a WAV: int16, mono, 16000 Hz."""
    with wave.open(str(wav)) as source:
        return np.frombuffer(source.readframes(source.getnframes()), dtype=np.int16)
