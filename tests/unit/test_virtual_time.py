"""The loop in made-up time that other tests rely on."""

from __future__ import annotations

import asyncio
import time

import pytest

from trunkline.testing import virtual_time
from trunkline.testing.virtual_time import START_S, StuckError, run_virtual

pytestmark = pytest.mark.unit


async def _now() -> float:
    return asyncio.get_running_loop().time() - START_S


def test_a_long_sleep_takes_its_time_and_nobody_s() -> None:
    async def work(length_s: float) -> float:
        await asyncio.sleep(length_s)
        return await _now()

    began_at = time.monotonic()
    assert run_virtual(work, 86_400.0) == pytest.approx(86_400.0)
    assert time.monotonic() - began_at < 60


def test_tasks_wake_in_the_order_of_their_instants_and_of_their_setting() -> None:
    async def work() -> list[str]:
        woken: list[str] = []
        loop = asyncio.get_running_loop()
        for index in range(20):
            loop.call_later(1.0, woken.append, f"b{index}")
        loop.call_later(0.5, woken.append, "a")
        await asyncio.sleep(2.0)
        return woken

    assert run_virtual(work) == ["a", *(f"b{index}" for index in range(20))]


def test_a_time_limit_ends_what_takes_longer() -> None:
    async def work() -> float:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.sleep(100), 3.0)
        return await _now()

    assert run_virtual(work) == pytest.approx(3.0)


def test_time_stands_still_while_a_thread_works() -> None:
    async def work() -> float:
        limit = asyncio.create_task(asyncio.sleep(10.0))
        await asyncio.to_thread(time.sleep, 0.01)
        limit.cancel()
        return await _now()

    assert run_virtual(work) == 0.0


def test_waiting_for_what_nobody_brings_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(virtual_time, "STUCK_S", 0.01)

    async def work() -> None:
        await asyncio.Event().wait()

    loop = virtual_time.VirtualTimeLoop()
    waiting = loop.create_task(work())
    with pytest.raises(StuckError):
        loop.run_until_complete(waiting)
    waiting.cancel()
    loop.run_until_complete(asyncio.gather(waiting, return_exceptions=True))
    loop.close()
