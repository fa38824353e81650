"""The `native` engine: all calls of a worker in one Go program, `trunkline-media`, on LiveKit's own Go SDK.

Here is only its remote control: commands go in, frames and events come out, every 20 ms one message with the frames of
all calls. Where the program dies it is started again, and every call joins its room anew: callers hear a gap, not an
end.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from trunkline.core.errors import MediaError
from trunkline.core.units import FRAME_BYTES, SILENT_FRAME, us_to_s
from trunkline.media.engine import CallerFrame, MediaListener, MediaStats, RenewToken
from trunkline.media.engine_process import EngineLink, EngineProcess
from trunkline.media.native_events import counted
from trunkline.media.native_leg import NativeLeg
from trunkline.media.pb import media_pb2 as pb

log = structlog.get_logger()

STATS_TIMEOUT_S = 1.0
RESTART_PAUSE_S = (0.05, 0.2, 1.0, 5.0)
HUNG_AFTER_S = 2.0
"""No frames for so long from an engine that has legs: it is ended and started again."""


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
        self._asked: deque[asyncio.Future[MediaStats]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._heard_at = 0.0
        self.restarts = 0

    async def start(self) -> None:
        """Starts the program. Raises MediaError where it does not come up."""
        self._link = await self._spawn()
        self._keeping = asyncio.get_running_loop().create_task(self._keep_running())

    async def join(
        self, url: str, token: str, listener: MediaListener, *, renew: RenewToken | None = None, shared: bool = False
    ) -> NativeLeg:
        """Joins a room within 5 s. See `MediaEngine.join`."""
        leg = NativeLeg(self, url, token, listener, renew=renew, shared=shared)
        try:
            await leg.enter()
        except BaseException:
            leg.give_up()
            raise
        return leg

    async def close(self) -> None:
        """Leaves all rooms."""
        if self._link is not None and not self._link.lost.done():
            try:
                log.info("engine_stats", restarts=self.restarts, **(await self.stats()).told())
            except MediaError as error:
                log.warning("engine_stats_missing", error=str(error))
        tasks = [*self._tasks] if self._keeping is None else [self._keeping, *self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._process is not None:
            await self._process.stop()

    async def stats(self) -> MediaStats:
        """What the program counted since it was started, over all legs there ever were. Raises MediaError."""
        if self._link is None:
            raise MediaError("the media engine is being started again")
        answer: asyncio.Future[MediaStats] = asyncio.get_running_loop().create_future()
        self._asked.append(answer)
        self.send(pb.Command(ask_stats=pb.AskStats()))
        try:
            return await asyncio.wait_for(answer, STATS_TIMEOUT_S)
        except TimeoutError:
            raise MediaError(f"no statistics within {STATS_TIMEOUT_S:.0f} s") from None

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

    def start_task(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs something until it is done or the engine is closed."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

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
            self._asked.clear()
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
            for leg in legs:
                self.start_task(leg.come_back())

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
        elif report.event.HasField("stats"):
            if self._asked and not (answer := self._asked.popleft()).done():
                answer.set_result(counted(report.event.stats))
        elif report.event.HasField("refused"):
            log.warning("engine_refused", why=report.event.refused.why)

    def _on_frames(self, frames: pb.Frames) -> None:
        """Hands every leg its 20 ms; silence is not sent, so who is not in the message was silent."""
        ended_at = us_to_s(frames.at_us)
        heard = {frame.leg: frame.pcm for frame in frames.frames}
        silence = CallerFrame(ended_at, SILENT_FRAME)
        for number, leg in list(self._legs.items()):
            pcm = heard.get(number)
            if pcm is not None and len(pcm) == FRAME_BYTES:
                leg.on_sound(CallerFrame(ended_at, np.frombuffer(pcm, dtype=np.int16)))
            else:
                leg.on_silence(silence)
