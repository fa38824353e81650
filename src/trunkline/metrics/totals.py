"""Counts everything since the start of the collector, for Prometheus and the page.

Bounded without forgetting: what the network brings as a free word is counted under a closed list of names, and a
duration in the buckets of its histogram.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from trunkline.core import wire
from trunkline.core.errors import Reason, Result
from trunkline.core.events import Record
from trunkline.core.latency import METRICS
from trunkline.core.units import us_to_s
from trunkline.metrics.histogram import Histogram

BUCKETS_S = (
    *(0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8),
    *(1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.5, 10.0),
)
"""From one packet to longer than anybody waits; finest where an answer is expected."""

OTHER = "other"
"""Counts words that are not in our closed lists, such as those of a newer worker."""

REFUSALS = (
    *("full", "too_many_calls", "too_many_requests", "bad_signature", "bad_api_key", "no_auth_token"),
    *("unknown_room", "second_phone", "link_used", OTHER),
)
"""Why the orchestrator lets somebody not in; all else that it says is a request that nobody should send."""


class Totals:
    """The counts since the start.

    Attributes:
        barge_ins: Answers that the caller interrupted.
    """

    def __init__(self) -> None:
        self.accepted = self.duplicates = self.barge_ins = 0
        self.refused: Counter[str] = Counter()
        # All there can be are there from the start: an alert must see the step from 0 to 1.
        self.calls = Counter({(result, reason): 0 for result in (*Result, OTHER) for reason in (*Reason, OTHER)})
        self.refusals: Counter[tuple[str, str]] = Counter(
            {(door, reason): 0 for door in wire.Door for reason in REFUSALS}
        )
        self.turns = Counter(dict.fromkeys(wire.TurnOutcome, 0))
        self.durations = {name: Histogram(_bounds_s(name)) for name in METRICS}

    def take(self, record: Record) -> None:
        """Counts a record that is no repetition."""
        self.accepted += 1
        if isinstance(record, wire.TurnRecord):
            self.turns[record.outcome] += 1
            # Who hangs up in an answer cuts it off, too, and is no barge-in.
            self.barge_ins += wire.Mark.BARGE_IN in record.marks_us
        elif isinstance(record, wire.RefusalRecord):
            door = record.door if record.door in wire.Door._value2member_map_ else wire.Door.API
            self.refusals[door, record.reason if record.reason in REFUSALS else OTHER] += 1
        elif isinstance(record, wire.CallRecord) and record.reason != Reason.LEASE_LOST:
            # A lost lease ends a worker's part in the call, not the call.
            self.calls[_known(record.result, Result), _known(record.reason, Reason)] += 1

    def measure(self, name: str, durations_us: Sequence[int]) -> None:
        """Counts durations of one of `METRICS`."""
        self.durations[name].add_all([us_to_s(duration_us) for duration_us in durations_us])


def _bounds_s(name: str) -> tuple[float, ...]:
    # An answer may begin before the caller has finished, which is worth a bucket of its own.
    return (0.0, *BUCKETS_S) if name.startswith("response") else BUCKETS_S


def _known(word: str, words: type[Result] | type[Reason]) -> str:
    return word if word in words._value2member_map_ else OTHER
