"""One call on the native engine: its commands, and what comes of them; back in its room where the engine was lost."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Coroutine
from typing import Any, Protocol

import structlog

from trunkline.core.errors import MediaError, TrunklineError
from trunkline.core.units import Pcm, s_to_samples, us_to_s
from trunkline.media.engine import (
    CallerFrame,
    Disconnected,
    LastPacket,
    MediaEvent,
    MediaListener,
    MediaStats,
    ParticipantLeft,
    Reconnected,
    Reconnecting,
    RenewToken,
    check_data,
)
from trunkline.media.impairment import Impairment
from trunkline.media.native_events import counted, translated
from trunkline.media.pb import media_pb2 as pb

log = structlog.get_logger()

JOIN_TIMEOUT_S = 6.0
"""The engine itself gives up after 5 s."""
PUBLISH_TIMEOUT_S = 5.0
LEAVE_TIMEOUT_S = 2.0
STATS_TIMEOUT_S = 1.0


class _EngineLost(MediaError):  # noqa: N818 (an error only to who waits for an answer)
    """The program ended before it answered."""


class LegOwner(Protocol):
    """The engine, as its legs see it."""

    def number(self, leg: NativeLeg) -> int:
        """A new number for a leg; those of before are forgotten."""
        ...

    def forget(self, leg: NativeLeg) -> None:
        """Nothing comes to this leg any more."""
        ...

    def send(self, command: pb.Command) -> None:
        """Hands a command to the program."""
        ...

    def start_task(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs something until it is done or the engine is closed."""
        ...


class NativeLeg:
    """One participant. See `MediaLeg` for what each method promises.

    Args:
        engine: Whose leg it is.
        url: The SFU.
        token: For its room.
        listener: Is told what happens.
        renew: Gives a new token for the same participant of the same room, for a join from nothing; None: the first
            one is used again, which serves while it is valid.
        shared: One participant with the other legs that say so.
    """

    def __init__(
        self,
        engine: LegOwner,
        url: str,
        token: str,
        listener: MediaListener,
        *,
        renew: RenewToken | None = None,
        shared: bool = False,
    ) -> None:
        self._engine = engine
        self._url = url
        self._token = token
        self._listener = listener
        self._renew = renew
        self._shared = shared
        self.inside = False
        self._number = 0
        self._entered: asyncio.Future[None] | None = None
        self._published: asyncio.Future[None] | None = None
        self._left: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._listening_to = ""
        self._turned_away = False
        self._has_left = False
        self._is_published = False
        self._hidden = False
        self._impairment = Impairment()
        self._hears = False
        self._present: set[str] = set()
        self._playing: tuple[int, float] | None = None
        self._newest = 0
        self._lost_up_to = 0
        self._asked: deque[asyncio.Future[MediaStats]] = deque()
        self._last_stats: MediaStats | None = None

    async def enter(self) -> None:
        """Joins the room. Raises MediaError."""
        self._entered = asyncio.get_running_loop().create_future()
        self._present.clear()
        self._number = self._engine.number(self)
        self._send(join=pb.Join(url=self._url, token=self._token, shared=self._shared))
        await self._answer(self._entered, JOIN_TIMEOUT_S, "can't join the room")

    def give_up(self) -> None:
        """Nobody waits for it any more: whatever the engine has of it goes."""
        if not self._turned_away:
            self._send(leave=pb.Leave())
        if not self._left.done():
            self._left.set_result(None)
        self._engine.forget(self)

    async def publish(self) -> None:
        """Publishes the agent's track for the participant it listens to."""
        self._published = asyncio.get_running_loop().create_future()
        self._send(publish=pb.Publish())
        await self._answer(self._published, PUBLISH_TIMEOUT_S, "can't publish")
        self._is_published = True

    async def listen_to(self, identity: str) -> None:
        self._listening_to = identity
        self._send(listen_to=pb.ListenTo(identity=identity))

    def hide(self) -> None:
        self._hidden = True
        self._send(hide=pb.Hide())

    def play(self, utterance: int, samples: Pcm) -> None:
        self._newest = max(self._newest, utterance)
        if utterance > self._lost_up_to:
            self._send(play=pb.Play(utterance=utterance, pcm=samples.tobytes()))

    def end(self, utterance: int) -> None:
        if utterance > self._lost_up_to:
            self._send(end=pb.End(utterance=utterance))

    def pause(self) -> None:
        self._send(pause=pb.Pause())

    def resume(self) -> None:
        self._send(resume=pb.Resume())

    def flush(self) -> None:
        self._send(flush=pb.Flush())

    async def send_dtmf(self, digits: str) -> None:
        self._send(send_dtmf=pb.SendDtmf(digits=digits))

    async def send_data(self, payload: bytes, topic: str = "") -> None:
        check_data(payload, topic)
        self._send(send_data=pb.SendData(payload=payload, topic=topic))

    async def stats(self) -> MediaStats:
        if self._last_stats is not None:
            return self._last_stats
        answer: asyncio.Future[MediaStats] = asyncio.get_running_loop().create_future()
        self._asked.append(answer)
        self._send(ask_stats=pb.AskStats())
        await self._answer(answer, STATS_TIMEOUT_S, "no statistics")
        return answer.result()

    def impair(self, impairment: Impairment) -> None:
        """For simulated callers: makes what is said and heard worse from now on, instead of how it did before."""
        self._impairment = impairment
        self._send(impair=pb.Impair(config=json.dumps(impairment.as_dict())))

    async def leave(self) -> None:
        """Leaves the room; no event follows."""
        if self._has_left:
            return
        self._has_left = True
        if not self._left.done():
            self._send(leave=pb.Leave())
            await asyncio.wait([self._left], timeout=LEAVE_TIMEOUT_S)
            if not self._left.done():
                log.warning("leave_timed_out", leg=self._number)
                self._left.set_result(None)
            self._engine.forget(self)
        if self._last_stats is not None:
            log.info("leg_stats", leg=self._number, **self._last_stats.told())

    def on_sound(self, frame: CallerFrame) -> None:
        """Takes 20 ms of the caller."""
        self._hears = True
        if not self._left.done():
            self._listener.on_frame(frame)

    def on_silence(self, frame: CallerFrame) -> None:
        """Takes 20 ms in which nothing was heard; told once there was something."""
        if self._hears and not self._left.done():
            self._listener.on_frame(frame)

    def on_event(self, event: pb.Event) -> None:
        """Takes what the engine tells of this leg."""
        what = event.WhichOneof("what")
        if what == "joined" and self._entered is not None and not self._entered.done():
            self.inside = True
            self._entered.set_result(None)
        elif what == "published" and self._published is not None and not self._published.done():
            self._published.set_result(None)
        elif what == "stats":
            if self._asked and not (answer := self._asked.popleft()).done():
                answer.set_result(counted(event.stats))
        elif what == "left":
            if event.left.HasField("stats"):
                self._last_stats = counted(event.left.stats)
            if not self._left.done():
                self._left.set_result(None)
        elif what == "refused":
            log.warning("engine_refused", leg=self._number, why=event.refused.why)
            if self._published is not None and not self._published.done():
                self._published.set_exception(MediaError(event.refused.why))
        elif what == "disconnected":
            self._on_disconnected(event.disconnected)
        else:
            self._keep(event)
            told = translated(event)
            if told is not None:
                self._tell(told)

    def on_engine_lost(self) -> None:
        """The program is gone, and with it what it was saying; the room sees us leave."""
        self._on_lost(_EngineLost("the media engine was lost"))

    def _on_lost(self, why: MediaError) -> None:
        self.inside = self._hears = False
        self._lost_up_to = self._newest
        self._asked.clear()
        for waiting in (self._entered, self._published):
            if waiting is not None and not waiting.done():
                waiting.set_exception(why)
        if self._left.done():
            return
        self._tell(Reconnecting())
        if self._playing is not None:
            (utterance, began_at), self._playing = self._playing, None
            now = time.monotonic()
            self._tell(LastPacket(utterance, now, s_to_samples(now - began_at)))

    async def come_back(self, lost: str = "engine_lost") -> None:
        """Joins the room anew, as it was; tells where that fails.

        Args:
            lost: Why it was out.
        """
        if self._left.done() or self._has_left:
            return
        known = set(self._present)
        self._token = self._fresh_token()
        try:
            await self.enter()
            if self._impairment != Impairment():
                self.impair(self._impairment)
            if self._listening_to:
                await self.listen_to(self._listening_to)
            if self._is_published and not self._hidden:
                await self.publish()
        except _EngineLost:
            # It died once more; whoever starts it again will call this again.
            return
        except MediaError as error:
            self._tell(Disconnected(f"{lost}: {error}", by_server=False))
            self.give_up()
            return
        for identity in known - self._present:
            self._tell(ParticipantLeft(identity))
        self._tell(Reconnected())

    def _fresh_token(self) -> str:
        if self._renew is None:
            return self._token
        try:
            return self._renew()
        except TrunklineError as error:
            log.error("token_not_renewed", error=str(error))
            return self._token

    def _keep(self, event: pb.Event) -> None:
        """Remembers what must be told again, or closed, if the program is lost."""
        match event.WhichOneof("what"):
            case "participant_joined":
                self._present.add(event.participant_joined.identity)
            case "participant_left":
                self._present.discard(event.participant_left.identity)
            case "first_packet":
                self._playing = (event.first_packet.utterance, us_to_s(event.at_us))
            case "last_packet":
                self._playing = None

    def _on_disconnected(self, end: pb.Disconnected) -> None:
        if self._entered is not None and not self._entered.done():
            self._turned_away = True
            self._entered.set_exception(MediaError(f"can't join the room: {end.detail or end.reason}"))
            return
        if self.inside and not end.by_server and self._renew is not None:
            # The SDK gave up, with a token that may have ended with the connection: one more try, from nothing.
            self._on_lost(MediaError(end.reason))
            self._engine.start_task(self.come_back(end.reason))
            return
        if end.HasField("stats"):
            self._last_stats = counted(end.stats)
        self._tell(Disconnected(end.reason, end.by_server))
        if not self._left.done():
            self._left.set_result(None)
        self._engine.forget(self)

    async def _answer(self, waiting: asyncio.Future[Any], limit_s: float, otherwise: str) -> None:
        try:
            await asyncio.wait_for(waiting, limit_s)
        except TimeoutError:
            raise MediaError(f"{otherwise}: no answer within {limit_s:.0f} s") from None

    def _send(self, **command: object) -> None:
        if not self._left.done():
            self._engine.send(pb.Command(leg=self._number, **command))  # type: ignore[arg-type]

    def _tell(self, event: MediaEvent) -> None:
        if not self._left.done():
            self._listener.on_event(event)
