"""Percentiles of the last quarter of an hour, step by step, for the charts of the page.

Bounded: a step that is over is kept as its percentiles alone, and of one step at most `MAX_SAMPLES` samples count.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trunkline.core.units import us_to_ms
from trunkline.core.window import nearest_rank

STEP_S = 15
STEPS = 60
MAX_SAMPLES = 5_000


@dataclass(frozen=True, slots=True)
class _Point:
    step: int
    count: int
    p50_us: int
    p95_us: int


class Timeline:
    """The course of one duration."""

    def __init__(self) -> None:
        self._points: deque[_Point] = deque(maxlen=STEPS)
        self._step = 0
        self._samples: list[int] = []

    def add_all(self, values_us: Sequence[int], now: float) -> None:
        """Takes samples that arrived at `now` (monotonic seconds, never less than before)."""
        self._turn_to(int(now // STEP_S))
        self._samples.extend(values_us[: MAX_SAMPLES - len(self._samples)])

    def points(self, now: float) -> list[dict[str, Any]]:
        """The steps of the last `STEPS * STEP_S` seconds in which something came, the oldest first.

        Each has `ago_s`, seconds from its start until `now`, `count`, `p50_ms` and `p95_ms`.
        """
        self._turn_to(int(now // STEP_S))
        points = [*self._points, _point(self._step, self._samples)] if self._samples else list(self._points)
        return [
            {
                "ago_s": round(now - point.step * STEP_S, 1),
                "count": point.count,
                "p50_ms": us_to_ms(point.p50_us),
                "p95_ms": us_to_ms(point.p95_us),
            }
            for point in points
            if point.step > self._step - STEPS
        ]

    def _turn_to(self, step: int) -> None:
        if step == self._step:
            return
        if self._samples:
            self._points.append(_point(self._step, self._samples))
            self._samples = []
        self._step = step


def _point(step: int, samples: Sequence[int]) -> _Point:
    ordered = sorted(samples)
    return _Point(step, len(ordered), nearest_rank(ordered, 50), nearest_rank(ordered, 95))
