"""A phone call on real servers is recorded, and the collector plays it: both sides, on one clock."""

from __future__ import annotations

import asyncio
import io
import os
import wave
from collections.abc import AsyncIterator
from unittest.mock import patch

import numpy as np
import pytest
import pytest_asyncio

from tests.world import World, open_world
from trunkline.cli.placing import Order, collect_reports, place_call
from trunkline.core.units import FRAME_SAMPLES, SAMPLE_RATE_HZ, Pcm, us_to_s
from trunkline.core.wire import Mark

pytestmark = [pytest.mark.system, pytest.mark.timeout(120), pytest.mark.asyncio(loop_scope="module")]

HEARD_DBFS = -45.0
OFF_BY_S = 0.25
"""Frames reach the recorder by a buffer that is up to 60 ms long, and words begin softly."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("recorded")
    with patch.dict(os.environ, RECORDINGS_DIR=str(folder / "recordings")):
        async for opened in open_world(folder, workers=1):
            yield opened


def loud(side: Pcm) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which frames can be heard."""
    frames = side[: side.size // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES).astype(np.float64)
    return 10 * np.log10(np.mean(frames**2, axis=1) / 32_768**2 + 1e-12) > HEARD_DBFS


async def test_a_call_is_recorded_as_it_was(world: World, sentences: list[str]) -> None:
    script = await world.utterances(sentences[0], sentences[1])
    result = await place_call(world.exchange, world.phone, world.http, Order(1, script))
    [report] = await collect_reports(world.exchange, [result])
    collector = world.plan.env["METRICS_ENDPOINT"].removesuffix("/ingest")
    assert report.record is not None
    assert report.record.answered_us is not None
    lasted_s = us_to_s(report.record.ended_us - report.record.answered_us)
    async with asyncio.timeout(10):
        while True:
            answer = await world.http.get(f"{collector}/calls/{report.record.call}/recording")
            assert answer.status_code == 200
            with wave.open(io.BytesIO(answer.content)) as file:
                sound = np.frombuffer(file.readframes(file.getnframes()), np.int16).reshape(-1, 2)
            # Its last quarter of a second comes when the leg has left.
            if sound.shape[0] / SAMPLE_RATE_HZ > lasted_s - 0.1:
                break
            await asyncio.sleep(0.1)
    caller, agent = loud(sound[:, 0]), loud(sound[:, 1])
    assert len(report.turns) == 2
    for turn in report.turns:
        marks = {mark: us_to_s(at_us - report.record.answered_us) for mark, at_us in turn.marks_us.items()}

        def share(heard: np.ndarray[tuple[int], np.dtype[np.bool_]], begin_s: float, end_s: float) -> float:
            return float(heard[round(begin_s * 50) : round(end_s * 50)].mean())

        said = marks[Mark.SPEECH_START], marks[Mark.SPEECH_END]
        answered = marks[Mark.PLAYBACK_START], marks[Mark.PLAYBACK_STOP]
        assert share(caller, *said) > 0.5
        assert share(agent, *said) == 0
        assert share(agent, *answered) > 0.5
        assert share(caller, answered[0] + OFF_BY_S, answered[1]) < 0.1
        first = int(np.flatnonzero(agent[round((answered[0] - 1) * 50) :])[0]) / 50 - 1
        assert abs(first) < OFF_BY_S


async def test_the_worker_tells_how_it_fares(world: World) -> None:
    collector = world.plan.env["METRICS_ENDPOINT"].removesuffix("/ingest")
    fares: list[tuple[int, int, bool]] = []
    async with asyncio.timeout(20):
        while fares != [(0, 25, False)]:
            await asyncio.sleep(0.2)
            workers = (await world.http.get(f"{collector}/page/live")).json()["workers"]
            fares = [(worker["calls"], worker["capacity"], worker["draining"]) for worker in workers]
