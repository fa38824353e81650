"""A process full of WebRTC callers, run by `load_test.py`; one line of JSON is one message.

In come the job (with the key, which so is in no command line) and, when all processes are ready, the start. Out go what
happens in the calls, and once a second how late the callers' own clock ticked. The end of its input hangs up.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import aiohttp
import uvloop

from trunkline.core import wire
from trunkline.core.errors import CallError, UpstreamUnavailableError
from trunkline.loadtest.callers import Message, PlacedCall, run_callers
from trunkline.loadtest.engine_line import EngineLine
from trunkline.loadtest.impairing import impairment_of
from trunkline.loadtest.pacing import Pacing
from trunkline.loadtest.phone import CallRefusedError
from trunkline.loadtest.talking import Order, Script
from trunkline.loadtest.webrtc_line import WebRtcLine
from trunkline.logs import configure_logs
from trunkline.media.native import NativeEngine
from trunkline.settings import load_settings

TOKEN_TIMEOUT_S = 10.0
START_TIMEOUT_S = 120.0
MAX_LINE_BYTES = 1_048_576

NewLine: TypeAlias = Callable[[int], WebRtcLine | EngineLine]


@dataclass(frozen=True, slots=True)
class Job:
    """What one process does.

    Args:
        engine: The native media engine's program; empty: callers on the Python SDK.
    """

    orchestrator_url: str
    api_key: str = field(repr=False)
    script: Script
    orders: list[Order]
    engine: str = ""

    def encode(self) -> bytes:
        """As one line."""
        orders = [[order.number, order.at_s, [str(wav) for wav in order.wavs], order.room] for order in self.orders]
        script = dataclasses.astuple(self.script)
        return json.dumps([self.orchestrator_url, self.api_key, script, orders, self.engine]).encode() + b"\n"

    @classmethod
    def decode(cls, line: bytes) -> Job:
        """From one line."""
        url, api_key, script, placed, engine = json.loads(line)
        orders = [Order(number, at_s, tuple(map(Path, wavs)), room) for number, at_s, wavs, room in placed]
        return cls(url, api_key, Script(*script), orders, engine)


class TokenDoor:
    """Calls that come in over WebRTC: a token from the orchestrator, then a room.

    Args:
        new_line: Makes a caller, by its number.
    """

    def __init__(self, job: Job, http: aiohttp.ClientSession, new_line: NewLine) -> None:
        self._url = job.orchestrator_url.rstrip("/") + "/token"
        self._headers = {"Authorization": f"Bearer {job.api_key}"}
        self._http = http
        self._new_line = new_line
        self._rooms = {order.number: order.room for order in job.orders}

    async def place(self, call: PlacedCall) -> WebRtcLine | EngineLine:
        """See `Door.place`."""
        room = self._rooms[call.number]
        grant = await self._grant(room)
        call.call = grant["call"]
        line = self._new_line(call.number)
        try:
            # In a shared room are the others' agents, too.
            call.joined_us = await line.join(grant["url"], grant["token"], wire.agent_prefix(call.call) if room else "")
            call.answered_us = await line.answered()
        except BaseException:
            await line.hang_up()
            raise
        return line

    async def _grant(self, room: str) -> dict[str, Any]:
        try:
            async with asyncio.timeout(TOKEN_TIMEOUT_S):
                request = {"role": "caller", "shared": room}
                async with self._http.post(self._url, json=request, headers=self._headers) as answer:
                    status, text = answer.status, await answer.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise UpstreamUnavailableError("orchestrator", f"no token: {str(error) or type(error).__name__}") from error
        try:
            body: dict[str, Any] = json.loads(text)
            if status >= 400:
                raise CallRefusedError(f"{status} {body.get('detail', '')}", status)
            return {name: str(body[name]) for name in ("call", "url", "token")}
        except (ValueError, KeyError, AttributeError) as error:
            raise CallError(f"/token answered {status} with something else than a token") from error


async def _run(pacing: Pacing) -> None:
    async with _lines_in() as lines:
        async with asyncio.timeout(START_TIMEOUT_S):
            job = Job.decode(await lines.readline())
        async with (
            _caller_maker(job, pacing) as new_line,
            # Its own limit of connections holds: a hundred.
            aiohttp.ClientSession(trust_env=False) as http,
        ):
            tell({"ev": "ready"})
            async with asyncio.timeout(START_TIMEOUT_S):
                line = await lines.readline()
            if not line:
                return
            door = TokenDoor(job, http, new_line)
            calling = asyncio.create_task(run_callers(job.orders, json.loads(line)["zero_s"], door, job.script, tell))
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, calling.cancel)
            others = [asyncio.create_task(_stop_at_end(lines, calling)), asyncio.create_task(_tell_pace(pacing))]
            try:
                await asyncio.wait([calling])
            finally:
                for other in others:
                    other.cancel()
            if not calling.cancelled():
                calling.result()


@asynccontextmanager
async def _caller_maker(job: Job, pacing: Pacing) -> AsyncIterator[NewLine]:
    """Makes callers: on the native engine where its program is named, else on the Python SDK."""
    if not job.engine:
        yield lambda _number: WebRtcLine(pacing, job.script.coded)
        return
    impairment = impairment_of(job.script.impair, job.script.noise, job.script.seed)
    engine = NativeEngine(Path(job.engine), ["--heard-by-all"])
    await engine.start()
    try:
        yield lambda number: EngineLine(
            engine, pacing, job.script.coded, impairment.of_caller(number) if impairment else None
        )
    finally:
        await engine.close()


@asynccontextmanager
async def _lines_in() -> AsyncIterator[asyncio.StreamReader]:
    reader = asyncio.StreamReader(limit=MAX_LINE_BYTES)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer
    )
    try:
        yield reader
    finally:
        transport.close()


async def _stop_at_end(lines: asyncio.StreamReader, calling: asyncio.Task[None]) -> None:
    while await lines.readline():
        pass
    calling.cancel()


async def _tell_pace(pacing: Pacing) -> None:
    while True:
        await asyncio.sleep(1.0)
        tell_pace(pacing, int(time.monotonic()))


def tell_pace(pacing: Pacing, before: int) -> None:
    """Tells of the seconds that are over."""
    for second, counts in pacing.take_before(before).items():
        tell({"ev": "pace", "second": second, "late_ms": dict(counts)})


def tell(message: Message) -> None:
    """Writes one message; its reader is always listening, else this process has no work left."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Calls until all calls are over, or the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    configure_logs(load_settings(log_level="WARNING", log_format="text"), "callers")
    pacing = Pacing()
    uvloop.run(_run(pacing))
    tell_pace(pacing, sys.maxsize)


if __name__ == "__main__":
    main()
