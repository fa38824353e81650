"""How many durations fell into each bucket, as Prometheus wants it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class Histogram:
    """How many durations fell into each bucket, and their sum.

    Args:
        bounds_s: Upper bounds in seconds, ascending; each belongs to its bucket. One more bucket takes the rest.
    """

    def __init__(self, bounds_s: tuple[float, ...]) -> None:
        self.bounds_s = bounds_s
        self.counts = [0] * (len(bounds_s) + 1)
        self.sum_s = 0.0
        self._bounds = np.array(bounds_s)

    def add_all(self, durations_s: Sequence[float]) -> None:
        """Counts durations. One below zero counts as zero: a sum that falls would look like a restart."""
        found = np.maximum(durations_s, 0.0)
        added = np.bincount(np.searchsorted(self._bounds, found), minlength=len(self.counts))
        self.counts = [before + more for before, more in zip(self.counts, added.tolist(), strict=True)]
        self.sum_s += float(found.sum())

    def cumulative(self) -> list[tuple[str, float]]:
        """Cumulative counts by upper bound."""
        buckets, below = [], 0
        for bound, count in zip([*map(str, self.bounds_s), "+Inf"], self.counts, strict=True):
            below += count
            buckets.append((bound, float(below)))
        return buckets
