"""A media engine without a network: keeps what is sent, and lets a test speak and hang up.

It paces like a real one, one 20 ms frame a tick on the loop's own clock, so that it serves in made-up time.
"""

from __future__ import annotations

import asyncio

import numpy as np

from trunkline.core.errors import MediaError
from trunkline.core.units import FRAME_S, FRAME_SAMPLES, Pcm
from trunkline.media.engine import (
    CallerFrame,
    MediaEvent,
    MediaListener,
    MediaStats,
    ParticipantJoined,
    ParticipantKind,
    ParticipantLeft,
    RenewToken,
    TrackHeard,
)
from trunkline.media.playout import Playout

_SILENCE = np.zeros(FRAME_SAMPLES, dtype=np.int16)


class FakeLeg:
    """One participant of `FakeEngine`."""

    def __init__(self, listener: MediaListener) -> None:
        self.listener = listener
        self.renew: RenewToken | None = None
        self.published = False
        self.hidden = False
        self.left = False
        self.listening_to = ""
        self.sent: list[Pcm] = []
        self.dtmf = ""
        self.data: list[tuple[bytes, str]] = []
        self.calls: list[str] = []
        self._playout = Playout()
        self._pacer: asyncio.Task[None] | None = None

    async def publish(self) -> None:
        self.published = True
        self._pacer = asyncio.get_running_loop().create_task(self._pace())
        self.listener.on_event(TrackHeard())

    async def listen_to(self, identity: str) -> None:
        self.listening_to = identity

    def play(self, utterance: int, samples: Pcm) -> None:
        self._playout.play(utterance, samples)

    def end(self, utterance: int) -> None:
        self._playout.end(utterance)

    def pause(self) -> None:
        self.calls.append("pause")
        self._tell(self._playout.pause(self._now()))

    def resume(self) -> None:
        self.calls.append("resume")
        self._playout.resume()

    def flush(self) -> None:
        self.calls.append("flush")
        self._tell(self._playout.flush(self._now()))

    async def send_dtmf(self, digits: str) -> None:
        self.dtmf += digits

    async def send_data(self, payload: bytes, topic: str = "") -> None:
        self.data.append((payload, topic))

    async def stats(self) -> MediaStats:
        return MediaStats(sent=len(self.sent))

    def hide(self) -> None:
        self.hidden = True

    async def leave(self) -> None:
        self.left = True
        if self._pacer is not None:
            self._pacer.cancel()
            await asyncio.gather(self._pacer, return_exceptions=True)

    async def hear(self, samples: Pcm) -> None:
        """The caller speaks: hands over frames at real-time pace; the last is filled with silence."""
        frames = -(-samples.size // FRAME_SAMPLES)
        padded = np.zeros(frames * FRAME_SAMPLES, dtype=np.int16)
        padded[: samples.size] = samples
        for start in range(0, padded.size, FRAME_SAMPLES):
            await asyncio.sleep(FRAME_S)
            self.listener.on_frame(CallerFrame(self._now(), padded[start : start + FRAME_SAMPLES]))

    def sound(self) -> Pcm:
        """Everything sent so far, silence included: int16, mono, 16000 Hz."""
        return np.concatenate(self.sent) if self.sent else _SILENCE[:0]

    async def _pace(self) -> None:
        while True:
            await asyncio.sleep(FRAME_S)
            frame, events = self._playout.next_frame(self._now())
            self.sent.append(_SILENCE if frame is None else frame)
            self._tell(events)

    def _tell(self, events: list[MediaEvent]) -> None:
        for event in events:
            self.listener.on_event(event)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


class FakeEngine:
    """A media engine for tests.

    Args:
        refuse: The reason with which every join fails; empty where joins succeed.
    """

    name = "fake"

    def __init__(self, refuse: str = "") -> None:
        self.refuse = refuse
        self.legs: list[FakeLeg] = []

    async def start(self) -> None:
        """There is nothing to start."""

    async def join(
        self, url: str, token: str, listener: MediaListener, *, renew: RenewToken | None = None, shared: bool = False
    ) -> FakeLeg:
        await asyncio.sleep(0.05)
        if self.refuse:
            raise MediaError(self.refuse)
        leg = FakeLeg(listener)
        leg.renew = renew
        self.legs.append(leg)
        return leg

    async def stats(self) -> MediaStats:
        return MediaStats(legs=sum(not leg.left for leg in self.legs))

    async def close(self) -> None:
        for leg in self.legs:
            await leg.leave()

    def phone_joins(self, token: str = "", identity: str = "sip_caller") -> None:
        """A phone comes into the room of the newest leg."""
        attributes = {"call.token": token} if token else {}
        self.legs[-1].listener.on_event(ParticipantJoined(identity, ParticipantKind.PHONE, attributes))

    def phone_leaves(self, identity: str = "sip_caller") -> None:
        """It hangs up."""
        self.legs[-1].listener.on_event(ParticipantLeft(identity))
