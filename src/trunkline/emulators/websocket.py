"""The server's side of a WebSocket (RFC 6455), for many small messages.

aiohttp takes the request; from the handshake on, frames are read where they arrive. A recognizer gets fifty a second
and call, each of which would otherwise wake a task: that was most of what a call costs the emulators. No extensions.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections import deque
from collections.abc import Callable
from typing import Any

from aiohttp import web

MAX_MESSAGE_BYTES = 1 << 20
CLOSE_TIMEOUT_S = 1.0
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_MIDDLING_BINARY = b"\x82\xfe"
"""Begins a masked binary message of 126 bytes to 64 KiB in one frame."""
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA


class WebSocket(asyncio.Protocol):
    """One connection after the handshake.

    Attributes:
        on_binary: Takes binary messages as they arrive; without it, `receive` has them.
    """

    def __init__(self, transport: Any, on_lost: Callable[[Exception | None], None]) -> None:
        self.on_binary: Callable[[bytes], None] | None = None
        self._transport = transport
        self._on_lost = on_lost
        self._buffer = bytearray()
        self._parts: list[bytes] = []
        self._kind = _TEXT
        self._came: deque[str | bytes] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._close_sent = False
        self._gone = asyncio.Event()

    async def receive(self) -> str | bytes | None:
        """The next message: a text, or bytes; None: there are no more."""
        while not self._came:
            if self._gone.is_set():
                return None
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._came.popleft()

    def send_now(self, text: str) -> bool:
        """Sends a text where that needs no waiting; returns whether it did."""
        if self._close_sent or self._gone.is_set() or not self._writable.is_set():
            return False
        self._send(_TEXT, text.encode())
        return True

    async def send_str(self, text: str) -> None:
        """Sends a text; waits while the other side does not read. Raises ConnectionError where it is gone."""
        await self._writable.wait()
        if self._gone.is_set() or self._close_sent:
            raise ConnectionResetError("the connection is closed")
        self._send(_TEXT, text.encode())

    async def close(self, code: int = 1000, message: bytes = b"") -> None:
        """Says why it ends, and waits a little for the other side to agree."""
        self._send_close(code.to_bytes(2, "big") + message[:120])
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._gone.wait()
        except TimeoutError:
            self._transport.abort()

    # --- asyncio's side ---

    def data_received(self, data: bytes) -> None:
        """Takes bytes as they come."""
        if not self._buffer and data[:2] == _MIDDLING_BINARY and len(data) == 8 + int.from_bytes(data[2:4], "big"):
            # Nearly all that comes: one whole piece of audio.
            self._kind = _BINARY
            self._deliver(_unmasked(data[8:], data[4:8]))
            return
        self._buffer += data
        while len(self._buffer) > 1 and (frame := self._frame()) is not None:
            self._take(*frame)

    def pause_writing(self) -> None:
        """The other side does not read."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """It reads again."""
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more comes."""
        self._gone.set()
        self._writable.set()
        self._wake()
        self._on_lost(exc)

    def _frame(self) -> tuple[int, bool, bytes] | None:
        """The next whole frame: its kind, whether the message ends with it, and what is in it."""
        buffer = self._buffer
        length, head = buffer[1] & 0x7F, 2
        if length > 125:
            head = 4 if length == 126 else 10
            if len(buffer) < head:
                return None
            length = int.from_bytes(buffer[2:head], "big")
        masked = bool(buffer[1] & 0x80)
        if not masked or buffer[0] & 0x70 or length > MAX_MESSAGE_BYTES:
            # Section 5.1: a client masks; 5.2: bits without an extension; 7.4.1: too big.
            self._fail(1009 if length > MAX_MESSAGE_BYTES else 1002)
            return None
        end = head + 4 + length
        if len(buffer) < end:
            return None
        mask, payload = bytes(buffer[head : head + 4]), buffer[head + 4 : end]
        kind, last = buffer[0] & 0x0F, bool(buffer[0] & 0x80)
        del buffer[:end]
        return kind, last, _unmasked(payload, mask)

    def _take(self, kind: int, last: bool, payload: bytes) -> None:
        if kind in (_TEXT, _BINARY, _CONTINUATION):
            if kind != _CONTINUATION:
                self._kind, self._parts = kind, []
            self._parts.append(payload)
            if sum(map(len, self._parts)) > MAX_MESSAGE_BYTES:
                self._fail(1009)
            elif last:
                self._deliver(b"".join(self._parts) if len(self._parts) > 1 else payload)
        elif kind == _PING:
            self._send(_PONG, payload)
        elif kind == _CLOSE:
            self._send_close(payload[:2])
            self._transport.close()
        elif kind != _PONG:
            self._fail(1002)

    def _deliver(self, payload: bytes) -> None:
        if self._kind == _BINARY:
            if self.on_binary is not None:
                self.on_binary(payload)
                return
            self._came.append(payload)
        else:
            try:
                self._came.append(payload.decode())
            except UnicodeDecodeError:
                self._fail(1007)
        self._wake()

    def _fail(self, code: int) -> None:
        self._send_close(code.to_bytes(2, "big"))
        self._buffer.clear()
        self._transport.close()

    def _send_close(self, payload: bytes) -> None:
        if not (self._close_sent or self._gone.is_set()):
            self._send(_CLOSE, payload)
            self._close_sent = True

    def _send(self, kind: int, payload: bytes) -> None:
        length = len(payload)
        if length < 126:
            head = bytes((0x80 | kind, length))
        elif length < 1 << 16:
            head = bytes((0x80 | kind, 126)) + length.to_bytes(2, "big")
        else:
            head = bytes((0x80 | kind, 127)) + length.to_bytes(8, "big")
        self._transport.write(head + payload)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _unmasked(payload: bytes | bytearray, mask: bytes) -> bytes:
    """Section 5.3."""
    length = len(payload)
    key = int.from_bytes((mask * (length // 4 + 1))[:length], "little")
    return (int.from_bytes(payload, "little") ^ key).to_bytes(length, "little")


def upgrade(request: web.Request, headers: dict[str, str]) -> WebSocket:
    """Answers the handshake (section 4.2.2) and takes the connection over from aiohttp.

    Raises:
        HTTPBadRequest: it is no handshake.
    """
    key = request.headers.get("Sec-WebSocket-Key", "")
    if request.headers.get("Upgrade", "").lower() != "websocket" or not key:
        raise web.HTTPBadRequest(text="not a WebSocket handshake", headers=headers)
    transport = request.transport
    if transport is None:
        raise web.HTTPBadRequest(text="the connection is gone")
    accept = base64.b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()).decode()
    answer = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": accept} | headers
    lines = ["HTTP/1.1 101 Switching Protocols", *(f"{name}: {value}" for name, value in answer.items()), "", ""]
    socket = WebSocket(transport, request.protocol.connection_lost)
    transport.write("\r\n".join(lines).encode())
    transport.set_protocol(socket)
    return socket
