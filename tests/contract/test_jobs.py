"""Calls handed to workers over their sockets: real Redis, real HTTP servers, the worker's real socket."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import pytest
import uvicorn
from redis.asyncio import Redis

from tests.contract.test_orchestrator import Orch, make, settings
from trunkline.agent import jobs as worker_side
from trunkline.agent.jobs import JobSocket
from trunkline.agent.orchestrator_client import worker_token
from trunkline.core import wire
from trunkline.core.errors import UpstreamRejectedError
from trunkline.orchestrator import jobs as orchestrator_side
from trunkline.orchestrator.app import create_app
from trunkline.orchestrator.failover import Watchdog
from trunkline.orchestrator.jobs import REPLACED, TOO_SLOW
from trunkline.orchestrator.registry import PREFIX
from trunkline.orchestrator.worker_socket import UNREADABLE
from trunkline.settings import Settings

pytestmark = pytest.mark.contract

LIMIT_S = 5.0
PHONE = wire.CallKind.PHONE


@dataclass
class Replica:
    """One orchestrator that serves."""

    orch: Orch
    url: str

    async def call(self, call: str) -> None:
        await self.orch.context.calls.begin(call, PHONE)


@dataclass
class FakeWorker:
    """A worker's socket, and what came by it."""

    refuses: str = ""
    taken: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    refused: list[str] = field(default_factory=list)

    def take(self, job: wire.Job) -> str:
        assert job.room == wire.room_of(job.call)
        if self.refuses:
            self.refused.append(job.call)
        else:
            self.taken.put_nowait(job.call)
        return self.refuses

    async def next(self) -> str:
        return await asyncio.wait_for(self.taken.get(), LIMIT_S)


def worker_settings(name: str, url: str) -> Settings:
    return settings().model_copy(update={"worker_id": name, "orch_url": url})


@asynccontextmanager
async def replica(redis_url: str) -> AsyncIterator[Replica]:
    orch = make(settings(), redis_url)
    jobs = orch.context.registry.jobs
    with socket.create_server(("127.0.0.1", 0)) as door:
        config = uvicorn.Config(create_app(orch.context), lifespan="off", log_config=None, timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        serving, listening = asyncio.create_task(server.serve([door])), asyncio.create_task(jobs.run())
        await asyncio.wait_for(jobs.listening.wait(), LIMIT_S)
        try:
            yield Replica(orch, f"http://127.0.0.1:{door.getsockname()[1]}")
        finally:
            server.should_exit = True
            await serving
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            await orch.http.aclose()
            await orch.context.registry.close()


@asynccontextmanager
async def worker(name: str, at: Replica, refuses: str = "") -> AsyncIterator[FakeWorker]:
    """A connected worker with a sign of life."""
    made = FakeWorker(refuses)
    sock = JobSocket(worker_settings(name, at.url), made)
    running = asyncio.create_task(sock.run())
    try:
        await asyncio.wait_for(sock.connected.wait(), LIMIT_S)
        await at.orch.beat(worker=name)
        yield made
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.fixture(autouse=True)
async def quick(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_side, "RETRY_S", (0.01, 0.02))
    async with Redis.from_url(redis_url) as redis:
        await redis.flushall()


@pytest.fixture
async def one(redis_url: str) -> AsyncIterator[Replica]:
    async with replica(redis_url) as opened:
        yield opened


@pytest.fixture
async def other(redis_url: str) -> AsyncIterator[Replica]:
    async with replica(redis_url) as opened:
        yield opened


async def assigned(at: Replica, call: str) -> str:
    entry = await at.orch.context.registry.knows(call)
    assert entry is not None
    return entry.assigned


async def raw_socket(http: aiohttp.ClientSession, at: Replica, name: str) -> aiohttp.ClientWebSocketResponse:
    headers = {"Authorization": f"Bearer {worker_token(worker_settings(name, at.url))}"}
    return await http.ws_connect(f"{at.url}/workers/{name}/jobs", headers=headers)


async def test_a_burst_comes_to_the_workers_evenly_and_after_its_room_is_made(one: Replica) -> None:
    async with worker("w1", one) as first, worker("w2", one) as second:
        calls = [f"c{n}" for n in range(20)]
        await asyncio.gather(*(one.call(call) for call in calls))
        got = [await each.next() for each in (first, second) for _ in range(10)]
        assert sorted(got) == sorted(calls)
        assert first.taken.empty()
        assert second.taken.empty()
    assert sorted(one.orch.livekit.asked) == sorted(f"create {call}" for call in calls)


async def test_any_orchestrator_reaches_a_worker_that_is_connected_to_another(one: Replica, other: Replica) -> None:
    async with worker("w1", one) as first, worker("w2", other) as second:
        await one.call("a")
        await one.call("b")
        assert [await first.next(), await second.next()] == ["a", "b"]


async def test_a_job_that_is_refused_is_with_the_next_worker_at_once(one: Replica, other: Replica) -> None:
    async with (
        worker("w1", one, "full") as full,
        worker("w2", other, "draining") as draining,
        worker("w3", one) as free,
    ):
        await other.call("a")
        assert await free.next() == "a"
        assert (full.refused, draining.refused) == (["a"], ["a"])
        assert await assigned(one, "a") == "w3"


async def test_a_job_that_all_refuse_waits_for_the_watchdog_and_goes_round_no_circle(one: Replica) -> None:
    async with worker("w1", one, "full") as first, worker("w2", one, "full") as second:
        await one.call("a")
        async with asyncio.timeout(LIMIT_S):
            while await assigned(one, "a"):
                await asyncio.sleep(0.01)
        assert (first.refused, second.refused) == (["a"], ["a"])


async def test_a_worker_that_lives_but_is_not_connected_is_passed_over(one: Replica) -> None:
    await one.orch.beat(worker="w0")
    async with worker("w1", one) as connected:
        await one.call("a")
        assert await connected.next() == "a"
        assert await assigned(one, "a") == "w1"


async def test_what_a_dead_socket_has_swallowed_the_watchdog_gives_to_another(one: Replica, redis_url: str) -> None:
    async with aiohttp.ClientSession() as http, worker("w2", one) as alive:
        swallowing = await raw_socket(http, one, "w1")
        await one.orch.beat(worker="w1")
        await one.call("a")
        assert json.loads((await swallowing.receive(LIMIT_S)).data)["call"] == "a"
        async with Redis.from_url(redis_url) as redis:
            for name in ("dispatched", "orphaned"):
                await redis.hincrby(f"{PREFIX}call:a", name, -1_600)
        context = one.orch.context
        await Watchdog(context.registry, context.calls, one.orch.livekit).look()  # type: ignore[arg-type]
        assert await alive.next() == "a"
        await swallowing.close()


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_a_second_connection_of_a_worker_replaces_the_first(
    one: Replica, other: Replica, elsewhere: bool
) -> None:
    async with aiohttp.ClientSession() as http:
        first = await raw_socket(http, one, "w1")
        second = await raw_socket(http, other if elsewhere else one, "w1")
        await first.receive(LIMIT_S)
        assert first.close_code == REPLACED
        await one.orch.beat(worker="w1")
        await one.call("a")
        assert json.loads((await second.receive(LIMIT_S)).data) == {"call": "a", "room": "room-a", "v": 1}
        await second.close()


async def test_a_lost_connection_is_made_again(one: Replica) -> None:
    async with worker("w1", one) as lasting:
        await one.call("a")
        assert await lasting.next() == "a"
        outbox = one.orch.context.registry.jobs._outboxes["w1"]
        outbox.close(1012)
        async with asyncio.timeout(LIMIT_S):
            while one.orch.context.registry.jobs._outboxes.get("w1") in (None, outbox):
                await asyncio.sleep(0.01)
        await one.call("b")
        assert await lasting.next() == "b"


async def test_a_subscription_that_redis_has_cut_is_made_again_for_all_sockets(one: Replica, redis_url: str) -> None:
    async with worker("w1", one) as lasting, Redis.from_url(redis_url) as redis:
        await redis.client_kill_filter(_type="pubsub")
        async with asyncio.timeout(LIMIT_S):
            while [count for _, count in await redis.pubsub_numsub(f"{PREFIX}jobs:w1")] != [1]:
                await asyncio.sleep(0.01)
        await one.call("a")
        assert await lasting.next() == "a"


async def test_a_worker_that_lets_its_jobs_lie_is_cut_off_and_they_go_to_others(
    one: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orchestrator_side, "MAX_WAITING", 1)
    registry = one.orch.context.registry
    async with aiohttp.ClientSession() as http:
        slow = await raw_socket(http, one, "w1")
        await one.orch.beat(worker="w1")
        assert [await registry.reserve(call, PHONE, "", 0) for call in "ab"] == ["w1", "w1"]
        async with worker("w2", one) as alive:
            # In one go: nothing is sent in between.
            for call in "ab":
                registry.jobs._outboxes["w1"].put(wire.Job(call=call, room=wire.room_of(call)))
            assert sorted([await alive.next(), await alive.next()]) == ["a", "b"]
        await slow.receive(LIMIT_S)
        assert slow.close_code == TOO_SLOW


async def test_what_is_no_refusal_closes_the_socket(one: Replica) -> None:
    async with aiohttp.ClientSession() as http:
        for text in ("", "no json", "[]", '{"call": 7}', '{"call": "a", "room": "r"}'):
            odd = await raw_socket(http, one, "w1")
            await odd.send_str(text)
            await odd.receive(LIMIT_S)
            assert odd.close_code == UNREADABLE, text


@pytest.mark.parametrize(("bearer", "status"), [("", 401), ("junk", 401), ("another worker", 403)])
async def test_only_the_worker_itself_may_connect(one: Replica, bearer: str, status: int) -> None:
    token = worker_token(worker_settings("w2", one.url)) if status == 403 else bearer
    async with aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await http.ws_connect(f"{one.url}/workers/w1/jobs", headers={"Authorization": f"Bearer {token}"})
    assert refused.value.status == status


async def test_a_key_that_is_refused_at_first_ends_the_worker(one: Replica) -> None:
    wrong = worker_settings("w1", one.url).model_copy(update={"livekit_api_key": "another"})
    with pytest.raises(UpstreamRejectedError, match="LIVEKIT_API_KEY"):
        await asyncio.wait_for(JobSocket(wrong, FakeWorker()).run(), LIMIT_S)
