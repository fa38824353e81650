"""The processes of a load test's WebRTC callers, seen from the load test; see `caller_process.py` for their side."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from trunkline.core.errors import UpstreamUnavailableError
from trunkline.loadtest.caller_process import Job
from trunkline.loadtest.callers import Tell
from trunkline.loadtest.options import Target
from trunkline.loadtest.talking import Order, Script

MAX_LINE_BYTES = 1_048_576
READY_TIMEOUT_S = 60.0
HANG_UP_TIMEOUT_S = 10.0
EXIT_TIMEOUT_S = 3.0


class CallerPool:
    """The processes of the WebRTC callers; each hangs up when its input ends.

    Args:
        count: How many.
        target: The stack that is called.
        folder: For their logs.
        engine: The native media engine's program; empty: callers on the Python SDK.
    """

    def __init__(self, count: int, target: Target, folder: Path, engine: str = "") -> None:
        self._count = count
        self._target = target
        self._folder = folder
        self._engine = engine

    async def place(self, orders: list[Order], script: Script, tell: Tell, stop: asyncio.Event) -> None:
        """Starts them, lets them call together, and returns when all have ended; `stop` ends them early."""
        processes: list[asyncio.subprocess.Process] = []
        try:
            for number in range(self._count):
                job = Job(
                    self._target.orchestrator_url,
                    self._target.api_key,
                    script,
                    orders[number :: self._count],
                    self._engine,
                )
                processes.append(await self._start(number, job))
            async with asyncio.timeout(READY_TIMEOUT_S):
                await asyncio.gather(*(_ready(process, tell) for process in processes))
            zero_s = time.monotonic() + 0.2
            for process in processes:
                _write(process, json.dumps({"zero_s": zero_s}).encode() + b"\n")
            reading = asyncio.gather(*(_read_all(process, tell) for process in processes))
            stopping = asyncio.create_task(stop.wait())
            try:
                both: list[asyncio.Future[Any]] = [reading, stopping]
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                await self._end(processes, reading)
            except asyncio.CancelledError:
                # The time limit: what the callers tell while they hang up is still wanted.
                await self._end(processes, reading)
                raise
            finally:
                stopping.cancel()
        except TimeoutError as error:
            raise UpstreamUnavailableError("callers", f"not ready; see {self._folder}/callers-1.log") from error
        finally:
            await asyncio.gather(*(_gone(process) for process in processes))

    async def _start(self, number: int, job: Job) -> asyncio.subprocess.Process:
        with (self._folder / f"callers-{number + 1}.log").open("wb") as errors:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "trunkline.loadtest.caller_process",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                limit=MAX_LINE_BYTES,
                start_new_session=True,  # Ctrl-C in the terminal is for us, and we tell them
            )
        _write(process, job.encode())
        return process

    async def _end(self, processes: list[asyncio.subprocess.Process], reading: asyncio.Future[list[None]]) -> None:
        for process in processes:
            assert process.stdin is not None
            process.stdin.close()
        await asyncio.wait([reading], timeout=HANG_UP_TIMEOUT_S)
        if not reading.done():
            reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def _gone(process: asyncio.subprocess.Process) -> None:
    """Waits until it has ended, which it does when its input has; one that does not is killed."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        await asyncio.wait_for(process.wait(), EXIT_TIMEOUT_S)
    except TimeoutError:
        process.kill()
        await process.wait()


def _write(process: asyncio.subprocess.Process, line: bytes) -> None:
    """Hands over one line; a process that is gone is noticed by whoever reads from it."""
    assert process.stdin is not None
    if not process.stdin.is_closing():
        process.stdin.write(line)


async def _ready(process: asyncio.subprocess.Process, tell: Tell) -> None:
    assert process.stdout is not None
    line = await process.stdout.readline()
    if not line:
        raise UpstreamUnavailableError("callers", "a process of callers did not start; see callers-1.log")
    tell(json.loads(line))


async def _read_all(process: asyncio.subprocess.Process, tell: Tell) -> None:
    assert process.stdout is not None
    while line := await process.stdout.readline():
        tell(json.loads(line))
