"""When a call that nobody holds is dispatched again, and when it is given up; in made-up time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.core.failover import Orphan, Rescue, RescueTimes, decide

TIMES = RescueTimes(lease_wait_ms=1_500, give_up_ms=4_500)
NEW = Orphan(lease_until_ms=0, orphaned_ms=10_000, dispatched_ms=10_000, dispatches=1)
LOST = Orphan(lease_until_ms=10_000, orphaned_ms=10_000, dispatched_ms=2_000, dispatches=0)


@pytest.mark.parametrize(
    ("call", "now_ms", "rescue"),
    [
        (NEW, 10_000, Rescue.WAIT),
        (NEW, 11_499, Rescue.WAIT),
        (NEW, 11_500, Rescue.DISPATCH),
        (NEW, 14_499, Rescue.DISPATCH),
        (NEW, 14_500, Rescue.GIVE_UP),
        (LOST, 9_999, Rescue.WAIT),
        (LOST, 10_000, Rescue.DISPATCH),
        (LOST, 14_500, Rescue.GIVE_UP),
    ],
)
def test_decide(call: Orphan, now_ms: int, rescue: Rescue) -> None:
    assert decide(call, now_ms, TIMES) is rescue


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 9), st.integers(0, 10**6))
def test_a_held_call_is_left_alone_and_no_orphan_waits_for_ever(
    lease: int, orphaned: int, dispatched: int, dispatches: int, now: int
) -> None:
    call = Orphan(lease, orphaned, dispatched, dispatches)
    rescue = decide(call, now, TIMES)
    if lease > now:
        assert rescue is Rescue.WAIT
    elif now - orphaned >= TIMES.give_up_ms:
        assert rescue is Rescue.GIVE_UP
    elif rescue is Rescue.WAIT:
        assert now - dispatched < TIMES.lease_wait_ms
