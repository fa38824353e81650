"""Runs a command to its end, within a time limit, and leaves nothing of it behind when cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

Progress = Callable[[str, str, float], None]
"""Called with a name, its new state and the seconds since the beginning."""

TICK_S = 1.0


@dataclass(frozen=True)
class Output:
    """How a command ended, and what it wrote to both streams."""

    code: int
    text: str


async def run(*argv: str, limit_s: float, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Output:
    """Runs a command. On cancel and on time-out, it and all its children are killed.

    Raises:
        TimeoutError: it took longer than `limit_s`.
        OSError: it can't be run.
    """
    child = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=env,
        cwd=cwd,
        start_new_session=True,  # so that its children can be killed with it
    )
    try:
        async with asyncio.timeout(limit_s):
            written, _ = await child.communicate()
    finally:
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            await asyncio.shield(child.wait())
    assert child.returncode is not None
    return Output(child.returncode, written.decode(errors="replace"))


@contextlib.asynccontextmanager
async def reported(progress: Progress, name: str, state: str) -> AsyncIterator[None]:
    """Reports once a second for how long something goes on."""
    loop = asyncio.get_running_loop()
    began = loop.time()

    async def tick() -> None:
        while True:
            progress(name, state, loop.time() - began)
            await asyncio.sleep(TICK_S)

    ticking = loop.create_task(tick())
    try:
        yield
    finally:
        ticking.cancel()
        await asyncio.gather(ticking, return_exceptions=True)
