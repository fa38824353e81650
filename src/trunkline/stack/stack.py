"""A whole stack, from its start to its end: `async with Stack(plan) as stack`.

Everything that can start at the same time does; everything is stopped in the reverse order, also when the start fails
midway or is cancelled. With `restart`, a process that ends is started again after a growing pause.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from types import TracebackType
from typing import Self

from trunkline.core.errors import ConfigError, UpstreamError
from trunkline.stack.commands import Progress
from trunkline.stack.plan import Plan
from trunkline.stack.process import Process, Spec, State

PAUSE_S = 0.5
PAUSE_LIMIT_S = 30.0
STEADY_S = 60.0
"""A process that ran this long has earned a short pause again."""


def _silent(name: str, state: str, seconds: float) -> None:
    pass


class Stack:
    """All processes of a plan.

    Args:
        plan: What to run; its `prepare` is called.
        progress: Told about every change of state and every end that nobody asked for, with the seconds since the
            start began.
        restart: Start again what ends by itself; else the first such end is an error, see `watch`.
    """

    def __init__(self, plan: Plan, progress: Progress = _silent, *, restart: bool = False) -> None:
        self.plan = plan
        self.processes = {spec.name: Process(spec, plan.log_dir) for spec in plan.processes}
        self._progress = progress
        self._restart = restart
        self._began = time.monotonic()
        self._watchers: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        """Starts everything. Raises ConfigError or UpstreamError: the first failure, with everything stopped again."""
        self._began = time.monotonic()
        try:
            self.plan.prepare()
        except OSError as error:
            raise ConfigError(f"{error.filename}: {error.strerror}", "the stack keeps its files there") from error
        try:
            await self._start_all()
        except BaseException:
            await self._stop_shielded()
            raise
        self._watchers = [asyncio.create_task(self._watch(process)) for process in self.processes.values()]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop_shielded()

    async def watch(self) -> None:
        """Waits for the first process that ends by itself; with `restart`, for ever. Raises UpstreamError."""
        try:
            await asyncio.gather(*(asyncio.shield(watcher) for watcher in self._watchers))
        except asyncio.CancelledError:
            if not asyncio.current_task().cancelling():  # type: ignore[union-attr]  # a watcher's, not ours: the stack stops
                return
            raise

    def kill_now(self) -> None:
        """Ends everything at once, without a word and without waiting."""
        for process in self.processes.values():
            process.kill_now()

    async def _start_all(self) -> None:
        ready = {name: asyncio.Event() for name in self.processes}

        async def start(process: Process) -> None:
            for name in process.spec.after:
                await ready[name].wait()
            await self._start(process)
            ready[process.spec.name].set()

        failed: BaseExceptionGroup[BaseException] | None = None
        try:
            async with asyncio.TaskGroup() as group:
                for process in self.processes.values():
                    group.create_task(start(process))
        except* (ConfigError, UpstreamError) as errors:
            failed = errors
        # Not in there: Python before 3.11.4, such as Debian 12's, puts what is raised there into a group of its own.
        if failed is not None:
            raise _first(failed) from failed

    async def _start(self, process: Process) -> None:
        self._tell(process, State.STARTING)
        try:
            await process.start()
        finally:
            self._tell(process, process.state)

    async def _watch(self, process: Process) -> None:
        """Waits for the process's end; raises UpstreamError, or starts it again, for as long as it takes."""
        pause_s = PAUSE_S
        while True:
            began = time.monotonic()
            code = await process.wait()
            error = process.ended(code)
            await process.kill()
            process.state = State.FAILED
            self._tell(process, _in_one_line(error))
            if not self._restart:
                raise error
            if time.monotonic() - began >= STEADY_S:
                pause_s = PAUSE_S
            pause_s = await self._start_again(process, pause_s)

    async def _start_again(self, process: Process, pause_s: float) -> float:
        """Tries until it runs; the pause to begin with the next time, in seconds."""
        while True:
            process.state = State.RESTARTING
            self._tell(process, process.state)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_LIMIT_S)
            process.restarts += 1
            try:
                await self._start(process)
            except (ConfigError, UpstreamError) as error:
                self._tell(process, _in_one_line(error))
            else:
                return pause_s

    async def _stop_shielded(self) -> None:
        """Stops everything, even if we are cancelled meanwhile; the cancellation is passed on afterwards."""
        stopping = asyncio.ensure_future(self._stop_all())
        try:
            await asyncio.shield(stopping)
        except asyncio.CancelledError:
            self.kill_now()
            await stopping
            raise

    async def _stop_all(self) -> None:
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        for generation in _generations(self.plan.processes):
            await asyncio.gather(*(self._stop(self.processes[spec.name]) for spec in generation))
        self.plan.clean()

    async def _stop(self, process: Process) -> None:
        ran = process.pid is not None
        if ran:
            self._tell(process, State.STOPPING)
        await process.stop()
        if ran:
            self._tell(process, process.state)

    def _tell(self, process: Process, state: str) -> None:
        with contextlib.suppress(OSError):  # a closed terminal must not keep us from stopping what we started
            self._progress(process.spec.name, state, time.monotonic() - self._began)


def _generations(specs: tuple[Spec, ...]) -> list[list[Spec]]:
    """Groups in the order in which they may be stopped: nothing is stopped before what needs it."""
    left = {spec.name: spec for spec in specs}
    groups = []
    while left:
        needed = {name for spec in left.values() for name in spec.after + spec.uses}
        group = [spec for spec in left.values() if spec.name not in needed]
        if not group:
            raise ConfigError(f"processes wait for each other: {', '.join(left)}")
        groups.append(group)
        left = {name: spec for name, spec in left.items() if spec not in group}
    return groups


def _in_one_line(error: ConfigError | UpstreamError) -> str:
    return error.problem.splitlines()[0]


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error of a group, however deep."""
    inner = errors.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner
