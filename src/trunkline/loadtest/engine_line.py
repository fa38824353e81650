"""One WebRTC caller on the native media engine, seen as a line of a phone.

The engine carries all callers of a process: it paces and encodes what they say, and its own clock tells when the first
packet went out. Here a caller only listens. It costs a tenth of a caller on the Python SDK (`webrtc_line.py`).
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TypeVar

from trunkline.core.errors import CallError, Reason, Result, Termination
from trunkline.core.units import FRAME_S, FRAME_SAMPLES, SILENT_FRAME, s_to_us
from trunkline.loadtest.ear import CodeEar, Ear, HeardCode
from trunkline.loadtest.pacing import Pacing
from trunkline.loadtest.phone import MAX_EVENTS_WAITING, CallEnded, PhoneEvent, PlayEnd, PlayStart
from trunkline.loadtest.webrtc_line import ANSWER_TIMEOUT_S, read_wav
from trunkline.media.engine import (
    CallerFrame,
    Disconnected,
    FirstPacket,
    LastPacket,
    Listening,
    MediaEvent,
    ParticipantJoined,
    ParticipantKind,
    ParticipantLeft,
    TrackHeard,
)
from trunkline.media.impairment import Impairment
from trunkline.media.native import NativeEngine
from trunkline.media.native_leg import NativeLeg

T = TypeVar("T")


class EngineLine:
    """One call. Its WAVs are 16 kHz and begin and end with sound.

    Args:
        engine: Carries it.
        pacing: Is told how late each frame came here.
        coded: Read the numbers in what is heard.
        impairment: What is wrong with the caller and its network.
    """

    def __init__(
        self, engine: NativeEngine, pacing: Pacing, coded: bool = False, impairment: Impairment | None = None
    ) -> None:
        loop = asyncio.get_running_loop()
        self._engine = engine
        self._pacing = pacing
        self._impairment = impairment
        self._leg: NativeLeg | None = None
        self._ear = Ear()
        self._code_ear = CodeEar() if coded else None
        self._events: asyncio.Queue[PhoneEvent] = asyncio.Queue(MAX_EVENTS_WAITING)
        self._agent_prefix = ""
        self._agent: asyncio.Future[str] = loop.create_future()
        self._hearing: asyncio.Future[float] = loop.create_future()
        self._heard: asyncio.Future[float] = loop.create_future()
        self._names: dict[int, str] = {}
        self._sounds = 0

    async def join(self, url: str, token: str, agent_prefix: str = "") -> int:
        """Joins the room, waits for the agent, and opens the microphone for it; the join in microseconds.

        Args:
            url: The SFU.
            token: For the room.
            agent_prefix: How its identity begins, where there may be others' agents.

        Raises:
            MediaError: the room can't be joined.
            CallError: no agent came.
        """
        self._agent_prefix = agent_prefix
        self._leg = await self._engine.join(url, token, self)
        joined_us = s_to_us(time.monotonic())
        if self._impairment is not None:
            self._leg.impair(self._impairment)
        # Who publishes something is told of at once, who only listens up to seconds later.
        await self._leg.publish()
        await self._leg.listen_to(await self._within(self._agent, "no agent came"))
        return joined_us

    async def answered(self) -> int:
        """Waits until both hear each other; the instant in microseconds. Raises CallError after 20 s."""
        await self._within(self._hearing, "no agent answered")
        await self._within(self._heard, "no agent listened")
        return s_to_us(max(self._hearing.result(), self._heard.result()))

    async def play(self, name: str, wav: Path) -> None:
        """Speaks a WAV, from the next tick on; the one before must be over."""
        assert self._leg is not None
        self._sounds += 1
        self._names[self._sounds] = name
        self._leg.play(self._sounds, read_wav(wav))
        self._leg.end(self._sounds)

    async def event(self) -> PhoneEvent:
        """The next event of this call."""
        return await self._events.get()

    async def hang_up(self) -> CallEnded:
        """Leaves the room."""
        if self._leg is not None:
            await self._leg.leave()
        for waiting in (self._agent, self._hearing, self._heard):
            waiting.cancel()
        return CallEnded("caller", "hung up")

    async def codes(self) -> list[HeardCode]:
        """See `CallerLine.codes`."""
        return self._code_ear.found if self._code_ear is not None else []

    def on_frame(self, frame: CallerFrame) -> None:
        """Takes 20 ms of what is heard."""
        self._pacing.tick(frame.ended_at, time.monotonic())
        played_us = s_to_us(frame.ended_at + FRAME_S)  # a frame can be played from the instant on at which it is whole
        silent = frame.samples is SILENT_FRAME
        for heard in self._ear.rest(played_us) if silent else self._ear.listen(frame.samples, played_us):
            self._tell(heard)
        if self._code_ear is None:
            return
        # After the ear: instants and lateness are taken already.
        if silent:
            self._code_ear.rest(FRAME_SAMPLES, played_us)
        else:
            self._code_ear.listen(frame.samples, played_us)

    def on_event(self, event: MediaEvent) -> None:
        """Takes everything else that the engine tells."""
        match event:
            case ParticipantJoined(identity, ParticipantKind.AGENT):
                if not self._agent.done() and identity.startswith(self._agent_prefix):
                    self._agent.set_result(identity)
            case Listening() if not self._hearing.done():
                self._hearing.set_result(time.monotonic())
            case TrackHeard() if not self._heard.done():
                self._heard.set_result(time.monotonic())
            case FirstPacket(sound, at):
                self._tell(PlayStart(self._names[sound], s_to_us(at)))
            case LastPacket(sound, at):
                over_us = s_to_us(at + FRAME_S)
                self._tell(PlayEnd(self._names[sound], over_us, over_us))
            case ParticipantLeft(identity) if self._agent.done() and identity == self._agent.result():
                self._tell(CallEnded("agent", f"{identity} left"))
            case Disconnected(reason):
                self._tell(CallEnded("agent", reason))

    async def _within(self, waiting: asyncio.Future[T], otherwise: str) -> T:
        try:
            return await asyncio.wait_for(asyncio.shield(waiting), ANSWER_TIMEOUT_S)
        except TimeoutError:
            raise CallError(
                f"{otherwise} within {ANSWER_TIMEOUT_S:.0f} s", Termination(Result.SERVER_ERROR, Reason.NO_AGENT)
            ) from None

    def _tell(self, event: PhoneEvent) -> None:
        if self._events.full():
            self._events.get_nowait()
        self._events.put_nowait(event)
