"""The workers that are alive: their load, how late their event loops are, and the frames whose time they missed.

Each tells once a second. Bounded: of more than `MAX_WORKERS` the one not heard of for longest is forgotten.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from trunkline.core.units import us_to_s
from trunkline.core.wire import WorkerRecord
from trunkline.metrics.histogram import Histogram

ALIVE_S = 5.0
"""Longer than a few lost datagrams; then the worker counts as gone, as it does for the orchestrator."""
MAX_WORKERS = 1_000
LAG_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)


@dataclass(frozen=True, slots=True)
class _Known:
    record: WorkerRecord
    heard_of_at: float


class Workers:
    """What is known of the workers, and what they told in all."""

    def __init__(self) -> None:
        self.loop_lag = Histogram(LAG_BUCKETS_S)
        self.late_ticks = self.dropped_ticks = 0
        self._known: OrderedDict[str, _Known] = OrderedDict()

    def take(self, record: WorkerRecord, now: float) -> None:
        """Takes what a worker tells at `now` (monotonic seconds). What comes late tells nothing any more."""
        known = self._known.get(record.worker)
        before = known.record if known is not None and known.record.sender == record.sender else None
        if before is not None and record.seq < before.seq:
            return
        self.loop_lag.add_all([us_to_s(record.loop_lag_us)])
        if before is not None:
            # What it had counted before this collector heard of it is not known by when.
            self.late_ticks += _more(before.late_ticks, record.late_ticks)
            self.dropped_ticks += _more(before.dropped_ticks, record.dropped_ticks)
        self._known[record.worker] = _Known(record, now)
        self._known.move_to_end(record.worker)
        if len(self._known) > MAX_WORKERS:
            self._known.popitem(last=False)

    def alive(self, now: float) -> list[WorkerRecord]:
        """The last word of each that told something lately, by name."""
        alive = [known.record for known in self._known.values() if known.heard_of_at > now - ALIVE_S]
        return sorted(alive, key=lambda record: record.worker)


def _more(before: int, after: int) -> int:
    """What came to a count; one that fell began anew, with the media engine."""
    return after - before if after >= before else after
