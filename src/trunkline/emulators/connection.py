"""What all emulated providers do with a WebSocket: fail at the handshake by luck, and send without waiting."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from trunkline.emulators.behaviour import Fault, Luck
from trunkline.emulators.websocket import WebSocket, upgrade

LABEL = {"Server": "trunkline-emulated"}
"""Nobody shall take these answers for a provider's."""
MAX_WAITING = 512
"""Messages to a client that does not read; one more, and the connection is cut."""
SEND_TIMEOUT_S = 10.0
GARBAGE = '{"type": "Results", "channel": [}'
"""No JSON."""


def refusal(status: int, body: Mapping[str, Any]) -> web.Response:
    """An HTTP error in place of the handshake."""
    return web.json_response(dict(body), status=status, headers=LABEL)


async def handshake_fault(request: web.Request, luck: Luck) -> int | None:
    """Lets luck have its way before the handshake. Returns the HTTP status to refuse with, or None."""
    fault = luck.connection_fault()
    if fault is Fault.REFUSE:
        cut(request)
        return 503
    if fault is Fault.SLOW_START:
        await asyncio.sleep(luck.behaviour.slow_start_s)
    return int(fault.value) if fault in (Fault.UNAUTHORIZED, Fault.PAYMENT, Fault.TOO_MANY) else None


@asynccontextmanager
async def accepted(request: web.Request) -> AsyncIterator[WebSocket]:
    """The connection after its handshake; closed at the end."""
    socket = upgrade(request, LABEL)
    try:
        yield socket
    finally:
        if request.transport is not None:
            request.transport.close()


def cut(request: web.Request) -> None:
    """Ends the connection without a word."""
    if request.transport is not None:
        request.transport.abort()


class Outbox:
    """Messages on their way to one client."""

    def __init__(self, request: web.Request, socket: WebSocket) -> None:
        self._request = request
        self._socket = socket
        self._waiting: asyncio.Queue[str | None] = asyncio.Queue(MAX_WAITING)
        self._unsent = 0
        self._stalled = False

    def send(self, message: Mapping[str, Any]) -> None:
        """Sends JSON, after what was sent before."""
        self.send_text(json.dumps(message, separators=(",", ":")))

    def send_text(self, text: str) -> None:
        """Sends a text as it is."""
        self._put(text)

    def stall(self) -> None:
        """From now on nothing is sent."""
        self._stalled = True

    def cut(self) -> None:
        """Ends the connection without a word, after what was sent before."""
        self._put(None)
        self._stalled = True

    def go_wrong(self, fault: Fault) -> None:
        """Has the fault of a sentence befall the connection."""
        if fault is Fault.STALL:
            self.stall()
        elif fault is Fault.GARBAGE:
            self.send_text(GARBAGE)
        elif fault is Fault.CUT:
            self.cut()

    async def drained(self) -> None:
        """Returns when all that was sent is on its way."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await self._waiting.join()

    def _put(self, text: str | None) -> None:
        if self._stalled:
            return
        # Nearly always: a task woken for each message costs as much as sending it.
        if not self._unsent and text is not None and self._socket.send_now(text):
            return
        if self._waiting.full():
            self._stalled = True
            cut(self._request)
            return
        self._unsent += 1
        self._waiting.put_nowait(text)

    async def _write(self) -> None:
        while True:
            text = await self._waiting.get()
            if text is None:
                self._waiting.task_done()
                cut(self._request)
                return
            try:
                async with asyncio.timeout(SEND_TIMEOUT_S):
                    await self._socket.send_str(text)
            except (ConnectionError, TimeoutError):
                self._stalled = True
                cut(self._request)
            finally:
                self._unsent -= 1
                self._waiting.task_done()


@asynccontextmanager
async def outbox(request: web.Request, socket: WebSocket) -> AsyncIterator[Outbox]:
    """An outbox for as long as the connection lasts."""
    box = Outbox(request, socket)
    writer = asyncio.get_running_loop().create_task(box._write())
    try:
        yield box
    finally:
        writer.cancel()
        await asyncio.wait({writer}, timeout=1.0)
