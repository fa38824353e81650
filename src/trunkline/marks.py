"""Sends records to the metrics collector, without ever making a call wait.

They come from a worker's sessions and from the orchestrator's refusals (`send`), and leave as one UDP datagram each or,
with METRICS_TRANSPORT=http, in posts of many. What can't be sent at once waits in one bounded queue whose rule is: the
oldest is dropped and counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import secrets
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import httpx
import structlog

from trunkline.core import wire
from trunkline.core.errors import ConfigError
from trunkline.settings import host_port

log = structlog.get_logger()

COLLECTOR_PORT = 9100
QUEUE_RECORDS = 1_000
BATCH_RECORDS = 100
"""Of at most 8 KiB each: a post stays below the collector's limit of 1 MiB."""
LOOK_UP_TIMEOUT_S = 5.0
LOOK_UP_PAUSE_S = 5.0
POST_TIMEOUT_S = 2.0
POST_PAUSE_S = 1.0
LAST_POST_TIMEOUT_S = 1.0
REPORT_PAUSE_S = 10.0
CUT = "…"

Record: TypeAlias = wire.TurnRecord | wire.CallRecord | wire.HeardRecord | wire.WorkerRecord | wire.RefusalRecord


class MarkSender:
    """Numbers records and sends them. Belongs to one event loop.

    Args:
        endpoint_url: The collector; for UDP only its host and port matter.
        transport: "udp" or "http".
        sender_id: Who sends. A random part is added, so that a process that starts again under the same name and
            counts from 1 again is not taken for a repetition.
        now: Monotonic seconds; tests pass made-up time.

    Raises:
        ConfigError: the URL names no host, or no HTTP one where HTTP is asked for.
    """

    def __init__(
        self, endpoint_url: str, transport: str, sender_id: str, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.sender = f"{sender_id}.{secrets.token_hex(4)}"
        self.lost = 0
        self._url = endpoint_url
        self._address = _address_of(endpoint_url, transport)
        self._carry = self._post_all if transport == "http" else self._connect
        self._now = now
        self._seq = 0
        self._queue: deque[bytes] = deque()
        self._batch: list[bytes] = []
        self._more = asyncio.Event()
        self._socket: socket.socket | None = None
        self._look_up_at = now()
        self._report_at = now()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def send(self, record: Record) -> None:
        """Sends a record, or drops and counts it; never blocks and never raises."""
        if self._closed:
            self._lose("closed")
            return
        self._seq += 1
        try:
            payload = _encode_within_limit(dataclasses.replace(record, sender=self.sender, seq=self._seq))
        except (TypeError, ValueError) as error:
            self._lose(f"not encodable: {error}")
            return
        if self._socket is not None:
            self._send_datagram(payload)
            return
        if len(self._queue) == QUEUE_RECORDS:
            self._queue.popleft()
            self._lose("queue full")
        self._queue.append(payload)
        self._wake()

    def close(self) -> None:
        """Sends what still waits, within a second, and closes. Call it when the loop has nothing else left to do."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        waiting = [*self._batch, *self._queue][:BATCH_RECORDS]
        if waiting and self._carry == self._post_all:
            # A post that was under way goes out twice; the collector knows the numbers and takes each once.
            with contextlib.suppress(httpx.HTTPError):
                httpx.post(self._url, content=b"\n".join(waiting), timeout=LAST_POST_TIMEOUT_S, trust_env=False)
        self._batch.clear()
        self._queue.clear()

    def _wake(self) -> None:
        self._more.set()
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._carry())

    # UDP: a connected socket, so that the network's "nobody listens there" comes back as an error.

    async def _connect(self) -> None:
        """Looks up the collector until it is found, and sends what waited for it."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._look_up_at - self._now())
            self._look_up_at = self._now() + LOOK_UP_PAUSE_S
            try:
                async with asyncio.timeout(LOOK_UP_TIMEOUT_S):
                    found = await loop.getaddrinfo(*self._address, type=socket.SOCK_DGRAM)
                # The collector listens on IPv4 unless told otherwise, and a datagram gets no second try.
                family, *_, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
                fresh = _connected(family, address)
                break
            except OSError as error:  # TimeoutError and gaierror are among them
                self._report(f"{self._address[0]}: {error or type(error).__name__}")
        if self._socket is not None:
            self._socket.close()
        self._socket = fresh
        while self._queue:
            self._send_datagram(self._queue.popleft())

    def _send_datagram(self, payload: bytes) -> None:
        assert self._socket is not None
        try:
            try:
                self._socket.send(payload)
            except ConnectionRefusedError as error:
                # It tells of an earlier datagram; this one was not sent yet.
                self._lose(str(error))
                self._wake()
                self._socket.send(payload)
        except BlockingIOError as error:
            self._lose(str(error))
        except OSError as error:
            self._lose(str(error))
            self._wake()

    # HTTP: one task that posts as long as there is something to post.

    async def _post_all(self) -> None:
        async with httpx.AsyncClient(timeout=POST_TIMEOUT_S, trust_env=False) as http:
            while True:
                await self._more.wait()
                self._more.clear()
                while self._queue or self._batch:
                    while self._queue and len(self._batch) < BATCH_RECORDS:
                        self._batch.append(self._queue.popleft())
                    if await self._was_posted(http):
                        self._batch.clear()
                    else:
                        await asyncio.sleep(POST_PAUSE_S)

    async def _was_posted(self, http: httpx.AsyncClient) -> bool:
        """Whether the batch is done with: taken, or refused for good."""
        try:
            async with asyncio.timeout(POST_TIMEOUT_S):
                response = await http.post(self._url, content=b"\n".join(self._batch))
        except (httpx.HTTPError, TimeoutError) as error:
            self._report(str(error) or type(error).__name__)
            return False
        if response.status_code >= 500:
            self._report(f"status {response.status_code}")
            return False
        if response.status_code >= 400:
            self._lose(f"status {response.status_code}", len(self._batch) - _accepted(response))
        return True

    def _lose(self, problem: str, records: int = 1) -> None:
        self.lost += records
        self._report(problem)

    def _report(self, problem: str) -> None:
        if self._now() >= self._report_at:
            self._report_at = self._now() + REPORT_PAUSE_S
            log.warning("metrics_not_sent", problem=problem, lost=self.lost)


def _accepted(response: httpx.Response) -> int:
    """How many events of a post that was refused were taken all the same."""
    try:
        return int(response.json()["accepted"])
    except (ValueError, TypeError, KeyError):
        return 0


def _address_of(url: str, transport: str) -> tuple[str, int]:
    try:
        parts = urlsplit(url)
        address = host_port(url, COLLECTOR_PORT)
        httpx.URL(url)
    except (ValueError, httpx.InvalidURL) as error:
        raise ConfigError(f"METRICS_ENDPOINT {url!r} is no URL: {error}") from error
    if not parts.hostname or (transport == "http" and parts.scheme not in ("http", "https")):
        raise ConfigError(f"METRICS_ENDPOINT {url!r} is not http://HOST:PORT/ingest")
    return address


def _connected(family: int, address: tuple[Any, ...]) -> socket.socket:
    """A non-blocking UDP socket that sends to `address`. Raises OSError."""
    fresh = socket.socket(family, socket.SOCK_DGRAM)
    try:
        fresh.setblocking(False)
        fresh.connect(address)
    except OSError:
        fresh.close()
        raise
    return fresh


def _encode_within_limit(record: Record) -> bytes:
    """A record as JSON; a turn that is too long for a datagram loses the end of its texts. Raises ValueError."""
    payload = wire.encode(record)
    kept = 0
    if isinstance(record, wire.TurnRecord):
        kept = max(len(record.understood), len(record.answer), len(record.heard))
    while len(payload) > wire.MAX_DATAGRAM_BYTES and kept and isinstance(record, wire.TurnRecord):
        kept //= 2
        record = dataclasses.replace(
            record,
            understood=_cut(record.understood, kept),
            answer=_cut(record.answer, kept),
            heard=_cut(record.heard, kept),
        )
        payload = wire.encode(record)
    if len(payload) > wire.MAX_DATAGRAM_BYTES:
        raise ValueError(f"{len(payload)} bytes")
    return payload


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[:length].removesuffix(CUT) + CUT
