"""How late the callers' own clock ticks: a load generator that can't keep pace measures itself, not the stack.

Every caller reports each of its 20 ms ticks; counts by whole milliseconds and by second are all that is kept, so
processes can be added up.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

MOST_LATE_MS = 20
"""With a p99 above one frame the figures say more about the callers than about the stack."""
CAP_MS = 5_000
MAX_SECONDS = 7_200
"""Two hours; of a longer run the first two are kept by second."""


@dataclass(frozen=True, slots=True)
class Lateness:
    """Of some ticks, in milliseconds rounded up."""

    ticks: int
    p99_ms: int
    max_ms: int


@dataclass(slots=True)
class Pacing:
    """Ticks by second of the monotonic clock, and by how late they were."""

    seconds: dict[int, Counter[int]] = field(default_factory=dict)

    def tick(self, due_s: float, now_s: float) -> None:
        """One tick that was due at `due_s` and happened at `now_s`, both monotonic seconds."""
        late_ms = math.ceil((now_s - due_s) * 1000) if now_s > due_s else 0
        counts = self.seconds.get(int(due_s))
        if counts is None:
            self.add(int(due_s), {min(late_ms, CAP_MS): 1})
        else:
            counts[min(late_ms, CAP_MS)] += 1

    def add(self, second: int, late_ms: dict[int, int]) -> None:
        """Adds ticks of one second, counted by lateness."""
        counts = self.seconds.get(second)
        if counts is None:
            if len(self.seconds) >= MAX_SECONDS:
                return
            counts = self.seconds[second] = Counter()
        counts.update(late_ms)

    def take_before(self, second: int) -> dict[int, Counter[int]]:
        """The seconds that are over at `second`; they are forgotten here."""
        return {over: self.seconds.pop(over) for over in sorted(self.seconds) if over < second}

    def total(self) -> Lateness:
        """Of all ticks."""
        return lateness(sum(self.seconds.values(), Counter()))

    def by_second(self) -> list[tuple[int, Lateness]]:
        """Of each second, in order."""
        return [(second, lateness(self.seconds[second])) for second in sorted(self.seconds)]

    @property
    def valid(self) -> bool:
        """Whether the callers kept pace."""
        return self.total().p99_ms <= MOST_LATE_MS


def lateness(counts: Counter[int]) -> Lateness:
    """Sums up ticks counted by lateness."""
    ticks = counts.total()
    if not ticks:
        return Lateness(0, 0, 0)
    rank, seen, p99_ms = -(-99 * ticks // 100), 0, 0
    for late_ms in sorted(counts):
        seen += counts[late_ms]
        if seen >= rank:
            p99_ms = late_ms
            break
    return Lateness(ticks, p99_ms, max(counts))
