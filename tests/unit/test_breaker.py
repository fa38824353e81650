"""A provider's breaker, and its usual delay, in made-up time."""

from __future__ import annotations

import pytest

from trunkline.core.breaker import Breaker, BreakerParams, BreakerState
from trunkline.core.usual_delay import ENOUGH, UsualDelay

pytestmark = pytest.mark.unit

PARAMS = BreakerParams(failures=3, window_s=30.0, cool_down_s=5.0, longest_s=12.0, probe_s=10.0)


def opened(at: float = 0.0) -> Breaker:
    breaker = Breaker(PARAMS)
    for _ in range(3):
        breaker.failed(at)
    return breaker


def test_failures_in_a_row_open_it() -> None:
    breaker = Breaker(PARAMS)
    for now in (1.0, 2.0):
        breaker.failed(now)
        assert breaker.allows(now)
    breaker.failed(3.0)
    assert breaker.state is BreakerState.OPEN
    assert not breaker.allows(7.9)


def test_a_success_between_failures_starts_the_count_anew() -> None:
    breaker = Breaker(PARAMS)
    for now in (1.0, 2.0):
        breaker.failed(now)
    breaker.succeeded(2.5)
    for now in (3.0, 4.0):
        breaker.failed(now)
    assert breaker.allows(4.0)


def test_failures_far_apart_are_forgotten() -> None:
    breaker = Breaker(PARAMS)
    for now in (0.0, 29.0, 31.0, 61.5, 92.0):
        breaker.failed(now)
        assert breaker.allows(now)


def test_after_the_cool_down_one_asker_probes_and_the_others_wait() -> None:
    breaker = opened()
    assert not breaker.allows(4.999)
    assert breaker.allows(5.0)
    assert breaker.state is BreakerState.HALF_OPEN
    assert not breaker.allows(5.0)
    breaker.succeeded(6.0)
    assert breaker.state is BreakerState.CLOSED
    assert breaker.allows(6.0)


def test_a_probe_that_fails_doubles_the_cool_down_up_to_the_longest() -> None:
    breaker, now = opened(), 0.0
    for cool_down_s in (5.0, 10.0, 12.0, 12.0):
        assert not breaker.allows(now + cool_down_s - 0.001)
        now += cool_down_s
        assert breaker.allows(now)
        breaker.failed(now)


def test_a_success_after_probes_forgets_the_long_cool_down() -> None:
    breaker = opened()
    breaker.allows(5.0)
    breaker.failed(5.0)
    breaker.allows(15.0)
    breaker.succeeded(15.0)
    for _ in range(3):
        breaker.failed(20.0)
    assert not breaker.allows(24.9)
    assert breaker.allows(25.0)


def test_a_probe_that_is_never_heard_of_is_followed_by_another() -> None:
    breaker = opened()
    assert breaker.allows(5.0)
    assert not breaker.allows(14.9)
    assert breaker.allows(15.0)


def test_what_calls_tell_late_does_not_move_an_open_breaker() -> None:
    breaker = opened()
    breaker.failed(4.0)
    breaker.succeeded(4.0)
    assert breaker.state is BreakerState.OPEN
    assert breaker.allows(5.0)


class TestUsualDelay:
    """From when on a provider is taken for stalled."""

    def test_a_few_delays_tell_nothing(self) -> None:
        usual = UsualDelay(first_s=0.8, least_s=0.2, most_s=2.0)
        for _ in range(ENOUGH - 1):
            usual.took(0.1)
        assert usual.limit_s == 0.8

    def test_the_limit_lies_a_little_above_the_slowest_twentieth(self) -> None:
        usual = UsualDelay(first_s=0.8, least_s=0.1, most_s=2.0)
        for count in range(40):
            usual.took(0.15 if count % 10 else 0.2)
        assert usual.limit_s == pytest.approx(1.25 * 0.2 + 0.04)

    def test_with_the_delays_of_the_brief_a_stall_is_noticed_in_under_300_ms(self) -> None:
        usual = UsualDelay(first_s=1.2, least_s=0.2, most_s=1.5)
        for _ in range(ENOUGH):
            usual.took(0.16)
        assert usual.limit_s < 0.25

    @pytest.mark.parametrize(("took", "limit"), [(0.001, 0.2), (9.0, 2.0)])
    def test_it_stays_within_its_bounds(self, took: float, limit: float) -> None:
        usual = UsualDelay(first_s=0.8, least_s=0.2, most_s=2.0)
        for _ in range(ENOUGH):
            usual.took(took)
        assert usual.limit_s == limit

    def test_what_was_long_ago_is_forgotten(self) -> None:
        usual = UsualDelay(first_s=0.8, least_s=0.1, most_s=2.0)
        for took in [1.0] * 64 + [0.1] * 64:
            usual.took(took)
        assert usual.limit_s == pytest.approx(0.165)
