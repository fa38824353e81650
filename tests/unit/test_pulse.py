"""A worker's second: how late its loop was, and what its media engine counted."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from trunkline.agent.pulse import BEAT_S, Pulse
from trunkline.core import wire
from trunkline.core.errors import MediaError
from trunkline.media.engine import MediaStats

pytestmark = pytest.mark.unit


class Engine:
    """Says one thing after the other; None: nothing."""

    def __init__(self, *said: MediaStats | None) -> None:
        self._said = list(said)

    async def stats(self) -> MediaStats:
        said = self._said.pop(0)
        if said is None:
            raise MediaError("lost")
        return said


class Sink:
    def __init__(self) -> None:
        self.records: list[wire.WorkerRecord] = []

    def send(self, record: wire.WorkerRecord) -> None:
        self.records.append(record)


async def records(
    monkeypatch: pytest.MonkeyPatch, late_s: list[float], *said: MediaStats | None
) -> list[wire.WorkerRecord]:
    """What is told in made-up time, in which the sleeps end late by so much, one after the other."""
    at = 100.0
    late = iter(late_s)

    async def sleep(delay_s: float) -> None:
        nonlocal at
        at += delay_s + next(late, 0.0)

    sink = Sink()
    with monkeypatch.context() as patch:
        patch.setattr(asyncio, "sleep", sleep)
        states = {"stt:deepgram": "open"}
        pulse = Pulse("w", "h", Engine(*said), sink, lambda: (3, 25, True), providers=lambda: states, now=lambda: at)
        with contextlib.suppress(IndexError):  # The engine has nothing more to say.
            await pulse.run()
    return sink.records


async def test_the_worst_of_each_second_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    beats = round(1 / BEAT_S)
    late_s = [0.001] * 3 + [0.25, 0.002] + [0.0] * (beats - 5) + [0.003] * beats
    told = await records(monkeypatch, late_s, MediaStats(late_ticks=1, dropped_ticks=2), MediaStats(late_ticks=4))
    assert [round(record.loop_lag_us, -2) for record in told] == [250_000, 3_000]
    assert [(record.late_ticks, record.dropped_ticks) for record in told] == [(1, 2), (4, 0)]
    assert (told[0].calls, told[0].capacity, told[0].draining) == (3, 25, True)
    assert told[0].providers == {"stt:deepgram": "open"}


async def test_without_an_engine_the_rest_is_told_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    told = await records(monkeypatch, [], MediaStats(late_ticks=7), None, MediaStats(late_ticks=2))
    assert [record.late_ticks for record in told] == [7, 7, 2]
