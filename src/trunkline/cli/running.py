"""Runs a command's coroutine so that SIGTERM ends it as Ctrl-C does: in order, with everything stopped."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

INTERRUPTED = 130


def run(work: Coroutine[Any, Any, T]) -> T | None:
    """Runs it to its end; None where a signal ended it. A second signal cancels what is still being stopped."""

    async def until_signal() -> T | None:
        task = asyncio.ensure_future(work)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, task.cancel)
        try:
            return await task
        except asyncio.CancelledError:
            return None

    return asyncio.run(until_signal())
