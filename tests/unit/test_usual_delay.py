"""From when on a provider is taken for stalled: learnt from few delays carefully, from many closely."""

from __future__ import annotations

import pytest

from trunkline.core.usual_delay import ENOUGH, UsualDelay

pytestmark = pytest.mark.unit


def after(*delays_s: float) -> float:
    usual = UsualDelay(first_s=0.6, least_s=0.15, most_s=1.5)
    for delay_s in delays_s:
        usual.took(delay_s)
    return usual.limit_s


def test_one_delay_tells_nothing() -> None:
    assert after() == after(0.1) == 0.6


def test_few_delays_tell_the_order_of_magnitude() -> None:
    assert after(0.1, 0.05) == pytest.approx(0.3)
    assert after(0.1, 0.12, 0.1) == pytest.approx(0.34)


def test_few_delays_that_are_long_change_nothing_yet() -> None:
    assert after(0.5, 0.9) == 0.6


def test_many_delays_tell_what_is_slow() -> None:
    assert after(*[0.1] * 20) == pytest.approx(0.165)
    assert after(*[0.9] * 20) == pytest.approx(1.165)


def test_neither_too_hasty_nor_too_patient() -> None:
    assert after(0.001, 0.001) == after(*[0.001] * 20) == 0.15
    assert after(*[5.0] * 20) == 1.5


def test_the_limit_lies_a_little_above_the_slowest_twentieth() -> None:
    usual = UsualDelay(first_s=0.8, least_s=0.1, most_s=2.0)
    for count in range(40):
        usual.took(0.15 if count % 10 else 0.2)
    assert usual.limit_s == pytest.approx(1.25 * 0.2 + 0.04)


def test_with_the_delays_of_the_brief_a_stall_is_noticed_in_under_300_ms() -> None:
    usual = UsualDelay(first_s=1.2, least_s=0.2, most_s=1.5)
    for _ in range(ENOUGH):
        usual.took(0.16)
    assert usual.limit_s < 0.25


@pytest.mark.parametrize(("took", "limit"), [(0.001, 0.2), (9.0, 2.0)])
def test_it_stays_within_its_bounds(took: float, limit: float) -> None:
    usual = UsualDelay(first_s=0.8, least_s=0.2, most_s=2.0)
    for _ in range(ENOUGH):
        usual.took(took)
    assert usual.limit_s == limit


def test_what_was_long_ago_is_forgotten() -> None:
    usual = UsualDelay(first_s=0.8, least_s=0.1, most_s=2.0)
    for took in [1.0] * 64 + [0.1] * 64:
        usual.took(took)
    assert usual.limit_s == pytest.approx(0.165)
