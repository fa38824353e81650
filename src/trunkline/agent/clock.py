"""The event loop's timers on the clock that marks are taken with.

uvloop's own time is rounded to milliseconds and stands still within one turn of the loop; instants are taken from
`time.monotonic`, which all processes of a machine share.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


class LoopClock:
    """What `core.machine.Driver` needs of a loop.

    Args:
        loop: Where timers run.
        now: Monotonic seconds; tests in made-up time pass `loop.time`.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, now: Callable[[], float] = time.monotonic) -> None:
        self._loop = loop
        self._now = now

    def time(self) -> float:
        """Monotonic seconds."""
        return self._now()

    def call_at(self, when: float, callback: Callable[[], None], /) -> asyncio.TimerHandle:
        """Runs `callback` at `when`, or as soon as it can."""
        return self._loop.call_later(max(0.0, when - self._now()), callback)
