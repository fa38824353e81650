"""The worker's side of LiveKit's agent dispatch, against a server that speaks the same protocol."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import WSCloseCode, web
from aiohttp.test_utils import TestServer
from livekit import api
from livekit.protocol import agent as proto
from livekit.protocol import models
from pydantic import SecretStr

from trunkline.agent import dispatch as module
from trunkline.agent.dispatch import Dispatch
from trunkline.agent.session import Job
from trunkline.core.errors import UpstreamRejectedError
from trunkline.settings import Settings

pytestmark = pytest.mark.unit

KEY, SECRET = "devkey", "a-secret-of-at-least-thirty-two-characters"
LIMIT_S = 5.0


class FakeLiveKit:
    """One door, `/agent`, that notes what workers say and says what a test wants."""

    def __init__(self) -> None:
        self.refuse_status = 0
        self.connections: list[web.WebSocketResponse] = []
        self.tokens: list[str] = []
        self._said: asyncio.Queue[proto.WorkerMessage] = asyncio.Queue()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.tokens.append(request.headers["Authorization"].removeprefix("Bearer "))
        if self.refuse_status:
            return web.Response(status=self.refuse_status)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.connections.append(socket)
        async for message in socket:
            said = proto.WorkerMessage.FromString(message.data)
            self._said.put_nowait(said)
            if said.WhichOneof("message") == "register":
                await self.say(register=proto.RegisterWorkerResponse(worker_id="AW_1"))
        return socket

    async def say(self, **message: Any) -> None:
        await self.connections[-1].send_bytes(proto.ServerMessage(**message).SerializeToString())

    async def heard(self, kind: str) -> Any:
        """The worker's next message of this kind; others are passed over."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                said = await self._said.get()
                if said.WhichOneof("message") == kind:
                    return getattr(said, kind)

    async def offer(self, job: proto.Job) -> proto.AvailabilityResponse:
        await self.say(availability=proto.AvailabilityRequest(job=job))
        answer: proto.AvailabilityResponse = await self.heard("availability")
        return answer

    async def status_with(self, jobs: int) -> proto.UpdateWorkerStatus:
        """The next status that reports so many jobs."""
        while (status := await self.heard("update_worker")).job_count != jobs:
            pass
        return status


@dataclass
class Hall:
    """Takes every job."""

    taken: list[Job] = field(default_factory=list)
    terminated: list[str] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def calls(self) -> int:
        return len(self.taken)

    def take(self, job: Job) -> None:
        self.taken.append(job)
        self.changed.set()

    def terminate(self, job_id: str) -> None:
        self.terminated.append(job_id)
        self.changed.set()


@dataclass
class Stage:
    livekit: FakeLiveKit
    hall: Hall
    dispatch: Dispatch
    running: asyncio.Task[None]

    async def registered(self) -> Stage:
        await asyncio.wait_for(self.dispatch.registered.wait(), LIMIT_S)
        return self


def job(number: int, metadata: str | None = None) -> proto.Job:
    metadata = json.dumps({"call": f"CA{number}", "v": 1}) if metadata is None else metadata
    return proto.Job(id=f"AJ_{number}", room=models.Room(name=f"room-CA{number}"), metadata=metadata)


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    """A running dispatch of soft capacity 2 and hard capacity 4, and the server it speaks to."""
    monkeypatch.setattr(module, "RETRY_S", (0.01, 0.02))
    monkeypatch.setattr(module, "STATUS_S", 0.02)
    livekit, hall = FakeLiveKit(), Hall()
    app = web.Application()
    app.router.add_get("/agent", livekit.serve)
    async with TestServer(app) as server:
        settings = Settings(
            livekit_host=str(server.make_url("")),
            livekit_api_key=KEY,
            livekit_api_secret=SecretStr(SECRET),
            agent_name="ours",
            worker_id="w1",
            worker_capacity=2,
            worker_hard_capacity=4,
        )
        dispatch = Dispatch(settings, hall)
        running = asyncio.create_task(dispatch.run())
        yield Stage(livekit, hall, dispatch, running)
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError, UpstreamRejectedError):
            await running
        for connection in livekit.connections:
            await connection.close()


async def test_a_worker_registers_by_name_with_a_token_for_agents(stage: Stage) -> None:
    request = await stage.livekit.heard("register")
    assert (request.type, request.agent_name) == (proto.JobType.JT_ROOM, "ours")
    assert request.allowed_permissions.can_publish
    claims = api.TokenVerifier(KEY, SECRET).verify(stage.livekit.tokens[0])
    assert claims.video is not None
    assert claims.video.agent
    status = await stage.livekit.heard("update_worker")
    assert (status.status, status.load, status.job_count) == (proto.WorkerStatus.WS_AVAILABLE, 0.0, 0)


async def test_an_offer_is_taken_and_its_assignment_becomes_a_job(stage: Stage) -> None:
    await stage.registered()
    answer = await stage.livekit.offer(job(1))
    assert (answer.job_id, answer.available) == ("AJ_1", True)
    assert stage.hall.taken == []
    await stage.livekit.say(assignment=proto.JobAssignment(job=job(1), url="ws://elsewhere", token="t"))
    await asyncio.wait_for(stage.hall.changed.wait(), LIMIT_S)
    assert stage.hall.taken == [Job("AJ_1", "CA1", "room-CA1", "ws://elsewhere", "t")]


async def test_an_assignment_without_an_address_is_joined_at_ours(stage: Stage) -> None:
    await stage.registered()
    await stage.livekit.offer(job(1))
    await stage.livekit.say(assignment=proto.JobAssignment(job=job(1), token="t"))
    await asyncio.wait_for(stage.hall.changed.wait(), LIMIT_S)
    assert stage.hall.taken[0].url.startswith("ws://127.0.0.1:")


async def test_offers_beyond_the_soft_capacity_are_refused_whether_assigned_or_only_promised(stage: Stage) -> None:
    await stage.registered()
    first, second, third = [await stage.livekit.offer(job(number)) for number in (1, 2, 3)]
    assert [answer.available for answer in (first, second, third)] == [True, True, False]
    await stage.livekit.say(assignment=proto.JobAssignment(job=job(1), token="t"))
    await asyncio.wait_for(stage.hall.changed.wait(), LIMIT_S)
    assert not (await stage.livekit.offer(job(4))).available
    stage.hall.taken.clear()
    assert (await stage.livekit.offer(job(5))).available
    assert stage.dispatch.refused_offers == 2


async def test_a_promise_that_is_never_assigned_gives_its_place_back(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ASSIGNMENT_TIMEOUT_S", 0.0)
    await stage.registered()
    assert [(await stage.livekit.offer(job(number))).available for number in (1, 2, 3)] == [True] * 3


@pytest.mark.parametrize("metadata", ["", "no json", "[]", "{}", '{"call": 7}', '{"call": ""}'])
async def test_an_offer_that_names_no_call_is_refused(stage: Stage, metadata: str) -> None:
    await stage.registered()
    assert not (await stage.livekit.offer(job(1, metadata))).available


async def test_load_is_reported_by_the_hard_capacity_and_full_at_it(stage: Stage) -> None:
    await stage.registered()
    await stage.livekit.offer(job(1))
    status = await stage.livekit.status_with(jobs=1)
    assert (status.status, status.load) == (proto.WorkerStatus.WS_AVAILABLE, 0.25)
    stage.hall.taken.extend(Job(f"AJ_{n}", f"CA{n}", "r", "u", "t") for n in (2, 3, 4))
    status = await stage.livekit.status_with(jobs=4)
    assert (status.status, status.load) == (proto.WorkerStatus.WS_FULL, 1.0)


async def test_a_draining_worker_reports_full_and_takes_nothing(stage: Stage) -> None:
    await stage.registered()
    await stage.dispatch.drain()
    while not (status := await stage.livekit.heard("update_worker")).draining:
        pass
    assert status.status == proto.WorkerStatus.WS_FULL
    assert not (await stage.livekit.offer(job(1))).available


async def test_a_termination_is_passed_on(stage: Stage) -> None:
    await stage.registered()
    await stage.livekit.say(termination=proto.JobTermination(job_id="AJ_9"))
    await asyncio.wait_for(stage.hall.changed.wait(), LIMIT_S)
    assert stage.hall.terminated == ["AJ_9"]


async def test_a_job_s_state_is_told(stage: Stage) -> None:
    await stage.registered()
    await stage.dispatch.job_status("AJ_1", proto.JobStatus.JS_FAILED, "broken")
    update = await stage.livekit.heard("update_job")
    assert (update.job_id, update.status, update.error) == ("AJ_1", proto.JobStatus.JS_FAILED, "broken")


async def test_a_lost_connection_is_made_again_and_the_calls_go_on(stage: Stage) -> None:
    await stage.registered()
    await stage.livekit.heard("register")
    await stage.livekit.offer(job(1))
    await stage.livekit.say(assignment=proto.JobAssignment(job=job(1), token="t"))
    await asyncio.wait_for(stage.hall.changed.wait(), LIMIT_S)
    await stage.livekit.connections[-1].close(code=WSCloseCode.GOING_AWAY)
    await stage.livekit.heard("register")
    await stage.livekit.status_with(jobs=1)
    assert len(stage.livekit.connections) == 2
    assert not stage.running.done()


async def test_a_server_that_is_away_for_a_while_is_tried_until_it_is_back(stage: Stage) -> None:
    await stage.registered()
    await stage.livekit.heard("register")
    stage.livekit.refuse_status = 503
    tries = len(stage.livekit.tokens)
    await stage.livekit.connections[-1].close()
    async with asyncio.timeout(LIMIT_S):
        while len(stage.livekit.tokens) < tries + 3:
            await asyncio.sleep(0.01)
    assert not stage.dispatch.registered.is_set()
    stage.livekit.refuse_status = 0
    await stage.livekit.heard("register")


async def test_bytes_that_are_no_message_cost_the_connection_and_not_the_worker(stage: Stage) -> None:
    await stage.registered()
    await stage.livekit.heard("register")
    await stage.livekit.connections[-1].send_bytes(b"\xff\xff\xff")
    await stage.livekit.heard("register")
    assert not stage.running.done()


@pytest.mark.parametrize("status", [401, 403])
async def test_a_key_that_livekit_refuses_at_first_ends_the_worker(stage: Stage, status: int) -> None:
    stage.livekit.refuse_status = status
    with pytest.raises(UpstreamRejectedError, match="LIVEKIT_API_KEY"):
        await asyncio.wait_for(asyncio.shield(stage.running), LIMIT_S)


async def test_a_key_that_served_before_and_is_refused_now_keeps_the_calls(stage: Stage) -> None:
    await stage.registered()
    stage.livekit.refuse_status = 401
    await stage.livekit.connections[-1].close()
    await asyncio.sleep(0.1)
    assert not stage.running.done()
    stage.livekit.refuse_status = 0
    await stage.registered()
