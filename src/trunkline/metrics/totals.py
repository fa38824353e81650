"""Counts everything since the start of the collector, for Prometheus and the page.

Bounded without forgetting: what the network brings as a free word is counted under a closed list of names, and a
duration in the buckets of its histogram. Only the workers, whose names are free, are a bounded list.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, OrderedDict

from trunkline.core import wire
from trunkline.core.errors import Reason, Result
from trunkline.core.latency import METRICS, Record
from trunkline.core.units import us_to_s

BUCKETS_S = (
    *(0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8),
    *(1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.5, 10.0),
)
"""From one packet to longer than anybody waits; finest where an answer is expected."""

MAX_WORKERS = 1_000
OTHER = "other"
"""Counts words that are not in our closed lists, such as those of a newer worker."""


class Histogram:
    """How many durations fell into each bucket, and their sum.

    Args:
        bounds_s: Upper bounds in seconds, ascending; each belongs to its bucket. One more bucket takes the rest.
    """

    def __init__(self, bounds_s: tuple[float, ...]) -> None:
        self.bounds_s = bounds_s
        self.counts = [0] * (len(bounds_s) + 1)
        self.sum_s = 0.0

    def add(self, duration_s: float) -> None:
        """Counts one duration. One below zero counts as zero: a sum that falls would look like a restart."""
        duration_s = max(0.0, duration_s)
        self.counts[bisect_left(self.bounds_s, duration_s)] += 1
        self.sum_s += duration_s


class Totals:
    """The counts since the start."""

    def __init__(self) -> None:
        self.accepted = self.duplicates = 0
        self.refused: Counter[str] = Counter()
        # All there can be are there from the start: an alert must see the step from 0 to 1.
        self.calls = Counter({(result, reason): 0 for result in (*Result, OTHER) for reason in (*Reason, OTHER)})
        self.turns = Counter(dict.fromkeys(wire.TurnOutcome, 0))
        self.durations = {name: Histogram(_bounds_s(name)) for name in METRICS}
        self._workers: OrderedDict[str, float] = OrderedDict()

    def take(self, record: Record, durations_us: dict[str, int], now: float) -> None:
        """Counts a record that is no repetition, with all that it measures."""
        self.accepted += 1
        for name, duration_us in durations_us.items():
            self.durations[name].add(us_to_s(duration_us))
        if isinstance(record, wire.HeardRecord):
            return
        if isinstance(record, wire.TurnRecord):
            self.turns[record.outcome] += 1
        elif record.reason != Reason.LEASE_LOST:
            # A lost lease ends a worker's part in the call, not the call.
            self.calls[_known(record.result, Result), _known(record.reason, Reason)] += 1
        self._workers[record.worker] = now
        self._workers.move_to_end(record.worker)
        if len(self._workers) > MAX_WORKERS:
            self._workers.popitem(last=False)

    @property
    def barge_ins(self) -> int:
        """Answers that the caller interrupted."""
        return self.turns[wire.TurnOutcome.INTERRUPTED]

    def workers(self, since: float) -> int:
        """How many workers told of a turn or call after this instant; at most `MAX_WORKERS`."""
        return sum(heard_of_at > since for heard_of_at in self._workers.values())


def _bounds_s(name: str) -> tuple[float, ...]:
    # An answer may begin before the caller has finished, which is worth a bucket of its own.
    return (0.0, *BUCKETS_S) if name.startswith("response") else BUCKETS_S


def _known(word: str, words: type[Result] | type[Reason]) -> str:
    return word if word in words._value2member_map_ else OTHER
