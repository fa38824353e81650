"""What a load test and the collector tell each other: turns as they were heard, and the agents' records."""

from __future__ import annotations

import asyncio
import secrets
import socket
import time
from collections import deque
from collections.abc import Sequence

import httpx
import structlog

from trunkline.core.errors import RemoteProtocolError, UpstreamUnavailableError
from trunkline.core.events import read_event
from trunkline.core.wire import CallRecord, HeardRecord, TurnRecord, encode
from trunkline.loadtest.conversation import CallerTurn

log = structlog.get_logger()

POST_TIMEOUT_S = 2.0
POST_PAUSE_S = 1.0
"""The collector's page looks once a second; each post costs both sides as much as some twenty turns."""
MAX_WAITING = 2_000
"""Of more turns than these the oldest are dropped, and counted."""
MAX_AT_ONCE = 16
RECORDS_TIMEOUT_S = 8.0
"""How long after the last call's end all records may take to reach the collector."""


class HeardSender:
    """Sends each turn at the ear to the collector, over HTTP, in batches: `async with HeardSender(url) as heard`.

    Args:
        url: The collector's /ingest.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._name = f"loadtest-{secrets.token_hex(6)}"
        self._host = socket.gethostname()
        self._seq = 0
        self._waiting: deque[bytes] = deque()
        self._more = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.lost = 0

    async def __aenter__(self) -> HeardSender:
        self._task = asyncio.create_task(self._post_all())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Sends what waits, once more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        async with httpx.AsyncClient(timeout=POST_TIMEOUT_S, trust_env=False) as http:
            await self._post(http)
        self.lost += len(self._waiting)

    def send(self, call: str, number: int, turn: CallerTurn) -> None:
        """Queues a turn that was answered; others have no RoundTrip."""
        if turn.speech_start_us is None or turn.speech_end_us is None or turn.heard_start_us is None:
            return
        self._seq += 1
        record = HeardRecord(
            sender=self._name,
            seq=self._seq,
            host=self._host,
            call=call,
            turn=number,
            speech_start_us=turn.speech_start_us,
            speech_end_us=turn.speech_end_us,
            heard_us=turn.heard_start_us,
        )
        if len(self._waiting) >= MAX_WAITING:
            self._waiting.popleft()
            self.lost += 1
        self._waiting.append(encode(record))
        self._more.set()

    async def _post_all(self) -> None:
        async with httpx.AsyncClient(timeout=POST_TIMEOUT_S, trust_env=False) as http:
            while True:
                await self._more.wait()
                self._more.clear()
                await self._post(http)
                await asyncio.sleep(POST_PAUSE_S)
                if self._waiting:
                    self._more.set()

    async def _post(self, http: httpx.AsyncClient) -> None:
        """Posts what waits; a batch that was not taken goes out again, and the collector takes each record once."""
        batch = list(self._waiting)
        if not batch:
            return
        try:
            async with asyncio.timeout(POST_TIMEOUT_S):
                answer = await http.post(self._url, content=b"\n".join(batch))
        except (httpx.HTTPError, TimeoutError) as error:
            log.debug("heard_not_sent", problem=str(error))
            return
        if answer.status_code >= 500:
            return
        if answer.status_code >= 400:
            self.lost += len(batch) - _accepted(answer)
        for _ in batch:
            self._waiting.popleft()


def _accepted(answer: httpx.Response) -> int:
    """How many records of a post that was refused were taken all the same."""
    try:
        return int(answer.json()["accepted"])
    except (ValueError, TypeError, KeyError):
        return 0


async def fetch_records(
    metrics_url: str, calls: Sequence[str], limit_s: float = RECORDS_TIMEOUT_S
) -> tuple[dict[str, CallRecord], list[TurnRecord]]:
    """What the agents recorded of calls that are over; waits up to `limit_s` in all for the records of their ends.

    Returns:
        The records of calls by the call's name, and those of turns; of some calls there may be none.

    Raises:
        UpstreamUnavailableError: the collector does not answer.
    """
    ends: dict[str, CallRecord] = {}
    turns: dict[str, list[TurnRecord]] = {}
    few = asyncio.Semaphore(MAX_AT_ONCE)
    deadline = time.monotonic() + limit_s

    async def fetch(http: httpx.AsyncClient, call: str) -> None:
        async with few:
            try:
                answer = await http.get(f"{metrics_url}/calls/{call}")
                if answer.status_code != 200:
                    return
                body = answer.json()
                events = [
                    read_event(event) for event in (*body["turns"], *([body["record"]] if body["record"] else []))
                ]
            except (httpx.HTTPError, RemoteProtocolError, ValueError, KeyError, TypeError) as error:
                raise UpstreamUnavailableError("metrics", f"no records from {metrics_url}: {error!r}") from error
        turns[call] = [event for event in events if isinstance(event, TurnRecord)]
        ends.update((call, event) for event in events if isinstance(event, CallRecord))

    async with httpx.AsyncClient(timeout=POST_TIMEOUT_S, trust_env=False) as http:
        while missing := [call for call in calls if call not in ends]:
            results = await asyncio.gather(*(fetch(http, call) for call in missing), return_exceptions=True)
            failed = [result for result in results if isinstance(result, BaseException)]
            if time.monotonic() > deadline:
                if failed:
                    raise failed[0]
                break
            await asyncio.sleep(POST_PAUSE_S)
    return ends, [turn for call in calls for turn in turns.get(call, [])]
