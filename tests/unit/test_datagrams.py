"""The collector's door for datagrams: all that come are handed on in order, in short steps, and a flood is bounded."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from trunkline.core.wire import MAX_DATAGRAM_BYTES
from trunkline.metrics import datagrams
from trunkline.metrics.datagrams import Datagrams

pytestmark = pytest.mark.unit


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Ours and the sender's."""
    with socket.socket(type=socket.SOCK_DGRAM) as ours, socket.socket(type=socket.SOCK_DGRAM) as theirs:
        ours.bind(("127.0.0.1", 0))
        ours.setblocking(False)
        theirs.connect(ours.getsockname())
        yield ours, theirs


async def until(count: int, found: list[bytes]) -> None:
    async with asyncio.timeout(10):
        while len(found) < count:
            await asyncio.sleep(0)


async def test_all_are_handed_on_in_order(ends: tuple[socket.socket, socket.socket]) -> None:
    found: list[bytes] = []
    door = Datagrams(ends[0], found.append, pytest.fail)
    door.open()
    for number in range(500):
        ends[1].send(b"%d" % number)
        if number % 7 == 0:
            await asyncio.sleep(0)
    await until(500, found)
    door.close()
    assert found == [b"%d" % number for number in range(500)]


async def test_a_long_one_is_cut_where_the_collector_sees_that_it_is_too_long(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    found: list[bytes] = []
    door = Datagrams(ends[0], found.append, pytest.fail)
    door.open()
    ends[1].send(b"x" * 20_000)
    await until(1, found)
    door.close()
    assert len(found[0]) == MAX_DATAGRAM_BYTES + 1


async def test_in_a_flood_what_finds_no_room_is_dropped_and_counted(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datagrams, "WAITING_BYTES", 3 * (datagrams.OVERHEAD_BYTES + 1))
    found: list[bytes] = []
    dropped: list[None] = []
    door = Datagrams(ends[0], found.append, lambda: dropped.append(None))
    for _ in range(8):
        ends[1].send(b"x")
    door.open()
    await until(3, found)
    ends[1].send(b"y")
    await until(4, found)
    door.close()
    assert (found, len(dropped)) == ([b"x"] * 3 + [b"y"], 5)


async def test_other_work_has_its_turn_between_steps(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datagrams, "STEP_S", -1.0)
    order: list[str] = []
    door = Datagrams(ends[0], lambda data: order.append(data.decode()), pytest.fail)
    for _ in range(3 * datagrams.LOOK_AT_CLOCK_AFTER):
        ends[1].send(b"datagram")
    door.open()
    while len(order) < 3 * datagrams.LOOK_AT_CLOCK_AFTER:
        await asyncio.sleep(0)
        order.append("other")
    door.close()
    steps = " ".join(order).split("other")
    assert max(step.count("datagram") for step in steps) == datagrams.LOOK_AT_CLOCK_AFTER


async def test_what_had_arrived_before_the_end_is_not_lost(ends: tuple[socket.socket, socket.socket]) -> None:
    found: list[bytes] = []
    door = Datagrams(ends[0], found.append, pytest.fail)
    door.open()
    for _ in range(5):
        ends[1].send(b"x")
    door.close()
    assert len(found) == 5
