"""Workers that hang or die, on real servers: no caller is left in silence."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.world import World, open_world
from trunkline.cli.placing import Order, place_call
from trunkline.core.errors import CallError
from trunkline.emulators.twilio import Speak, new_call_sid
from trunkline.loadtest.phone import CallRefusedError, HeardStart, PhoneLine

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(120)]

ENDS_WITHIN_S = 5.0
TAKEN_OVER_WITHIN_S = 12.0
"""A lease of 5 s must run out, then a worker joins."""


@pytest.fixture
async def lone(tmp_path: Path) -> AsyncIterator[World]:
    """One worker."""
    async for opened in open_world(tmp_path, workers=1):
        yield opened


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[World]:
    """Two workers."""
    async for opened in open_world(tmp_path, workers=2):
        yield opened


def send(world: World, process: str, number: signal.Signals) -> None:
    pid = world.stack.processes[process].pid
    assert pid is not None
    os.kill(pid, number)


async def test_a_call_that_a_hung_worker_is_offered_ends_in_time_and_frees_its_slot(lone: World) -> None:
    call, dial = await lone.announced()
    send(lone, "agent-1", signal.SIGSTOP)
    try:
        call, dial = await lone.announced()
        began = time.monotonic()
        line = await lone.phone.dial(call, dial.uri, (dial.username, dial.password))
        with pytest.raises(CallRefusedError):
            await line.answered(15)
        assert time.monotonic() - began < ENDS_WITHIN_S + 0.5
        assert '"event": "call_dispatched_again"' in lone.log("orchestrator")
        assert call not in [each["call"] for each in (await lone.api("/calls"))["calls"]]
        # Three seconds without a sign of life: it does not count, and the next caller is told so.
        await asyncio.sleep(1.0)
        assert isinstance(await lone.twilio.incoming_call(new_call_sid(), "+15550171", "+15550199"), Speak)
    finally:
        send(lone, "agent-1", signal.SIGCONT)


async def test_without_any_worker_the_caller_is_told_at_once(lone: World) -> None:
    send(lone, "agent-1", signal.SIGKILL)
    await asyncio.sleep(4.0)
    result = await place_call(lone.exchange, lone.phone, lone.http, Order(1, await lone.utterances("hello")))
    assert "All our lines are busy" in result.problem


async def test_a_call_outlives_its_worker(pair: World, sentences: list[str]) -> None:
    call, dial = await pair.announced()
    line = await pair.phone.dial(call, dial.uri, (dial.username, dial.password))
    await line.answered(10)
    await asyncio.sleep(0.5)
    [listed] = (await pair.api("/calls"))["calls"]
    first = listed["worker"]
    send(pair, first, signal.SIGKILL)
    async with asyncio.timeout(TAKEN_OVER_WITHIN_S):
        while (now := (await pair.api("/calls"))["calls"][0])["worker"] == first or now["state"] != "answered":
            await asyncio.sleep(0.1)
    assert line.ended is None
    [utterance] = await pair.utterances(sentences[0])
    await line.play("again", utterance.wav)
    await heard(line, 15)
    await line.hang_up()


async def test_a_worker_that_drains_keeps_its_call_and_is_given_no_other(pair: World) -> None:
    call, dial = await pair.announced()
    line = await pair.phone.dial(call, dial.uri, (dial.username, dial.password))
    await line.answered(10)
    [listed] = (await pair.api("/calls"))["calls"]
    send(pair, listed["worker"], signal.SIGTERM)
    async with asyncio.timeout(5):
        while '"event": "worker_draining"' not in pair.log(listed["worker"]):
            await asyncio.sleep(0.05)
    for _ in range(3):
        await pair.announced()
    async with asyncio.timeout(5):
        while "" in (holders := await who_holds(pair)).values():
            await asyncio.sleep(0.05)
    assert holders.pop(call) == listed["worker"]
    assert len(holders) == 3
    assert listed["worker"] not in holders.values()
    assert line.ended is None
    await line.hang_up()


async def who_holds(world: World) -> dict[str, str]:
    """The worker of each call; empty where nobody has it yet."""
    return {each["call"]: each["worker"] for each in (await world.api("/calls"))["calls"]}


async def heard(line: PhoneLine, timeout_s: float) -> None:
    """Waits for a sound of the agent."""
    async with asyncio.timeout(timeout_s):
        while not isinstance(await line.event(), HeardStart):
            if line.ended is not None:
                raise CallError(f"the call ended: {line.ended.reason}")
