"""How long a provider usually takes, and so from when on it is taken for stalled."""

from __future__ import annotations

from collections import deque

REMEMBERED = 64
ENOUGH = 8
"""Fewer delays than that don't tell what is slow."""
TIMES = 1.25
MORE_S = 0.04
FEW = 2
"""So many, and more, tell the order of magnitude: a first call need not wait as if nothing were known."""
FEW_TIMES = 2.0
FEW_MORE_S = 0.1


class UsualDelay:
    """Learns from the delays of all calls: the limit lies a little above the slowest twentieth of the last ones.

    As long as these are few it lies far above the slowest, but never above what holds without any.

    Args:
        first_s: The limit as long as nothing is known.
        least_s: It is never shorter.
        most_s: It is never longer.
    """

    def __init__(self, first_s: float, least_s: float, most_s: float) -> None:
        self.limit_s = self._first_s = first_s
        self._least_s = least_s
        self._most_s = most_s
        self._last: deque[float] = deque(maxlen=REMEMBERED)

    def took(self, delay_s: float) -> None:
        """It took so long this time."""
        self._last.append(delay_s)
        if len(self._last) >= ENOUGH:
            slow_s = sorted(self._last)[int(0.95 * (len(self._last) - 1))]
            self.limit_s = min(max(TIMES * slow_s + MORE_S, self._least_s), self._most_s)
        elif len(self._last) >= FEW:
            likely_s = FEW_TIMES * max(self._last) + FEW_MORE_S
            self.limit_s = min(max(likely_s, self._least_s), self._first_s)
