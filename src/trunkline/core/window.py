"""Counts, averages and percentiles of what happened in the last seconds.

Samples come in with the instant of their arrival, on one clock; the collector asks for a summary whenever somebody
looks. Bounded twice: a sample older than the horizon goes, and of more than `max_samples` the oldest go.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import NamedTuple

MAX_SAMPLES = 20_000
"""100 callers who each take a turn every 4 s fill this in 13 minutes; sorting it takes a few milliseconds."""


class Origin(NamedTuple):
    """Where a sample comes from; a worker is empty where the caller measured, who does not know it."""

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


class RollingWindow:
    """Keeps the samples of the last `horizon_s` seconds.

    Args:
        horizon_s: How long a sample is kept, in seconds.
        max_samples: Above this the oldest is dropped, and the window covers less time.
    """

    def __init__(self, horizon_s: float, max_samples: int = MAX_SAMPLES) -> None:
        self.horizon_s = horizon_s
        self._samples: deque[tuple[float, int, Origin]] = deque(maxlen=max_samples)

    def __len__(self) -> int:
        return len(self._samples)

    def add(self, value: int, now: float, origin: Origin = NOWHERE) -> None:
        """Takes a sample that arrives at `now` (monotonic seconds, never less than before)."""
        while self._samples and self._samples[0][0] <= now - self.horizon_s:
            self._samples.popleft()
        self._samples.append((now, value, origin))

    def values(self, now: float, window_s: float, wanted: Callable[[Origin], bool] | None = None) -> list[int]:
        """The samples of the last `window_s` seconds, the newest first; of all origins, or of those that are wanted."""
        since = now - min(window_s, self.horizon_s)
        recent = takewhile(lambda sample: sample[0] > since, reversed(self._samples))
        return [value for _, value, origin in recent if wanted is None or wanted(origin)]

    def summary(self, now: float, window_s: float, wanted: Callable[[Origin], bool] | None = None) -> Summary:
        """Sums up the last `window_s` seconds before `now`; at most the horizon."""
        values = sorted(self.values(now, window_s, wanted))
        if not values:
            return Summary(0)
        p50, p95, p99 = (nearest_rank(values, percent) for percent in (50, 95, 99))
        return Summary(len(values), sum(values) / len(values), p50, p95, p99)


def nearest_rank(ordered: Sequence[int], percent: int) -> int:
    """The smallest sample that at least `percent` of all samples do not exceed.

    Args:
        ordered: At least one sample, ascending.
        percent: 1 to 100.
    """
    rank = -(-percent * len(ordered) // 100)
    return ordered[rank - 1]
