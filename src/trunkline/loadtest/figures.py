"""Arithmetic over what was measured: percentiles, calls at once, and what lies between the ear and the agent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from trunkline.core.units import us_to_ms
from trunkline.core.window import nearest_rank
from trunkline.loadtest.callers import PlacedCall
from trunkline.loadtest.options import Via

Figures = dict[str, float | int | None]
PERCENTILES = ("avg", "p50", "p95", "p99", "max")

ROAD_LIMIT_MS = {Via.WEBRTC: 120.0, Via.SDK: 300.0, Via.SIP: 350.0}
"""Most that network and buffers explain, both ways together: 20 to 60 ms of jitter buffer at each end, a frame on each
side and the way; the Python SDK's own buffers add some 140 ms, a phone bridge's 120."""
CLOCK_SLACK_MS = 25.0
"""Less than nothing by more can't be explained. By less it can: the agent counts speech from the first sample of the
frame in which it came, which is 20 ms older than the packet that brought it."""


def figures(durations_us: Iterable[int | None]) -> Figures:
    """Count, average, percentiles (nearest rank) and maximum in milliseconds; None where nothing was measured."""
    values = sorted(value for value in durations_us if value is not None)
    if not values:
        return {"count": 0, **dict.fromkeys(PERCENTILES)}
    ranks = {f"p{percent}": us_to_ms(nearest_rank(values, percent)) for percent in (50, 95, 99)}
    average = round(us_to_ms(sum(values)) / len(values), 3)
    return {"count": len(values), "avg": average, **ranks, "max": us_to_ms(values[-1])}


def figures_of_ms(durations_ms: Iterable[float | None]) -> Figures:
    """The same of milliseconds."""
    return figures(None if value is None else round(value * 1000) for value in durations_ms)


def most_at_once(calls: Sequence[PlacedCall]) -> int:
    """How many calls were up at the same time."""
    up = most = 0
    for _, change in _changes(calls):
        up += change
        most = max(most, up)
    return most


def all_up(calls: Sequence[PlacedCall]) -> tuple[float, float] | None:
    """Monotonic seconds between which all calls that were answered were up, at least 2 s; else those from the first
    answer to the last end. None: no call was answered."""
    up = [call for call in calls if call.answered_us is not None and call.ended_us is not None]
    if not up:
        return None
    starts, ends = [call.answered_us or 0 for call in up], [call.ended_us or 0 for call in up]
    start_us, end_us = max(starts), min(ends)
    if end_us - start_us < 2_000_000:
        start_us, end_us = min(starts), max(ends)
    return start_us / 1e6, end_us / 1e6


def calls_between(calls: Sequence[PlacedCall], start_s: float, end_s: float) -> float:
    """How many calls were up between two instants, on average."""
    total_s = 0.0
    for call in calls:
        if call.answered_us is not None and call.ended_us is not None:
            total_s += max(0.0, min(end_s, call.ended_us / 1e6) - max(start_s, call.answered_us / 1e6))
    return total_s / (end_s - start_s) if end_s > start_s else 0.0


def road_problem(up_ms: float, down_ms: float, via: Via, added_ms: float = 0.0) -> str:
    """What network and buffers do not explain of the difference between ear and agent; empty where they do.

    Args:
        added_ms: Delay that the run itself puts on the network, both ways together.
    """
    limit_ms = ROAD_LIMIT_MS[via] + added_ms
    if down_ms < -CLOCK_SLACK_MS:
        return f"heard {-down_ms:.0f} ms before the agent says it was sent"
    if up_ms < -CLOCK_SLACK_MS:
        return f"the agent says that speech began {-up_ms:.0f} ms before it did"
    if up_ms + down_ms > limit_ms:
        return f"the road took {up_ms + down_ms:.0f} ms, and network and buffers explain {limit_ms:.0f}"
    return ""


def _changes(calls: Sequence[PlacedCall]) -> list[tuple[int, int]]:
    changes = [(call.answered_us, 1) for call in calls if call.answered_us is not None]
    changes += [(call.ended_us, -1) for call in calls if call.answered_us is not None and call.ended_us is not None]
    return sorted(changes)
