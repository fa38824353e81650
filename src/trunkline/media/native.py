"""The `native` engine: all calls of a worker in one Go program, `trunkline-media`, on LiveKit's own Go SDK.

Here is only its remote control: commands go in, frames and events come out, every 20 ms one message with the frames of
all calls. Where the program dies it is started again, and every call joins its room anew: callers hear a gap, not an
end.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import numpy as np
import structlog

from trunkline.core.errors import MediaError
from trunkline.core.units import FRAME_BYTES, FRAME_SAMPLES, Pcm, s_to_samples, us_to_s
from trunkline.media.engine import (
    CallerFrame,
    Disconnected,
    LastPacket,
    MediaEvent,
    MediaListener,
    ParticipantLeft,
    Reconnected,
    Reconnecting,
)
from trunkline.media.engine_process import EngineLink, EngineProcess
from trunkline.media.native_events import translated
from trunkline.media.pb import media_pb2 as pb

log = structlog.get_logger()

JOIN_TIMEOUT_S = 6.0
"""The engine itself gives up after 5 s."""
PUBLISH_TIMEOUT_S = 5.0
LEAVE_TIMEOUT_S = 2.0
RESTART_PAUSE_S = (0.05, 0.2, 1.0, 5.0)
HUNG_AFTER_S = 2.0
"""No frames for so long from an engine that has legs: it is ended and started again."""

_SILENCE = np.zeros(FRAME_SAMPLES, dtype=np.int16)


class NativeEngine:
    """All audio of one worker, in a process of its own.

    Args:
        program: `trunkline-media`.
        arguments: Its options.
    """

    name = "native"

    def __init__(self, program: Path, arguments: list[str] | None = None) -> None:
        self._program = program
        self._arguments = arguments or []
        self._process: EngineProcess | None = None
        self._link: EngineLink | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._legs: dict[int, NativeLeg] = {}
        self._last_number = 0
        self._heard_at = 0.0
        self.restarts = 0

    async def start(self) -> None:
        """Starts the program. Raises MediaError where it does not come up."""
        self._link = await self._spawn()
        self._keeping = asyncio.get_running_loop().create_task(self._keep_running())

    async def join(self, url: str, token: str, listener: MediaListener) -> NativeLeg:
        """Joins a room within 5 s. See `MediaEngine.join`."""
        leg = NativeLeg(self, url, token, listener)
        try:
            await leg.enter()
        except BaseException:
            leg.give_up()
            raise
        return leg

    async def close(self) -> None:
        """Leaves all rooms."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        if self._process is not None:
            await self._process.stop()

    @property
    def pid(self) -> int | None:
        """The program's process, while it runs."""
        return self._process.pid if self._process is not None else None

    def number(self, leg: NativeLeg) -> int:
        """A new number for a leg; those of before are forgotten."""
        self.forget(leg)
        self._last_number += 1
        self._legs[self._last_number] = leg
        return self._last_number

    def forget(self, leg: NativeLeg) -> None:
        """Nothing comes to this leg any more."""
        for number in [number for number, each in self._legs.items() if each is leg]:
            del self._legs[number]

    def send(self, command: pb.Command) -> None:
        """Hands a command to the program; lost while it is being started again."""
        if self._link is not None:
            self._link.send(command)

    async def _spawn(self) -> EngineLink:
        self._process = EngineProcess(self._program, self._arguments)
        link = await self._process.start(self._on_report)
        self._heard_at = time.monotonic()
        return link

    async def _keep_running(self) -> None:
        """Starts the program again whenever it ends, for ever, with a growing pause."""
        failures = 0
        while True:
            assert self._link is not None
            began = time.monotonic()
            why = await self._until_lost(self._link)
            failures = 0 if time.monotonic() - began > RESTART_PAUSE_S[-1] else failures
            log.error("engine_lost", why=why, legs=len(self._legs))
            self._link = None
            legs = list(dict.fromkeys(self._legs.values()))
            for leg in legs:
                leg.on_engine_lost()
            while self._link is None:
                if self._process is not None:
                    await self._process.stop()
                await asyncio.sleep(RESTART_PAUSE_S[min(failures, len(RESTART_PAUSE_S) - 1)])
                failures += 1
                self.restarts += 1
                try:
                    self._link = await self._spawn()
                except MediaError as error:
                    log.error("engine_not_started", error=str(error))
            await asyncio.gather(*(leg.come_back() for leg in legs))

    async def _until_lost(self, link: EngineLink) -> str:
        """Waits for the end of a connection; drops one whose engine hangs."""
        while True:
            await asyncio.wait([link.lost], timeout=HUNG_AFTER_S / 2)
            if link.lost.done():
                return link.lost.result()
            # Without a leg in a room it has nothing to say.
            inside = any(leg.inside for leg in self._legs.values())
            if inside and time.monotonic() - self._heard_at > HUNG_AFTER_S:
                link.drop(f"no frames for {HUNG_AFTER_S:.0f} s")

    def _on_report(self, report: pb.Report) -> None:
        self._heard_at = time.monotonic()
        if report.HasField("frames"):
            self._on_frames(report.frames)
            return
        leg = self._legs.get(report.event.leg)
        if leg is not None:
            leg.on_event(report.event)
        elif report.event.HasField("refused"):
            log.warning("engine_refused", why=report.event.refused.why)

    def _on_frames(self, frames: pb.Frames) -> None:
        """Hands every leg its 20 ms; silence is not sent, so who is not in the message was silent."""
        ended_at = us_to_s(frames.at_us)
        heard = {frame.leg: frame.pcm for frame in frames.frames}
        for number, leg in list(self._legs.items()):
            pcm = heard.get(number)
            if pcm is not None and len(pcm) == FRAME_BYTES:
                leg.on_sound(ended_at, np.frombuffer(pcm, dtype=np.int16))
            else:
                leg.on_silence(ended_at)


class NativeLeg:
    """One participant. See `MediaLeg` for what each method promises.

    Args:
        engine: Whose leg it is.
        url: The SFU.
        token: For its room; used again where the engine had to be started again.
        listener: Is told what happens.
    """

    def __init__(self, engine: NativeEngine, url: str, token: str, listener: MediaListener) -> None:
        self._engine = engine
        self._url = url
        self._token = token
        self._listener = listener
        self.inside = False
        self._number = 0
        self._entered: asyncio.Future[None] | None = None
        self._published: asyncio.Future[None] | None = None
        self._left: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._listening_to = ""
        self._turned_away = False
        self._is_published = False
        self._hidden = False
        self._hears = False
        self._present: set[str] = set()
        self._playing: tuple[int, float] | None = None
        self._newest = 0
        self._lost_up_to = 0

    async def enter(self) -> None:
        """Joins the room. Raises MediaError."""
        self._entered = asyncio.get_running_loop().create_future()
        self._present.clear()
        self._number = self._engine.number(self)
        self._send(join=pb.Join(url=self._url, token=self._token))
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

    async def leave(self) -> None:
        """Leaves the room; no event follows."""
        if self._left.done():
            return
        self._send(leave=pb.Leave())
        await asyncio.wait([self._left], timeout=LEAVE_TIMEOUT_S)
        if not self._left.done():
            log.warning("leave_timed_out", leg=self._number)
            self._left.set_result(None)
        self._engine.forget(self)

    def on_sound(self, ended_at: float, samples: Pcm) -> None:
        """Takes 20 ms of the caller."""
        self._hears = True
        self._tell_frame(ended_at, samples)

    def on_silence(self, ended_at: float) -> None:
        """Takes 20 ms in which nothing was heard; told once there was something."""
        if self._hears:
            self._tell_frame(ended_at, _SILENCE)

    def on_event(self, event: pb.Event) -> None:
        """Takes what the engine tells of this leg."""
        what = event.WhichOneof("what")
        if what == "joined" and self._entered is not None and not self._entered.done():
            self.inside = True
            self._entered.set_result(None)
        elif what == "published" and self._published is not None and not self._published.done():
            self._published.set_result(None)
        elif what == "left":
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
        self.inside = self._hears = False
        self._lost_up_to = self._newest
        for waiting in (self._entered, self._published):
            if waiting is not None and not waiting.done():
                waiting.set_exception(MediaError("the media engine was lost"))
        if self._left.done():
            return
        self._tell(Reconnecting())
        if self._playing is not None:
            (utterance, began_at), self._playing = self._playing, None
            now = time.monotonic()
            self._tell(LastPacket(utterance, now, s_to_samples(now - began_at)))

    async def come_back(self) -> None:
        """Joins the room anew, as it was; tells where that fails."""
        if self._left.done():
            return
        known = set(self._present)
        try:
            await self.enter()
            if self._listening_to:
                await self.listen_to(self._listening_to)
            if self._is_published and not self._hidden:
                await self.publish()
        except MediaError as error:
            self._tell(Disconnected(f"engine_lost: {error}", by_server=False))
            return
        for identity in known - self._present:
            self._tell(ParticipantLeft(identity))
        self._tell(Reconnected())

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
        self._tell(Disconnected(end.reason, end.by_server))
        if not self._left.done():
            self._left.set_result(None)
        self._engine.forget(self)

    async def _answer(self, waiting: asyncio.Future[None], limit_s: float, otherwise: str) -> None:
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

    def _tell_frame(self, ended_at: float, samples: Pcm) -> None:
        if not self._left.done():
            self._listener.on_frame(CallerFrame(ended_at, samples))
