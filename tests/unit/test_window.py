"""Rolling windows: what counts, for how long, and exact percentiles."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.core.window import RollingWindow, Summary, nearest_rank

pytestmark = pytest.mark.unit


def test_an_empty_window_has_a_count_and_nothing_else() -> None:
    assert RollingWindow(60).summary(0.0, 60) == Summary(0, None, None, None, None)


def test_a_sample_counts_until_the_window_has_passed() -> None:
    window = RollingWindow(60)
    window.add(5, 10.0)
    window.add(7, 40.0)
    assert window.summary(69.999, 60).count == 2
    assert window.summary(70.0, 60).count == 1
    assert window.summary(100.0, 60) == Summary(0)


def test_a_shorter_window_sees_only_its_part_and_a_longer_one_ends_at_the_horizon() -> None:
    window = RollingWindow(10)
    for second in range(1, 11):
        window.add(second, float(second))
    assert window.values(10.0, 3) == [10, 9, 8]
    assert window.summary(10.5, 1_000).count == 10


def test_old_samples_are_forgotten_when_new_ones_come() -> None:
    window = RollingWindow(1)
    for second in range(100):
        window.add(second, float(second))
    assert len(window) == 1


def test_of_too_many_samples_the_oldest_go() -> None:
    window = RollingWindow(60, max_samples=3)
    for value in (1, 2, 3, 4):
        window.add(value, 0.0)
    assert window.values(0.0, 60) == [4, 3, 2]


@pytest.mark.parametrize(("percent", "expected"), [(1, 15), (30, 20), (40, 20), (50, 35), (95, 50), (100, 50)])
def test_nearest_rank_of_a_known_list(percent: int, expected: int) -> None:
    assert nearest_rank([15, 20, 35, 40, 50], percent) == expected


@given(st.lists(st.integers(-10_000_000, 10_000_000), min_size=1, max_size=200))
def test_percentiles_are_the_smallest_samples_that_enough_samples_do_not_exceed(values: list[int]) -> None:
    window = RollingWindow(60)
    for value in values:
        window.add(value, 0.0)
    summary = window.summary(0.0, 60)
    assert summary.count == len(values)
    assert summary.avg == sum(values) / len(values)
    for percent, found in ((50, summary.p50), (95, summary.p95), (99, summary.p99)):
        enough = [v for v in sorted(values) if 100 * sum(other <= v for other in values) >= percent * len(values)]
        assert found == enough[0]
