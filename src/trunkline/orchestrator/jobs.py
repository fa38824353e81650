"""Brings jobs to workers, whichever orchestrator holds their socket.

Each worker keeps one WebSocket to some orchestrator, which subscribes to the worker's channel in Redis; whoever has a
job for it publishes it there. Redis tells how many listen: nobody means that the worker is to be had by none of us.
What is lost on the way is found by the watchdog, since no lease is taken.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections import deque

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from trunkline.core import wire
from trunkline.core.errors import UpstreamUnavailableError

log = structlog.get_logger()

MAX_WAITING = 64
"""Jobs for one worker; one that lets so many lie is cut off, and they go to others."""
SILENCE_S = 2.0
"""After so long Redis is asked for a sign of life; after twice as long the connection is made anew."""
RETRY_S = 0.2

REPLACED = 4001
"""Close code: the same worker has connected again."""
TOO_SLOW = 4002
"""Close code: it does not take its jobs from the socket."""


class Outbox:
    """Jobs that wait to be sent over one worker's socket.

    Args:
        connection: Its id.
    """

    def __init__(self, connection: str) -> None:
        self.connection = connection
        self.waiting: deque[wire.Job] = deque()
        self.close_code = 0
        self._changed = asyncio.Event()

    def put(self, job: wire.Job) -> None:
        """Takes a job; one too many closes the outbox."""
        self.waiting.append(job)
        if len(self.waiting) > MAX_WAITING:
            self.close(TOO_SLOW)
        self._changed.set()

    def close(self, code: int) -> None:
        """Nothing more is sent; what waits goes elsewhere."""
        self.close_code = code
        self._changed.set()

    async def next(self) -> wire.Job | None:
        """The oldest job, which stays in `waiting` until the caller has sent it; None where the outbox is closed."""
        while not self.waiting and not self.close_code:
            self._changed.clear()
            await self._changed.wait()
        return None if self.close_code else self.waiting[0]


class Jobs:
    """The sockets of one orchestrator's workers, and the way to those of the others.

    Args:
        redis: Decodes answers to text.
        prefix: Of our names in Redis.
    """

    def __init__(self, redis: Redis, prefix: str) -> None:
        self._redis = redis
        self._prefix = f"{prefix}jobs:"
        self._outboxes: dict[str, Outbox] = {}
        self._pubsub: PubSub | None = None
        self._subscribing = asyncio.Lock()
        self.listening = asyncio.Event()

    async def run(self) -> None:
        """Listens for jobs until cancelled, on one connection that is made again where it is lost."""
        while True:
            try:
                await self._listen()
            except (RedisError, OSError) as error:
                if self.listening.is_set():
                    log.error("jobs_deaf", error=str(error) or type(error).__name__)
            finally:
                self.listening.clear()
                self._pubsub = None
            await asyncio.sleep(RETRY_S)

    async def send(self, worker: str, job: wire.Job) -> bool:
        """Sends a job on its way; False where nobody has the worker's socket. Raises UpstreamUnavailableError."""
        try:
            return bool(await self._redis.publish(self._prefix + worker, wire.encode(job)))
        except (RedisError, OSError) as error:
            raise UpstreamUnavailableError("redis", str(error) or type(error).__name__) from error

    async def attach(self, worker: str) -> Outbox:
        """A worker has connected to us: an older socket of its is closed, here or elsewhere."""
        outbox = Outbox(secrets.token_hex(8))
        if (older := self._outboxes.get(worker)) is not None:
            older.close(REPLACED)
        self._outboxes[worker] = outbox
        # Where Redis is away, `run` subscribes for all sockets that it finds.
        with contextlib.suppress(RedisError, OSError):
            async with self._subscribing:
                if self._pubsub is not None:
                    await self._pubsub.subscribe(self._prefix + worker)
            await self._redis.publish(self._prefix + worker, json.dumps({"attached": outbox.connection}))
        return outbox

    async def detach(self, worker: str, outbox: Outbox) -> list[wire.Job]:
        """The socket is closed; the jobs that were not sent."""
        if self._outboxes.get(worker) is outbox:
            del self._outboxes[worker]
            with contextlib.suppress(RedisError, OSError):
                async with self._subscribing:
                    # It may have connected again meanwhile.
                    if self._pubsub is not None and worker not in self._outboxes:
                        await self._pubsub.unsubscribe(self._prefix + worker)
        return list(outbox.waiting)

    async def _listen(self) -> None:
        async with self._redis.pubsub() as pubsub:
            # A channel of nobody's keeps the connection subscribed while no worker is there.
            await pubsub.subscribe(self._prefix, *(self._prefix + worker for worker in self._outboxes))
            self._pubsub = pubsub
            self.listening.set()
            asked = False
            while True:
                message = await pubsub.get_message(timeout=SILENCE_S)
                if message is None:
                    if asked:
                        raise ConnectionError("no sign of life")
                    await pubsub.ping()
                elif message["type"] == "message":
                    self._deliver(message["channel"].removeprefix(self._prefix), message["data"])
                asked = message is None

    def _deliver(self, worker: str, text: str) -> None:
        outbox = self._outboxes.get(worker)
        if outbox is None:
            return
        try:
            said = json.loads(text)
            if "attached" not in said:
                outbox.put(wire.job_of(said))
            elif said["attached"] != outbox.connection:
                outbox.close(REPLACED)
        except (ValueError, TypeError) as error:
            log.error("job_unreadable", worker=worker, error=str(error))
