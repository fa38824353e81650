"""Takes the records of turns, calls and workers, and tells how long callers wait for an answer.

    UDP datagrams ----+                     +-> rolling window -> GET /summary, /stages
    POST /ingest -----+-> check -> number --+-> totals         -> GET /metrics
                                            +-> timelines      -> GET /
                                            +-> recent calls   -> GET /, /calls
                                            +-> workers        -> GET /, /metrics
                                            +-> CSV, if wanted

Nothing that arrives is trusted, and everything kept is bounded; the rules stand beside the numbers in
`core/window.py`, `metrics/senders.py` and `metrics/call_history.py`. Instants are only subtracted within one record,
so never between hosts; a window counts by the collector's own clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from trunkline.core import wire
from trunkline.core.errors import Reason
from trunkline.core.events import CallEvent, EventError, Record, parse_event
from trunkline.core.latency import durations_us
from trunkline.core.window import Look, Origin, RollingWindow
from trunkline.metrics.answers import CALL
from trunkline.metrics.call_history import RecentCalls
from trunkline.metrics.csv_log import CsvLog
from trunkline.metrics.senders import Senders
from trunkline.metrics.timeline import Timeline
from trunkline.metrics.totals import Totals
from trunkline.metrics.workers import Workers

log = structlog.get_logger()

REPORT_PAUSE_S = 10.0
SETTLE_EVENTS = 512
SETTLE_S = 1.0
"""Totals and timelines take durations in lots of so many events, or of so long, and before anybody looks."""


class Collector:
    """All that is known.

    Args:
        window_s: How long durations are kept, in seconds; the usual window of a summary.
        csv_log: Also takes the records; None: no CSV.
        now: Monotonic seconds; tests pass made-up time.
        now_wall: UTC seconds; when a call was last heard of, for people to read.
    """

    def __init__(
        self,
        window_s: float,
        csv_log: CsvLog | None = None,
        now: Callable[[], float] = time.monotonic,
        now_wall: Callable[[], float] = time.time,
    ) -> None:
        self.window_s = window_s
        self.calls = RecentCalls()
        self.totals = Totals()
        self.workers = Workers()
        self.timelines = {name: Timeline() for name in ("roundtrip", "response")}
        self._overrun = 0
        self._csv_log = csv_log
        self.now = now
        self._now_wall = now_wall
        self._senders = Senders()
        self._report_at = now()
        self._window = RollingWindow(window_s)
        self._unsettled: list[Mapping[str, int]] = []
        self._unsettled_since = now()

    def take_datagram(self, data: bytes) -> None:
        """Takes one event, or counts why not."""
        try:
            self.take(parse_event(data))
        except EventError as error:
            self.refuse(error)

    def overrun(self) -> None:
        """Counts a datagram that was dropped unread, because they come faster than they can be taken."""
        self._overrun += 1

    def take(self, record: Record) -> bool:
        """Takes a record. Returns False where it is a repetition, which changes nothing."""
        if not self._senders.is_new(record.sender, record.seq):
            self.totals.duplicates += 1
            return False
        self.totals.take(record)
        now = self.now()
        if isinstance(record, wire.WorkerRecord):
            self.workers.take(record, now)
            return True
        if isinstance(record, wire.RefusalRecord):
            if record.call:
                self.calls.refuse(record, self._now_wall())
            return True
        self.calls.add(record, self._now_wall())
        if self._csv_log is not None:
            self._csv_log.write(record)
        self._measure(record, now)
        return True

    def refuse(self, error: EventError) -> None:
        """Counts an event that was refused; the log hears of it now and then."""
        self.totals.refused[error.reason] += 1
        if self.now() >= self._report_at:
            self._report_at = self.now() + REPORT_PAUSE_S
            log.warning("event_refused", problem=str(error), refused=self.totals.refused.total())

    def look(self, window_s: float, call: str | None = None, worker: str | None = None) -> Look:
        """What was measured in the last `window_s` seconds.

        Args:
            window_s: Seconds to look back.
            call: Only what this call brought.
            worker: Only what the calls of this worker brought.
        """
        return self._window.look(self.now(), window_s, self._filter(call, worker))

    def settle(self) -> None:
        """Brings totals and timelines up to date."""
        lot, self._unsettled = self._unsettled, []
        by_name: dict[str, list[int]] = {}
        for durations in lot:
            for name, duration_us in durations.items():
                by_name.setdefault(name, []).append(duration_us)
        for name, durations_of_one in by_name.items():
            self.totals.measure(name, durations_of_one)
            if name in self.timelines:
                self.timelines[name].add_all(durations_of_one, self._unsettled_since)

    def stats(self) -> dict[str, Any]:
        """What became of the events since the start."""
        return {
            "accepted": self.totals.accepted,
            "refused": self.totals.refused.total(),
            "refused_by_reason": dict(sorted(self.totals.refused.items())),
            "duplicates": self.totals.duplicates,
            "lost": self.lost(),
            "dropped": self.dropped(),
            "senders": self._senders.by_sender(),
        }

    def lost(self) -> int:
        """Records that were sent and did not come, as far as their numbers tell; falls when they come late."""
        return self._senders.lost()

    def dropped(self) -> int:
        """Records that came and could not be kept: rows of the CSV, turns of an endless call, datagrams in a flood."""
        return self._overrun + self.calls.dropped + (self._csv_log.dropped if self._csv_log is not None else 0)

    def _measure(self, record: CallEvent, now: float) -> None:
        durations = durations_us(record)
        if durations:
            if len(self._unsettled) >= SETTLE_EVENTS or now - self._unsettled_since >= SETTLE_S:
                self.settle()
                self._unsettled_since = now
            self._unsettled.append(durations)
        if isinstance(record, wire.HeardRecord):
            self._window.add(durations, now, Origin(record.call))
            return
        if isinstance(record, wire.TurnRecord):
            counted = record.outcome.value
        elif record.reason == Reason.LEASE_LOST:
            # A lost lease ends a worker's part in the call, not the call.
            return
        else:
            counted = CALL
        self._window.add({**durations, counted: 0}, now, Origin(record.call, record.worker))

    def _filter(self, call: str | None, worker: str | None) -> Callable[[Origin], bool] | None:
        if call is None and worker is None:
            return None

        def wanted(origin: Origin) -> bool:
            # What the caller heard names no worker; whose call it was is known from the call's other records.
            known = origin.worker or (self.calls.worker(origin.call) if worker is not None else "")
            return call in (None, origin.call) and worker in (None, known)

        return wanted
