"""Redis dies and comes back empty."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.world import World, open_world
from trunkline.cli.placing import Order, place_call
from trunkline.core.errors import UpstreamUnavailableError
from trunkline.emulators.twilio import new_call_sid

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(120)]

BACK_WITHIN_S = 30.0


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """One worker."""
    async for opened in open_world(tmp_path, workers=1):
        yield opened


async def test_calls_are_refused_without_redis_and_taken_again_when_it_is_back(
    world: World, sentences: list[str]
) -> None:
    redis = world.stack.processes["redis"]
    assert redis.pid is not None
    os.kill(redis.pid, signal.SIGKILL)
    await asyncio.sleep(1.0)
    with pytest.raises(UpstreamUnavailableError, match="503"):
        await world.twilio.incoming_call(new_call_sid(), "+15550171", "+15550199")
    assert (await world.http.get(f"{world.plan.env['ORCH_URL']}/readyz")).status_code == 503
    await redis.start()
    script = await world.utterances(sentences[0])
    async with asyncio.timeout(BACK_WITHIN_S):
        problem = "not tried"
        while problem:
            await asyncio.sleep(1.0)
            problem = (await place_call(world.exchange, world.phone, world.http, Order(1, script))).problem
