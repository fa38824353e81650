"""Keeps the records of the last calls, for whoever asks what happened in one.

Bounded: `MAX_CALLS` calls and `MAX_RECORDS` records; beyond either, the call not heard of for longest goes. Of one call
that alone has more than `MAX_RECORDS_PER_CALL` turns, the oldest go.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field

from trunkline.core import wire
from trunkline.core.errors import Reason
from trunkline.core.events import CallEvent

MAX_CALLS = 1_000
MAX_RECORDS = 20_000
MAX_RECORDS_PER_CALL = 500
MAX_REFUSED = 50
"""Calls that were not let in; all of them are counted."""


@dataclass(slots=True)
class CallHistory:
    """What is known of one call, in the order in which it arrived."""

    call: str
    record: wire.CallRecord | None = None
    turns: deque[wire.TurnRecord] = field(default_factory=lambda: deque(maxlen=MAX_RECORDS_PER_CALL))
    heard_of_wall: float = 0.0
    """UTC seconds at which its last record came."""
    refusal: wire.RefusalRecord | None = None
    """It was not let in."""
    heard: deque[wire.HeardRecord] = field(default_factory=lambda: deque(maxlen=MAX_RECORDS_PER_CALL))

    @property
    def worker(self) -> str:
        """The worker that had the call last; empty where only its caller was heard of."""
        last = self.record or (self.turns[-1] if self.turns else None)
        return "" if last is None else last.worker

    def __len__(self) -> int:
        return 1 + len(self.turns) + len(self.heard)


class RecentCalls:
    """The last calls."""

    def __init__(self) -> None:
        self.dropped = 0
        self._calls: OrderedDict[str, CallHistory] = OrderedDict()
        self._records = 0
        self._refused: deque[str] = deque()

    def add(self, record: CallEvent, now_wall: float) -> None:
        """Keeps a record, which comes at `now_wall` (UTC seconds), with those of its call."""
        history = self._calls.get(record.call)
        if history is None:
            history = self._calls[record.call] = CallHistory(record.call)
            self._records += 1
        self._calls.move_to_end(record.call)
        history.heard_of_wall = now_wall
        before = len(history)
        if isinstance(record, wire.CallRecord):
            # A worker that lost the call to another tells of it, too, and maybe later: its word is not the last.
            if history.record is None or record.reason != Reason.LEASE_LOST:
                history.record = record
        else:
            self._add_turn(history, record)
        self._records += len(history) - before
        self._make_room()

    def refuse(self, record: wire.RefusalRecord, now_wall: float) -> None:
        """Keeps a call that was not let in; of these only the last few, so that a flood of them displaces no others."""
        history = self._calls.get(record.call)
        if history is not None:
            # A webhook that comes twice: the call is under way, or was refused before.
            return
        self._calls[record.call] = CallHistory(record.call, heard_of_wall=now_wall, refusal=record)
        self._records += 1
        self._refused.append(record.call)
        while len(self._refused) > MAX_REFUSED:
            oldest = self._calls.get(self._refused.popleft())
            if oldest is not None and oldest.refusal is not None and len(oldest) == 1 and oldest.record is None:
                del self._calls[oldest.call]
                self._records -= 1
        self._make_room()

    def get(self, call: str) -> CallHistory | None:
        """One call, or None where it is unknown or forgotten."""
        return self._calls.get(call)

    def worker(self, call: str) -> str:
        """The worker that had this call last; empty where that is unknown or forgotten."""
        history = self._calls.get(call)
        return "" if history is None else history.worker

    def newest(self, limit: int) -> list[CallHistory]:
        """Up to `limit` calls, the last heard of first."""
        return [self._calls[call] for _, call in zip(range(limit), reversed(self._calls), strict=False)]

    def _make_room(self) -> None:
        while len(self._calls) > MAX_CALLS or self._records > MAX_RECORDS:
            _, oldest = self._calls.popitem(last=False)
            self._records -= len(oldest)

    def _add_turn(self, history: CallHistory, record: wire.TurnRecord | wire.HeardRecord) -> None:
        kept = history.turns if isinstance(record, wire.TurnRecord) else history.heard
        if len(kept) == MAX_RECORDS_PER_CALL:
            self.dropped += 1
        kept.append(record)  # type: ignore[arg-type]
