"""When a contestant of `make bench-peers` has carried its calls, and against what trunkline is judged."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from benchmarks.peers.processes import use
from benchmarks.peers.steps import Figures, Heard, Step, Used, plan_steps
from benchmarks.peers.table import OURS, carried, judge_all

from trunkline.loadtest.answers import codes_of

STEP = Step(calls=1, begins_s=10.0, ends_s=20.0)
USED = Used(mcore=100.0, mib=50.0, processes=1)


def heard_of(*answers_ms: float | None, code: int | None = None) -> Heard:
    """One call that spoke from second 11 on, each second once."""
    heard = Heard(zero_s=0.0)
    heard.take({"ev": "call", "number": 1, "outcome": "completed", "ended_us": 30_000_000})
    codes = []
    for turn, ms in enumerate(answers_ms, start=1):
        at_us = (10 + turn) * 1_000_000
        heard_us = None if ms is None else at_us + ms * 1000
        heard.take({"ev": "turn", "number": 1, "turn": turn, "speech_start_us": at_us, "heard_start_us": heard_us})
        if heard_us is not None:
            codes.append([int(heard_us), codes_of(1)[(turn - 1) % 2] if code is None else code])
    heard.take({"ev": "codes", "number": 1, "codes": codes})
    return heard


def test_calls_are_carried_where_every_burst_had_its_own_answer() -> None:
    figures = heard_of(300, 500).figures(STEP, USED)
    assert (figures.bursts, figures.average_ms, figures.mcore_a_call, figures.carried) == (2, 400, 100, True)


@pytest.mark.parametrize(
    ("heard", "what"),
    [
        (heard_of(300, None), {"unanswered": 1}),
        (heard_of(300, 300, code=77), {"wrong": 2}),
        (heard_of(), {"silent": 1}),
        (heard_of(2100, 2100), {"average_ms": 2100}),
    ],
)
def test_calls_are_not_carried(heard: Heard, what: dict[str, Any]) -> None:
    figures = heard.figures(STEP, USED)
    assert not figures.carried
    assert {name: getattr(figures, name) for name in what} == what


def test_a_call_counts_as_lost_from_the_step_on_in_which_it_ended() -> None:
    heard = heard_of(300)
    heard.take({"ev": "call", "number": 1, "outcome": "lost", "ended_us": 21_000_000, "problem": "gone"})
    assert heard.figures(STEP, USED).carried
    assert heard.figures(replace(STEP, ends_s=22.0), USED).lost == 1
    assert heard.problems() == ["gone"]


def test_calls_of_a_step_are_placed_after_the_step_before() -> None:
    steps, placed_s = plan_steps([2, 3], seconds=10, apart_s=1)
    assert len(placed_s) == 3
    assert placed_s[1] < steps[0].begins_s
    assert steps[0].ends_s < placed_s[2] < steps[1].begins_s
    assert steps[1].ends_s - steps[1].begins_s == 10


def test_trunkline_is_judged_wherever_both_carried() -> None:
    own = Figures(4, 9, 0, 0, 0, 0, 400, 400, 400, USED)
    slower, faster = replace(own, average_ms=500, used=replace(USED, mcore=200)), replace(own, average_ms=399)
    assert judge_all({OURS: [own], "peer": [slower]}, 4) == 0
    assert judge_all({OURS: [own], "peer": [faster]}, 4) == 1
    assert judge_all({OURS: [own], "peer": [slower]}, 10) == 1, "not all calls were carried"
    assert judge_all({OURS: [own], "peer": [replace(slower, lost=1)]}, 4) == 1, "a peer that never ran is no victory"
    assert carried([own, replace(own, calls=10, silent=1)]) == 4


def test_own_process_is_found_with_its_memory() -> None:
    import os

    seen = use([os.getpid()], memory=True)
    assert seen.processes >= 1
    assert seen.cpu_s > 0
    assert seen.mib > 1
    assert math.isnan(use([os.getpid()]).mib)
