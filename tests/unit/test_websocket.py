"""The emulators' WebSocket: frames however they are cut, controls, and what breaks the protocol."""

from __future__ import annotations

import asyncio
import random

import pytest

from trunkline.emulators.websocket import MAX_MESSAGE_BYTES, WebSocket

pytestmark = pytest.mark.unit

MASK = b"\x01\x02\x03\x04"


class Transport:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.written = b""
        self.closed = False

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True


def frame(kind: int, payload: bytes, last: bool = True) -> bytes:
    length = len(payload)
    if length < 126:
        head = bytes((0x80 * last | kind, 0x80 | length))
    elif length < 1 << 16:
        head = bytes((0x80 * last | kind, 0xFE)) + length.to_bytes(2, "big")
    else:
        head = bytes((0x80 * last | kind, 0xFF)) + length.to_bytes(8, "big")
    return head + MASK + bytes(byte ^ MASK[index % 4] for index, byte in enumerate(payload))


def connection() -> tuple[WebSocket, Transport]:
    transport = Transport()
    return WebSocket(transport, lambda _: None), transport


@pytest.mark.parametrize("seed", range(5))
async def test_messages_of_all_sizes_arrive_however_the_bytes_are_cut(seed: int) -> None:
    rng = random.Random(seed)
    socket, _ = connection()
    heard: list[bytes] = []
    socket.on_binary = heard.append
    messages = [rng.randbytes(size) for size in (0, 1, 125, 126, 640, 640, 65_535, 65_536, 3)]
    stream = b"".join(frame(2, message) for message in messages) + frame(1, "grüß".encode())
    while stream:
        cut = rng.choice((1, 2, 3, 7, 648, 5_000, len(stream)))
        socket.data_received(stream[:cut])
        stream = stream[cut:]
    assert heard == messages
    assert await socket.receive() == "grüß"


async def test_a_message_in_pieces_is_one_message() -> None:
    socket, transport = connection()
    for part in (frame(1, b"one ", last=False), frame(9, b"still there?"), frame(0, b"two")):
        socket.data_received(part)
    assert await socket.receive() == "one two"
    assert transport.written == b"\x8a\x0cstill there?"


async def test_a_text_is_sent_in_one_frame() -> None:
    socket, transport = connection()
    for text in ("x" * 125, "x" * 126, "x" * 65_536):
        transport.written = b""
        await socket.send_str(text)
        head = {125: b"\x81\x7d", 126: b"\x81\x7e\x00\x7e", 65_536: b"\x81\x7f" + (65_536).to_bytes(8, "big")}[
            len(text)
        ]
        assert transport.written == head + text.encode()


async def test_a_close_is_answered_and_ends_it() -> None:
    socket, transport = connection()
    socket.data_received(frame(8, (1000).to_bytes(2, "big") + b"bye"))
    assert (transport.written, transport.closed) == (b"\x88\x02\x03\xe8", True)
    socket.connection_lost(None)
    assert await socket.receive() is None
    with pytest.raises(ConnectionError):
        await socket.send_str("late")


async def test_a_close_of_ours_waits_for_the_answer() -> None:
    socket, transport = connection()
    closing = asyncio.create_task(socket.close(1008, b"no"))
    await asyncio.sleep(0)
    assert (transport.written, closing.done()) == (b"\x88\x04\x03\xf0no", False)
    socket.connection_lost(None)
    await closing


async def test_sending_waits_while_the_other_side_does_not_read() -> None:
    socket, transport = connection()
    socket.pause_writing()
    sending = asyncio.create_task(socket.send_str("x"))
    await asyncio.sleep(0)
    assert transport.written == b""
    socket.resume_writing()
    await sending
    assert transport.written == b"\x81\x01x"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x82\x01x", 1002),
        (b"\xc2\x81" + MASK + b"x", 1002),
        (frame(3, b"x"), 1002),
        (b"\x82\xff" + (MAX_MESSAGE_BYTES + 1).to_bytes(8, "big") + MASK, 1009),
        (frame(1, b"\xff\xfe"), 1007),
    ],
)
async def test_what_breaks_the_protocol_ends_it_with_its_code(data: bytes, code: int) -> None:
    socket, transport = connection()
    socket.data_received(data + frame(2, b"x"))
    assert transport.written == b"\x88\x02" + code.to_bytes(2, "big")
    assert transport.closed
