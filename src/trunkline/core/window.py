"""Counts, averages and percentiles of what happened in the last seconds.

What is measured comes in with the instant of its arrival, on one clock; the collector asks whenever somebody looks.
Bounded twice: what is older than the horizon goes, and of more than `max_events` the oldest are folded into sketches,
which keep count and average exact, percentiles within 0.5 %, and forget whose they were.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

MAX_EVENTS = 20_000
"""100 callers who each take a turn every 4 s fill this in 13 minutes; looking at all takes some 20 ms."""
FOLDED_AT_ONCE = 2_048
SLICES = 60
"""The horizon in so many sketches: what of the window's far end is folded is in or out by such steps."""

_LOG_STEP = math.log(1.01)
STEPS = 3_700
"""Of 1 %, from 1 to what microseconds can be, on both sides of 0."""
_AWAY = np.exp((np.arange(1, STEPS + 1) - 1) * _LOG_STEP) * 2 / (1 + math.exp(_LOG_STEP))
_MIDDLES = np.concatenate([-_AWAY[::-1], [0.0], _AWAY])
"""Of each step the value that is nowhere off by more than 0.5 %."""


class Origin(NamedTuple):
    """Where something was measured; a worker is empty where the caller measured, who does not know it."""

    call: str = ""
    worker: str = ""


NOWHERE = Origin()


@dataclass(frozen=True, slots=True)
class Summary:
    """What a window holds, in the unit of its samples; all but the count are None where it is empty."""

    count: int
    avg: float | None = None
    p50: int | None = None
    p95: int | None = None
    p99: int | None = None


class _Sketch:
    """Many samples as their count, their sum, and how many lie within each step of 1 %."""

    def __init__(self) -> None:
        self.count = self.total = 0
        self.counts = np.zeros(2 * STEPS + 1, np.int32)

    def add(self, values: Sequence[int]) -> None:
        self.count += len(values)
        self.total += sum(values)
        found = np.array(values, np.float64)
        away = np.minimum(1 + np.ceil(np.log(np.maximum(np.abs(found), 1)) / _LOG_STEP), STEPS)
        self.counts += np.bincount((STEPS + np.sign(found) * away).astype(np.int64), minlength=2 * STEPS + 1)


class Look:
    """What was measured in a window, by name."""

    def __init__(self, window_s: float, exact: Mapping[str, list[int]], folded: Mapping[str, list[_Sketch]]) -> None:
        self.window_s = window_s
        self._exact = exact
        self._folded = folded

    def count(self, name: str) -> int:
        """How often this was measured."""
        return len(self._exact.get(name, ())) + sum(sketch.count for sketch in self._folded.get(name, ()))

    def summary(self, name: str) -> Summary:
        """Sums up one of the durations."""
        exact, folded = self._exact.get(name, []), self._folded.get(name, ())
        if not exact and not folded:
            return Summary(0)
        count = self.count(name)
        total = sum(exact) + sum(sketch.total for sketch in folded)
        return Summary(count, total / count, *_percentiles(exact, folded, (50, 95, 99)))


class RollingWindow:
    """Keeps what was measured in the last `horizon_s` seconds.

    Args:
        horizon_s: How long it is kept, in seconds.
        max_events: Above this the oldest are folded.
    """

    def __init__(self, horizon_s: float, max_events: int = MAX_EVENTS) -> None:
        self.horizon_s = horizon_s
        self._max_events = max_events
        self._events: deque[tuple[float, Mapping[str, int], Origin]] = deque()
        self._slice_s = horizon_s / SLICES
        self._slices: deque[tuple[int, dict[str, _Sketch]]] = deque()

    def __len__(self) -> int:
        return len(self._events)

    def add(self, durations: Mapping[str, int], now: float, origin: Origin = NOWHERE) -> None:
        """Takes what one event measured.

        Args:
            durations: By name; kept as it is.
            now: When it arrives, in monotonic seconds, never less than before.
            origin: Where it was measured.
        """
        events = self._events
        events.append((now, durations, origin))
        while events[0][0] <= now - self.horizon_s:
            events.popleft()
        if len(events) >= self._max_events + min(FOLDED_AT_ONCE, self._max_events):
            self._fold()

    def look(self, now: float, window_s: float, wanted: Callable[[Origin], bool] | None = None) -> Look:
        """The last `window_s` seconds before `now`; at most the horizon.

        Args:
            now: Monotonic seconds.
            window_s: Seconds to look back.
            wanted: Whose events count; None: all. Folded ones have forgotten whose they are and are left out.
        """
        since = now - min(window_s, self.horizon_s)
        exact: dict[str, list[int]] = {}
        for at, durations, origin in reversed(self._events):
            if at <= since:
                break
            if wanted is None or wanted(origin):
                for name, value in durations.items():
                    exact.setdefault(name, []).append(value)
        folded: dict[str, list[_Sketch]] = {}
        if wanted is None:
            for number, sketches in self._slices:
                if (number + 0.5) * self._slice_s > since:
                    for name, sketch in sketches.items():
                        folded.setdefault(name, []).append(sketch)
        return Look(window_s, exact, folded)

    def _fold(self) -> None:
        """Makes sketches of the oldest events."""
        oldest = [self._events.popleft() for _ in range(len(self._events) - self._max_events)]
        by_slice: dict[int, dict[str, list[int]]] = {}
        for at, durations, _ in oldest:
            by_name = by_slice.setdefault(int(at // self._slice_s), {})
            for name, value in durations.items():
                by_name.setdefault(name, []).append(value)
        for number, by_name in by_slice.items():
            if not self._slices or self._slices[-1][0] != number:
                self._slices.append((number, {}))
            sketches = self._slices[-1][1]
            for name, values in by_name.items():
                sketches.setdefault(name, _Sketch()).add(values)
        while self._slices[0][0] < self._slices[-1][0] - SLICES:
            self._slices.popleft()


def nearest_rank(ordered: Sequence[int], percent: int) -> int:
    """The smallest sample that at least `percent` of all samples do not exceed.

    Args:
        ordered: At least one sample, ascending.
        percent: 1 to 100.
    """
    return ordered[_rank(len(ordered), percent) - 1]


def _rank(count: int, percent: int) -> int:
    return -(-percent * count // 100)


def _percentiles(exact: list[int], folded: Sequence[_Sketch], percents: Iterable[int]) -> list[int]:
    if not folded:
        ordered = sorted(exact)
        return [nearest_rank(ordered, percent) for percent in percents]
    values = np.concatenate([np.array(exact, np.float64), _MIDDLES])
    counts = np.concatenate([np.ones(len(exact), np.int64), sum(sketch.counts for sketch in folded)])
    order = np.argsort(values)
    below = np.cumsum(counts[order])
    ranks = [_rank(int(below[-1]), percent) for percent in percents]
    return [round(float(value)) for value in values[order][np.searchsorted(below, ranks)]]
