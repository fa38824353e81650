"""The four contestants: how each is started, and how each is brought into a call.

All use LiveKit's real servers, started anew for each, and speech providers emulated on this machine, by URL.
"""

from __future__ import annotations

import asyncio
import datetime
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from livekit import api

from trunkline.core.errors import UpstreamUnavailableError
from trunkline.loadtest.caller_process import Job, TokenDoor
from trunkline.loadtest.callers import Door, PlacedCall
from trunkline.loadtest.engine_line import EngineLine
from trunkline.loadtest.talking import Order, Script
from trunkline.settings import load_settings
from trunkline.stack.plan import Plan, Programs, make_plan
from trunkline.stack.ports import free_ports
from trunkline.stack.stack import Stack

HOST = "127.0.0.1"
HERE = Path(__file__).parent
PEERS = HERE.parents[1] / ".cache/peers"
PYTHON = {name: PEERS / name / "bin/python" for name in ("pipecat", "livekit-agents")}
"""Of the peers' own virtual environments, see `install`."""
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0
TOKEN_TTL = datetime.timedelta(minutes=30)

NewLine = Callable[[int], EngineLine]


@dataclass(slots=True)
class Contestant:
    """One that runs and takes calls.

    Attributes:
        door: Places calls to it.
        pids: What answers calls; descendants belong to it.
        beside: What else of its own runs, shown but not compared.
    """

    door: Door
    pids: list[int] = field(default_factory=list)
    beside: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Scene:
    """What all contestants share.

    Attributes:
        programs: LiveKit's servers.
        folder: For logs; of this run alone.
        providers: Where the emulated providers are: ws://HOST:PORT.
        environment: For all processes.
    """

    programs: Programs
    folder: Path
    providers: str
    environment: dict[str, str]

    def plan(self, name: str, *, services: bool) -> Plan:
        """LiveKit's servers on free ports, with trunkline's services or without."""
        return make_plan(
            self.programs,
            free_ports(HOST),
            load_settings(),
            self.folder / name,
            workers=1,
            services=services,
            environment=self.environment,
        )


@asynccontextmanager
async def trunkline(scene: Scene, new_line: NewLine, orders: list[Order]) -> AsyncIterator[Contestant]:
    """One worker with its media engine, an orchestrator and a metrics collector."""
    plan = scene.plan("trunkline", services=True)
    async with Stack(plan) as stack, aiohttp.ClientSession(trust_env=False) as http:
        pid = {name: process.pid or 0 for name, process in stack.processes.items()}
        job = Job(plan.env["ORCH_URL"], plan.env["ORCH_API_KEY"], Script("", 0.0, 0), orders)
        door = TokenDoor(job, http, new_line)
        yield Contestant(door, [pid["agent-1"]], [pid["orchestrator"], pid["metrics"]])


@asynccontextmanager
async def pipecat_one_process(scene: Scene, new_line: NewLine, orders: list[Order]) -> AsyncIterator[Contestant]:
    """All calls in one process, which is there before the first."""
    async with _servers(scene, "pipecat-one") as (plan, rooms), AsyncExitStack() as processes:
        bot = await processes.enter_async_context(_bot(scene, plan, "bot"))
        yield Contestant(_PeerDoor(plan, rooms, new_line, lambda call: _hand(bot, call)), [bot.pid])


@asynccontextmanager
async def pipecat_process_per_call(scene: Scene, new_line: NewLine, orders: list[Order]) -> AsyncIterator[Contestant]:
    """A process for each call, started with it."""
    async with _servers(scene, "pipecat-each") as (plan, rooms), AsyncExitStack() as processes:

        async def answer(call: dict[str, str]) -> None:
            bot = await processes.enter_async_context(_bot(scene, plan, call["room"]))
            contestant.pids.append(bot.pid)
            _hand(bot, call)

        contestant = Contestant(_PeerDoor(plan, rooms, new_line, answer))
        yield contestant


@asynccontextmanager
async def livekit_agents(scene: Scene, new_line: NewLine, orders: list[Order]) -> AsyncIterator[Contestant]:
    """One worker, which makes a process for each call and keeps one waiting."""
    async with _servers(scene, "livekit-agents") as (plan, rooms), AsyncExitStack() as processes:
        ready = plan.run_dir / "ready"
        command = (str(PYTHON["livekit-agents"]), str(HERE / "livekit_agent.py"), "start", "--log-level", "ERROR")
        env = {"LIVEKIT_URL": plan.env["LIVEKIT_HOST"], "PEERS_READY": str(ready)}
        worker = await processes.enter_async_context(_process(scene, plan, "worker", *command, **env))
        await _until_ready(ready, worker)
        yield Contestant(_PeerDoor(plan, rooms, new_line, None), [worker.pid])


class _PeerDoor:
    """Makes a room, has the peer answer it, and joins it.

    Args:
        answer: Brings the peer in; None: LiveKit dispatches the agent named "peer".
    """

    def __init__(self, plan: Plan, rooms: api.LiveKitAPI, new_line: NewLine, answer: Any) -> None:
        self._url = plan.env["LIVEKIT_HOST"]
        self._key = (plan.env["LIVEKIT_API_KEY"], plan.env["LIVEKIT_API_SECRET"])
        self._rooms = rooms
        self._new_line = new_line
        self._answer = answer

    async def place(self, call: PlacedCall) -> EngineLine:
        call.call = room = f"call-{call.number}"
        agents = [] if self._answer else [api.RoomAgentDispatch(agent_name="peer")]
        try:
            await self._rooms.room.create_room(api.CreateRoomRequest(name=room, agents=agents))
        except (api.TwirpError, OSError, TimeoutError) as error:
            raise UpstreamUnavailableError("livekit-server", f"no room: {error}") from error
        if self._answer:
            told = self._answer({"url": self._url, "token": self._token(room, "agent", agent=True), "room": room})
            if told is not None:
                await told
        line = self._new_line(call.number)
        try:
            await line.join(self._url, self._token(room, "caller"))
            call.answered_us = await line.answered()
        except BaseException:
            await line.hang_up()
            raise
        return line

    def _token(self, room: str, identity: str, *, agent: bool = False) -> str:
        grants = api.VideoGrants(room_join=True, room=room, agent=agent)
        token = api.AccessToken(*self._key).with_identity(identity).with_grants(grants).with_ttl(TOKEN_TTL)
        return (token.with_kind("agent") if agent else token).to_jwt()


@asynccontextmanager
async def _servers(scene: Scene, name: str) -> AsyncIterator[tuple[Plan, api.LiveKitAPI]]:
    plan = scene.plan(name, services=False)
    async with Stack(plan):
        http_url = plan.env["LIVEKIT_HOST"].replace("ws://", "http://")
        async with api.LiveKitAPI(http_url, plan.env["LIVEKIT_API_KEY"], plan.env["LIVEKIT_API_SECRET"]) as rooms:
            yield plan, rooms


def _bot(scene: Scene, plan: Plan, name: str) -> Any:
    return _process(scene, plan, name, str(PYTHON["pipecat"]), str(HERE / "pipecat_bot.py"))


def _hand(bot: asyncio.subprocess.Process, call: dict[str, str]) -> None:
    assert bot.stdin is not None
    bot.stdin.write(json.dumps(call).encode() + b"\n")


@asynccontextmanager
async def _process(
    scene: Scene, plan: Plan, name: str, *command: str, **env: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Runs a peer's process, its output in the plan's logs; ends it at the end."""
    with (plan.log_dir / f"{name}.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=log,
            stderr=log,
            env={**plan.env, "PEERS_PROVIDERS": scene.providers, **env},
            start_new_session=True,  # Ctrl-C is for the benchmark
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)
            except TimeoutError:
                os.killpg(process.pid, signal.SIGKILL)  # its children, too
                await process.wait()


async def _until_ready(ready: Path, process: asyncio.subprocess.Process) -> None:
    """Waits for a worker to be registered: a job that comes before goes to nobody."""
    async with asyncio.timeout(START_TIMEOUT_S):
        while not await asyncio.to_thread(ready.exists):
            if process.returncode is not None:
                raise UpstreamUnavailableError("LiveKit Agents", f"its worker ended with {process.returncode}")
            await asyncio.sleep(0.2)


CONTESTANTS: dict[str, Callable[..., AbstractAsyncContextManager[Contestant]]] = {
    "trunkline": trunkline,
    "Pipecat, one process": pipecat_one_process,
    "Pipecat, a process a call": pipecat_process_per_call,
    "LiveKit Agents": livekit_agents,
}
"""By the name that the table has; ours first, since the others are compared with it."""
