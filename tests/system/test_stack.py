"""A stack of the real servers comes up on free ports, is watched, and is gone afterwards."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

from trunkline.core.errors import UpstreamUnavailableError
from trunkline.settings import load_settings
from trunkline.stack.binaries import LIVEKIT_SERVER, LIVEKIT_SIP, REDIS, find
from trunkline.stack.plan import Plan, Programs, make_plan
from trunkline.stack.ports import free_ports, is_free
from trunkline.stack.process import State
from trunkline.stack.stack import Stack
from trunkline.stack.state import Identity

pytestmark = [pytest.mark.system, pytest.mark.timeout(60)]


@pytest.fixture
async def plan(tmp_path: Path) -> Plan:
    """Redis and the LiveKit servers; without them the test is skipped, or fails where servers are required."""
    found: dict[str, tuple[str, ...]] = {}
    for wanted in (REDIS, LIVEKIT_SERVER, LIVEKIT_SIP):
        path = await find(wanted, os.environ, lambda *_: None)
        if path is None and os.environ.get("TRUNKLINE_REQUIRE_SERVERS") == "1":
            pytest.fail(f"{wanted.name} is missing")
        if path is None:
            pytest.skip(f"{wanted.name} is missing")
        found[wanted.name] = (str(path),)
    programs = Programs(found["redis-server"], found["livekit-server"], found["livekit-sip"])
    return make_plan(programs, free_ports("127.0.0.1"), load_settings(), tmp_path, services=False)


def identities(stack: Stack) -> dict[str, Identity]:
    return {
        name: identity
        for name, process in stack.processes.items()
        if process.pid and (identity := Identity.of(process.pid))
    }


def assert_nothing_left(plan: Plan, started: Mapping[str, Identity]) -> None:
    assert [name for name, identity in started.items() if identity.alive()] == []
    ports = plan.ports
    assert all(is_free("127.0.0.1", port) for port in (ports.livekit, ports.rtc_udp, ports.sip, ports.redis))
    assert not any(path.exists() for path in plan.files)


async def test_servers_come_up_and_are_gone_afterwards(plan: Plan) -> None:
    said: list[tuple[str, str]] = []
    async with Stack(plan, lambda name, state, _: said.append((name, state))) as stack:
        started = identities(stack)
        assert set(started) == {"redis", "livekit-server", "livekit-sip"}
        assert all([await process.healthy() for process in stack.processes.values()])
        async with httpx.AsyncClient(trust_env=False) as client:
            assert (await client.get(f"http://127.0.0.1:{plan.ports.livekit}")).text == "OK"
    assert_nothing_left(plan, started)
    assert said.index(("redis", "ready")) < said.index(("livekit-server", "starting"))
    assert said.index(("livekit-server", "stopped")) < said.index(("redis", "stopping"))


async def test_start_that_fails_midway_leaves_nothing(plan: Plan) -> None:
    broken = Programs(plan.processes[0].argv[:1], (shutil.which("false") or "false",), plan.processes[2].argv[:1])
    failing = make_plan(broken, plan.ports, load_settings(), plan.run_dir, services=False)
    stack = Stack(failing)
    with pytest.raises(UpstreamUnavailableError, match="livekit-server: ended"):
        async with stack:
            pytest.fail("came up")
    assert identities(stack) == {}
    assert_nothing_left(failing, {})


async def test_cancelled_start_leaves_nothing(plan: Plan) -> None:
    stack = Stack(plan)
    starting = asyncio.create_task(stack.__aenter__())
    async with asyncio.timeout(20):
        while stack.processes["livekit-sip"].pid is None:
            await asyncio.sleep(0.005)
    started = identities(stack)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert_nothing_left(plan, started)


async def test_server_that_dies_is_started_again(plan: Plan) -> None:
    async with Stack(plan, restart=True) as stack:
        victim = stack.processes["livekit-sip"]
        assert victim.pid
        os.kill(victim.pid, signal.SIGKILL)
        async with asyncio.timeout(20):
            while not (victim.restarts == 1 and victim.state is State.READY):
                await asyncio.sleep(0.02)
        assert await victim.healthy()
        started = identities(stack)
    assert_nothing_left(plan, started)


async def test_without_restart_the_first_end_is_an_error(plan: Plan) -> None:
    async with Stack(plan) as stack:
        victim = stack.processes["livekit-server"]
        assert victim.pid
        os.kill(victim.pid, signal.SIGKILL)
        async with asyncio.timeout(20):
            with pytest.raises(UpstreamUnavailableError, match=r"livekit-server: ended \(killed by SIGKILL\)"):
                await stack.watch()
        started = identities(stack)
    assert_nothing_left(plan, started)


async def test_nothing_listens_beyond_loopback(plan: Plan) -> None:
    async with Stack(plan) as stack:
        addresses = [address for process in stack.processes.values() for address in bound_addresses(process.pid)]
    assert len(addresses) >= 5
    assert set(addresses) == {"127.0.0.1"}


def bound_addresses(pid: int | None) -> list[str]:
    """Where a process waits for strangers, over TCP and UDP."""
    links = [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()]
    found = []
    for table, waiting in (("tcp", "0A"), ("udp", "07"), ("tcp6", "0A"), ("udp6", "07")):
        for row in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = row.split()
            if fields[3] == waiting and f"socket:[{fields[9]}]" in links:
                address = bytes.fromhex(fields[1].split(":")[0])
                found.append(socket.inet_ntoa(address[::-1]) if len(address) == 4 else table)
    return found
