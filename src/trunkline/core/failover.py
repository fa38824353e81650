"""Decides what to do about a call that no worker holds: wait, dispatch it again, or give it up.

A call is an orphan from its beginning until the first lease, and again from the end of a lease that its worker did not
extend. It is given to a worker once; whatever comes after that is decided here. All instants are milliseconds of the
registry's clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Rescue(Enum):
    """What to do about an orphan."""

    WAIT = "wait"
    DISPATCH = "dispatch"
    GIVE_UP = "give_up"


@dataclass(frozen=True, slots=True)
class RescueTimes:
    """How long a caller may be without an agent.

    Args:
        lease_wait_ms: A dispatched call that no worker took by then is dispatched again.
        give_up_ms: After so long without any worker the call ends. Under 5 s, so that nobody listens to silence longer.
    """

    lease_wait_ms: int = 1_500
    give_up_ms: int = 4_500


@dataclass(frozen=True, slots=True)
class Orphan:
    """What the registry knows of a call.

    Args:
        lease_until_ms: End of its last lease; 0 if it never had one.
        orphaned_ms: Since when nobody holds it, if nobody does.
        dispatched_ms: When it was last dispatched.
        dispatches: Dispatches since it last had a lease.
    """

    lease_until_ms: int
    orphaned_ms: int
    dispatched_ms: int
    dispatches: int


def decide(call: Orphan, now_ms: int, times: RescueTimes) -> Rescue:
    """What to do about a call at `now_ms`.

    A lease that has just ended is dispatched at once; a dispatch that nobody answered, after `lease_wait_ms`.
    """
    if call.lease_until_ms > now_ms:
        return Rescue.WAIT
    if now_ms - call.orphaned_ms >= times.give_up_ms:
        return Rescue.GIVE_UP
    if call.dispatches > 0 and now_ms - call.dispatched_ms < times.lease_wait_ms:
        return Rescue.WAIT
    return Rescue.DISPATCH
