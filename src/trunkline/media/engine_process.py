"""The media engine's process and the socket to it: starts it, frames messages, notices its end.

The worker makes a pair of connected sockets and hands one to the engine, so nobody else can speak to it, and the end of
either process is the end of the connection for the other. Messages are those of `media-engine/media.proto`, each
preceded by its length in four bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import cast

import structlog
from google.protobuf.message import DecodeError

from trunkline.core.errors import MediaError
from trunkline.media.pb import media_pb2 as pb

log = structlog.get_logger()

MAX_MESSAGE_BYTES = 1_048_576
MAX_UNSENT_BYTES = 8 * 1_048_576
"""What may wait for an engine that does not read, minutes of answers for all calls; beyond it the engine is ended."""
START_TIMEOUT_S = 5.0
STOP_TIMEOUT_S = 1.5

_HEAD = struct.Struct(">I")


class EngineLink(asyncio.Protocol):
    """The connection to one engine process.

    Args:
        on_report: Takes each message, in order.
    """

    def __init__(self, on_report: Callable[[pb.Report], None]) -> None:
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._on_report = on_report
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is ours."""
        # uvloop's transports are no subclasses.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Takes bytes; whole messages are passed on, the rest waits. Nonsense ends the connection."""
        self._buffer += data
        start = 0
        while len(self._buffer) - start >= _HEAD.size:
            (length,) = _HEAD.unpack_from(self._buffer, start)
            if length > MAX_MESSAGE_BYTES:
                self.drop(f"the engine sent a message of {length} bytes")
                return
            end = start + _HEAD.size + length
            if len(self._buffer) < end:
                break
            try:
                report = pb.Report.FromString(bytes(memoryview(self._buffer)[start + _HEAD.size : end]))
            except DecodeError:
                self.drop("the engine sent a message that is none")
                return
            self._on_report(report)
            start = end
        del self._buffer[:start]

    def connection_lost(self, exc: Exception | None) -> None:
        """The engine has ended, or was dropped."""
        if not self.lost.done():
            self.lost.set_result(str(exc) if exc else "the engine ended")

    def send(self, command: pb.Command) -> None:
        """Hands over a command; nothing is sent any more to an engine that is lost, or does not read."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            self.drop("the engine does not read")
            return
        body = command.SerializeToString()
        transport.write(_HEAD.pack(len(body)) + body)

    def drop(self, why: str) -> None:
        """Ends the connection, which ends the engine."""
        if not self.lost.done():
            self.lost.set_result(why)
        if self._transport is not None:
            self._transport.abort()


class EngineProcess:
    """One run of the engine program.

    Args:
        program: `trunkline-media`.
        arguments: Its options.
    """

    def __init__(self, program: Path, arguments: list[str]) -> None:
        self._command = [str(program), *arguments]
        self._process: asyncio.subprocess.Process | None = None
        self._log_reader: asyncio.Task[None] | None = None
        self.link: EngineLink | None = None

    async def start(self, on_report: Callable[[pb.Report], None]) -> EngineLink:
        """Starts it; returns when it is ready.

        Raises:
            MediaError: it can't be run, or did not get ready within 5 s; nothing of it is left.
        """
        ready = asyncio.Event()

        def first(report: pb.Report) -> None:
            if report.event.HasField("ready"):
                ready.set()
            else:
                on_report(report)

        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        try:
            with theirs:
                self._process = await asyncio.create_subprocess_exec(
                    *self._command,
                    "--fd",
                    str(theirs.fileno()),
                    pass_fds=[theirs.fileno()],
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=asyncio.subprocess.PIPE,
                    start_new_session=True,
                )
        except OSError as error:
            ours.close()
            raise MediaError(f"can't run the media engine {self._command[0]}: {error.strerror}") from error
        self._log_reader = asyncio.get_running_loop().create_task(self._read_log(self._process))
        _, self.link = await asyncio.get_running_loop().create_unix_connection(lambda: EngineLink(first), sock=ours)
        self.link.lost.add_done_callback(lambda _lost: ready.set())
        try:
            await asyncio.wait_for(ready.wait(), START_TIMEOUT_S)
        except TimeoutError:
            self.link.drop(f"not ready within {START_TIMEOUT_S:.0f} s")
        if self.link.lost.done():
            await self.stop()
            raise MediaError(f"the media engine does not start: {self.link.lost.result()}")
        return self.link

    async def stop(self) -> None:
        """Ends it: it leaves all rooms when its connection ends; killed where that takes too long."""
        if self.link is not None:
            self.link.drop("stopped")
        if self._process is not None:
            try:
                await asyncio.wait_for(self._process.wait(), STOP_TIMEOUT_S)
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)
                await self._process.wait()
        if self._log_reader is not None:
            await asyncio.wait([self._log_reader], timeout=STOP_TIMEOUT_S)
            self._log_reader.cancel()

    @property
    def pid(self) -> int | None:
        """The process, while it runs."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def _read_log(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        async for line in process.stderr:
            log.warning("engine_says", text=line.decode(errors="replace").strip()[:500])
