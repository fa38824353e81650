"""The agent's sender of records: numbers them, never waits, and counts what it can't send."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from trunkline import marks
from trunkline.core import wire
from trunkline.core.errors import ConfigError
from trunkline.core.events import parse_event
from trunkline.core.wire import Mark, TurnOutcome
from trunkline.marks import MarkSender

pytestmark = pytest.mark.unit

TURN = wire.TurnRecord(
    sender="?",
    seq=0,
    host="h",
    worker="w",
    call="CA1",
    turn=1,
    policy="final",
    outcome=TurnOutcome.ANSWERED,
    marks_us={Mark.SPEECH_START: 1},
)


@pytest.fixture
def collector() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        udp.settimeout(2.0)
        yield udp


def url(udp: socket.socket, host: str = "127.0.0.1") -> str:
    return f"http://{host}:{udp.getsockname()[1]}/ingest"


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


class Posts:
    """An HTTP collector: gives the answers it was told to, in order, and keeps what was posted."""

    def __init__(self, *answers: int | Exception) -> None:
        self.answers = list(answers)
        self.bodies: list[list[Any]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.bodies.append([json.loads(line) for line in request.content.splitlines()])
        answer = self.answers.pop(0) if self.answers else 200
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer, json={"accepted": len(self.bodies[-1]) - (answer == 400)})

    def seqs(self) -> list[list[int]]:
        return [[event["seq"] for event in body] for body in self.bodies]


@pytest.fixture
def posting(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Posts]:
    def install(*answers: int | Exception) -> Posts:
        posts, client = Posts(*answers), httpx.AsyncClient
        monkeypatch.setattr(httpx, "AsyncClient", lambda **_: client(transport=httpx.MockTransport(posts)))
        monkeypatch.setattr(marks, "POST_PAUSE_S", 0.0)
        return posts

    return install


# --- UDP ---


async def test_records_arrive_numbered_in_order(collector: socket.socket) -> None:
    sender = MarkSender(url(collector), "udp", "w")
    for number in (1, 2):
        sender.send(dataclasses.replace(TURN, turn=number))
    await until(lambda: sender._socket is not None)
    sender.send(dataclasses.replace(TURN, turn=3))
    records = [parse_event(collector.recv(9_000)) for _ in range(3)]
    assert [(record.seq, record.turn) for record in records if isinstance(record, wire.TurnRecord)] == [
        (1, 1), (2, 2), (3, 3),
    ]  # fmt: skip
    assert {record.sender for record in records} == {sender.sender}
    assert sender.lost == 0
    sender.close()


def test_two_processes_of_one_name_are_two_senders() -> None:
    first, second = (MarkSender("http://localhost:9100/ingest", "udp", "w") for _ in range(2))
    assert first.sender != second.sender
    assert first.sender.startswith("w.")


async def test_a_name_with_two_addresses_is_reached_by_ipv4(
    collector: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def found(host: str, port: int, **_: Any) -> list[Any]:
        v6 = (socket.AF_INET6, socket.SOCK_DGRAM, 17, "", ("::1", port, 0, 0))
        return [v6, (socket.AF_INET, socket.SOCK_DGRAM, 17, "", ("127.0.0.1", port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", found)
    sender = MarkSender(url(collector, "collector.test"), "udp", "w")
    sender.send(TURN)
    await until(lambda: sender._socket is not None)
    assert parse_event(collector.recv(9_000)).seq == 1
    sender.close()


async def test_while_the_name_is_unknown_the_newest_records_wait(
    collector: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [socket.gaierror(-3, "try again"), TimeoutError()]
    address = collector.getsockname()

    async def found(*_: Any, **__: Any) -> list[Any]:
        if failures:
            raise failures.pop()
        return [(socket.AF_INET, socket.SOCK_DGRAM, 17, "", address)]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", found)
    monkeypatch.setattr(marks, "LOOK_UP_PAUSE_S", 0.0)
    monkeypatch.setattr(marks, "QUEUE_RECORDS", 2)
    sender = MarkSender(url(collector), "udp", "w")
    for _ in range(3):
        sender.send(TURN)
    await until(lambda: sender._socket is not None)
    assert [parse_event(collector.recv(9_000)).seq for _ in range(2)] == [2, 3]
    assert sender.lost == 1
    sender.close()


async def test_a_name_is_looked_up_again_after_a_failure_but_not_at_once(collector: socket.socket) -> None:
    sender = MarkSender(url(collector), "udp", "w", now=lambda: 100.0)
    sender.send(TURN)
    await until(lambda: sender._socket is not None)
    assert sender._socket is not None
    sender._socket.close()
    for _ in range(3):
        sender.send(TURN)
    await asyncio.sleep(0)
    assert sender.lost == 3
    assert sender._look_up_at == 100.0 + marks.LOOK_UP_PAUSE_S
    assert sender._task is not None
    assert not sender._task.done()
    sender.close()


async def test_a_collector_that_is_not_there_is_noticed(collector: socket.socket) -> None:
    sender = MarkSender(url(collector), "udp", "w")
    sender.send(TURN)
    await until(lambda: sender._socket is not None)
    collector.close()
    for _ in range(4):
        sender.send(TURN)
    assert sender.lost >= 2
    sender.close()


@pytest.mark.parametrize(("understood", "answer"), [("ü" * 9_000, "hi"), ("\x01" * 9_000, "a" * 9_000)])
async def test_a_record_too_long_for_a_datagram_loses_the_end_of_its_texts(
    collector: socket.socket, understood: str, answer: str
) -> None:
    sender = MarkSender(url(collector), "udp", "w")
    sender.send(dataclasses.replace(TURN, understood=understood, answer=answer))
    await until(lambda: sender._socket is not None)
    record = parse_event(collector.recv(65_535))
    assert isinstance(record, wire.TurnRecord)
    assert record.understood.endswith("…")
    assert understood.startswith(record.understood[:-1])
    assert record.answer == answer or record.answer.endswith("a…")
    sender.close()


async def test_what_can_not_be_sent_raises_nothing(collector: socket.socket) -> None:
    sender = MarkSender(url(collector), "udp", "w")
    sender.send(dataclasses.replace(TURN, host="x" * 9_000))
    sender.send(dataclasses.replace(TURN, understood="\ud800"))
    sender.close()
    sender.send(TURN)
    assert sender.lost == 3


# --- HTTP ---


async def test_records_are_posted_many_at_a_time(
    posting: Callable[..., Posts], monkeypatch: pytest.MonkeyPatch
) -> None:
    posts = posting()
    monkeypatch.setattr(marks, "BATCH_RECORDS", 2)
    sender = MarkSender("http://collector/ingest", "http", "w")
    for _ in range(5):
        sender.send(TURN)
    await until(lambda: len(posts.bodies) == 3)
    assert posts.seqs() == [[1, 2], [3, 4], [5]]
    sender.send(TURN)
    await until(lambda: len(posts.bodies) == 4)
    assert sender.lost == 0
    sender.close()


@pytest.mark.parametrize("failure", [503, httpx.ConnectError("no"), httpx.ReadTimeout("late")], ids=str)
async def test_a_post_that_failed_is_tried_again(posting: Callable[..., Posts], failure: Any) -> None:
    posts = posting(failure)
    sender = MarkSender("http://collector/ingest", "http", "w")
    sender.send(TURN)
    await until(lambda: len(posts.bodies) == 2)
    assert posts.seqs() == [[1], [1]]
    assert sender.lost == 0
    sender.close()


async def test_a_record_that_is_refused_is_counted_and_not_sent_again(posting: Callable[..., Posts]) -> None:
    posts = posting(400)
    sender = MarkSender("http://collector/ingest", "http", "w")
    sender.send(TURN)
    sender.send(TURN)
    await until(lambda: sender.lost == 1)
    assert posts.seqs() == [[1, 2]]
    sender.close()


async def test_what_still_waits_is_posted_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    last: list[bytes] = []
    monkeypatch.setattr(httpx, "post", lambda _, content, **__: last.append(content))
    sender = MarkSender("http://collector/ingest", "http", "w")
    sender.send(TURN)
    sender.send(TURN)
    sender.close()
    assert [parse_event(line).seq for line in last[0].splitlines()] == [1, 2]


@pytest.mark.parametrize("endpoint", ["", "localhost:9100", "http://:9100", "http://h:99999/", "ftp://h/", "http://[/"])
def test_an_endpoint_that_is_no_url_is_told_at_the_start(endpoint: str) -> None:
    with pytest.raises(ConfigError, match="METRICS_ENDPOINT"):
        MarkSender(endpoint, "http", "w")
