"""Rolling windows: what counts, for how long, and exact percentiles."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.core.window import NOWHERE, SLICES, Origin, RollingWindow, Summary, nearest_rank

pytestmark = pytest.mark.unit


def add(window: RollingWindow, value: int, now: float, origin: Origin = NOWHERE) -> None:
    window.add({"wait": value}, now, origin)


def test_an_empty_window_has_a_count_and_nothing_else() -> None:
    look = RollingWindow(60).look(0.0, 60)
    assert (look.summary("wait"), look.count("wait")) == (Summary(0, None, None, None, None), 0)


def test_a_sample_counts_until_the_window_has_passed() -> None:
    window = RollingWindow(60)
    add(window, 5, 10.0)
    add(window, 7, 40.0)
    assert window.look(69.999, 60).count("wait") == 2
    assert window.look(70.0, 60).count("wait") == 1
    assert window.look(100.0, 60).summary("wait") == Summary(0)


def test_a_shorter_window_sees_only_its_part_and_a_longer_one_ends_at_the_horizon() -> None:
    window = RollingWindow(10)
    for second in range(1, 11):
        add(window, second, float(second))
    assert window.look(10.0, 3).summary("wait") == Summary(3, 9, 9, 10, 10)
    assert window.look(10.5, 1_000).count("wait") == 10


def test_old_samples_are_forgotten_when_new_ones_come() -> None:
    window = RollingWindow(1)
    for second in range(100):
        add(window, second, float(second))
    assert len(window) == 1


def test_only_wanted_origins_count() -> None:
    window = RollingWindow(60)
    add(window, 1, 0.0, Origin("CA1", "w"))
    add(window, 2, 0.0, Origin("CA2", "w"))
    assert window.look(0.0, 60, lambda origin: origin.call == "CA2").summary("wait").avg == 2


DISTRIBUTIONS = {
    "uniform": lambda chance: chance.randint(1_000, 2_000_000),
    "exponential": lambda chance: int(chance.expovariate(1 / 400_000)),
    "lognormal": lambda chance: int(300_000 * chance.lognormvariate(0, 0.6)),
    "two humps": lambda chance: int(chance.gauss(*chance.choice([(120_000, 9_000), (900_000, 50_000)]))),
    "below zero": lambda chance: int(chance.gauss(-200_000, 300_000)),
    "constant": lambda _: 123_456,
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_of_more_than_are_kept_percentiles_are_within_a_percent(name: str) -> None:
    chance = random.Random(name)
    values = [DISTRIBUTIONS[name](chance) for _ in range(50_000)]
    window = RollingWindow(60, max_events=2_000)
    for number, value in enumerate(values):
        add(window, value, number / 1_000)
    summary = window.look(50.0, 60).summary("wait")
    ordered = sorted(values)
    assert (summary.count, summary.avg) == (50_000, sum(values) / 50_000)
    for percent, found in ((50, summary.p50), (95, summary.p95), (99, summary.p99)):
        assert found == pytest.approx(nearest_rank(ordered, percent), rel=0.01)


def test_what_is_folded_leaves_the_window_too() -> None:
    window = RollingWindow(60, max_events=100)
    for tick in range(3_000):
        add(window, tick, tick / 10)
    assert window.look(300.0, 60).count("wait") == pytest.approx(600, abs=10)
    assert window.look(300.0, 30).count("wait") == pytest.approx(300, abs=10)
    assert window.look(400.0, 60).count("wait") == 0


def test_a_long_and_busy_run_takes_no_more_room() -> None:
    window = RollingWindow(10, max_events=50)
    for tick in range(20_000):
        add(window, tick, tick / 20)
    assert len(window) <= 100
    assert len(window._slices) <= SLICES + 1


@pytest.mark.parametrize(("percent", "expected"), [(1, 15), (30, 20), (40, 20), (50, 35), (95, 50), (100, 50)])
def test_nearest_rank_of_a_known_list(percent: int, expected: int) -> None:
    assert nearest_rank([15, 20, 35, 40, 50], percent) == expected


@given(st.lists(st.integers(-10_000_000, 10_000_000), min_size=1, max_size=200))
def test_percentiles_are_the_smallest_samples_that_enough_samples_do_not_exceed(values: list[int]) -> None:
    window = RollingWindow(60)
    for value in values:
        add(window, value, 0.0)
    summary = window.look(0.0, 60).summary("wait")
    assert summary.count == len(values)
    assert summary.avg == sum(values) / len(values)
    for percent, found in ((50, summary.p50), (95, summary.p95), (99, summary.p99)):
        enough = [v for v in sorted(values) if 100 * sum(other <= v for other in values) >= percent * len(values)]
        assert found == enough[0]
