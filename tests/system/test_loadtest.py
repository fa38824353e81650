"""The load test against a stack of real servers: its callers are answered, and both sides' records meet."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.world import World, missing
from trunkline.loadtest.answers import Check
from trunkline.loadtest.callers import Outcome
from trunkline.loadtest.load_test import finish, run_load_test
from trunkline.loadtest.options import Limits, LoadOptions, Rooms, Target
from trunkline.settings import load_settings
from trunkline.stack.binaries import find_media_engine

pytestmark = [pytest.mark.system, pytest.mark.timeout(200), pytest.mark.asyncio(loop_scope="module")]


async def test_two_webrtc_callers_are_answered(world: World, tmp_path: Path) -> None:
    settings = load_settings(**{name.lower(): value for name, value in world.plan.env.items()})
    result = await run_load_test(
        LoadOptions(concurrency=2, turns=1, burst_seconds=2.0),
        Target.of(settings),
        tmp_path,
        speech="local speech",
        early_answers=False,
        stop=asyncio.Event(),
    )
    json_file = tmp_path / "figures.json"
    assert finish(tmp_path, result, Limits(), json_file=json_file, write=lambda _: None) == 0, result.answers
    found = json.loads(json_file.read_text())
    assert (found["calls"], found["calls_failed"], found["calls_recorded_by_agents"]) == (2, 0, 2)
    assert (found["turns_expected"], found["turns_answered"], found["wrong_answer"]) == (2, 2, 0)
    assert found["answers"]["right"] == found["roundtrip_ms"]["count"] == found["road"]["compared"] == 2
    assert found["rss_mib"]["callers"] > 0
    # The pace is measured, and not judged: this machine may be busy.
    assert found["pacing"]["ticks"] > 100
    with (tmp_path / "turns.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert [(row["call"], row["turn"], row["answered"]) for row in rows] == [("1", "1", "1"), ("2", "1", "1")]
    assert {end.reason for end in result.ends.values()} == {"caller_hung_up"}
    for call in result.calls:
        # The collector has what the ear measured, beside what the agent did.
        history = (await world.http.get(f"{world.exchange.metrics_url}/calls/{call.call}")).json()
        assert [heard["heard_us"] for heard in history["heard"]] == [turn.heard_start_us for turn in call.turns]


async def test_callers_in_one_room_hear_their_own_agents_alone(world: World, tmp_path: Path) -> None:
    engine = await find_media_engine(lambda *_: None)
    if engine is None:
        missing("the media engine is missing; make servers")
    settings = load_settings(**{name.lower(): value for name, value in world.plan.env.items()})
    result = await run_load_test(
        LoadOptions(concurrency=2, turns=1, burst_seconds=1.0, rooms=Rooms.SHARED),
        Target.of(settings),
        tmp_path,
        speech="local speech",
        early_answers=False,
        stop=asyncio.Event(),
        engine=str(engine),
    )
    assert {call.outcome for call in result.calls} == {Outcome.COMPLETED}, result.calls
    assert len({end.room for end in result.ends.values()}) == 1
    assert [answer.check for answer in result.answers] == [Check.RIGHT] * 2, result.answers
    # Each agent has heard one caller, and each caller one agent: else there were more turns.
    assert len(result.turns) == 2


async def test_sigterm_hangs_up_and_still_reports(world: World, tmp_path: Path) -> None:
    await find_media_engine(lambda *_: None)  # else the program builds it first, which may take longer than it has
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "trunkline.loadtest.load_test", "--concurrency", "2", "--turns", "20", "--report", str(tmp_path)),
        env={**os.environ, **world.plan.env},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert program.stderr is not None
        async with asyncio.timeout(60):
            while b"2 up" not in await program.stderr.readline():
                assert program.returncode is None
            program.send_signal(signal.SIGTERM)
            await program.stderr.read()
            assert await program.wait() == 130
    finally:
        if program.returncode is None:
            program.kill()
            await program.wait()
    found = json.loads((tmp_path / "summary.json").read_text())
    assert found["failures"] == ["ended early: stopped by a signal"]
    assert found["calls_by_outcome"][Outcome.INTERRUPTED] == 2
    async with asyncio.timeout(10):
        while (await world.api("/calls"))["calls"]:
            await asyncio.sleep(0.1)
