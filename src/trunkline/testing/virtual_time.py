"""An event loop in made-up time: where nothing is ready, the clock jumps to the next timer. Nobody waits.

`run_virtual` runs one coroutine function, `in_virtual_time` decorates a test. Serves what waits on timers, and on
threads of `run_in_executor`: while one works, time stands still. Sockets and subprocesses are heard when they have
something to say, but time does not wait for them; tests that need them run in real time.
"""

from __future__ import annotations

import asyncio
import functools
import heapq
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from contextvars import Context
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

START_S = 1_000.0
"""Time at which each loop begins, so that a difference to zero does not pass for an instant."""

STUCK_S = 5.0
"""After so long, in real seconds, a loop without timers in which nothing happens is stuck."""

_NOTHING: list[tuple[selectors.SelectorKey, int]] = []


class StuckError(RuntimeError):
    """Everything waits for something that no timer, thread or socket will bring."""


class _Timer(asyncio.TimerHandle):
    """Timers of the same instant fire in the order in which they were set."""

    def __init__(self, number: int, *args: Any) -> None:
        super().__init__(*args)
        self.number = number

    def __lt__(self, other: object) -> bool:
        if isinstance(other, _Timer):
            return (self.when(), self.number) < (other.when(), other.number)
        return NotImplemented


class _JumpingSelector(selectors.DefaultSelector):
    """Instead of waiting, lets the loop's time jump."""

    loop: VirtualTimeLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None or self.loop.threads:
            ready = super().select(STUCK_S)
            if not ready:
                raise StuckError(f"nothing happens any more at {self.loop.time():.3f} s")
            return ready
        self.loop.advance(timeout)
        return _NOTHING


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A loop whose `time()` moves only when there is nothing to do."""

    def __init__(self) -> None:
        self._now = START_S
        self._timers = 0
        self.threads = 0
        selector = _JumpingSelector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        """Seconds of made-up time."""
        return self._now

    def advance(self, by_s: float) -> None:
        """Moves time forward."""
        self._now += by_s

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Runs `callback` at `when`, after those that were set for the same instant before."""
        self._timers += 1
        timer = _Timer(self._timers, when, callback, args, self, context)
        heapq.heappush(self._scheduled, timer)  # type: ignore[attr-defined]
        timer._scheduled = True  # type: ignore[attr-defined]
        return timer

    def run_in_executor(self, executor: Executor | None, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        """Runs `func` in a thread; time stands still until it is done."""
        work = super().run_in_executor(executor, func, *args)
        self.threads += 1
        work.add_done_callback(self._on_thread_done)
        return work

    def _on_thread_done(self, work: asyncio.Future[Any]) -> None:
        self.threads -= 1


def run_virtual(work: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
    """Runs `work(*args)` to its end in made-up time. Raises StuckError where it waits for nothing."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(work(*args))


def in_virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Decorates an async test, which becomes one that pytest calls like any other."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        run_virtual(lambda: test(*args, **kwargs))

    return run
