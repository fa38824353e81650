"""A provider's breaker, and its usual delay, in made-up time."""

from __future__ import annotations

import pytest

from trunkline.core.breaker import Breaker, BreakerParams, BreakerState

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
