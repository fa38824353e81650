"""Takes the records of turns and calls, and tells how long callers wait for an answer.

    UDP datagrams ----+                     +-> rolling windows  -> GET /summary, /stages
    POST /ingest -----+-> check -> number --+-> totals           -> GET /metrics
                                            +-> timelines        -> GET /
                                            +-> recent calls     -> GET /, /calls
                                            +-> CSV, if wanted

Nothing that arrives is trusted, and everything kept is bounded; the rules stand beside the numbers in
`core/window.py`, `metrics/senders.py` and `metrics/call_history.py`. Instants are only subtracted within one record,
so never between hosts; a window counts by the collector's own clock.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import structlog

from trunkline.core import wire
from trunkline.core.errors import Reason
from trunkline.core.latency import METRICS, STAGES, EventError, Record, durations_us, parse_event
from trunkline.core.window import Origin, RollingWindow, Summary
from trunkline.metrics.call_history import RecentCalls
from trunkline.metrics.csv_log import CsvLog
from trunkline.metrics.senders import Senders
from trunkline.metrics.timeline import Timeline
from trunkline.metrics.totals import Totals

log = structlog.get_logger()

REPORT_PAUSE_S = 10.0


class Collector(asyncio.DatagramProtocol):
    """All that is known, and the door for datagrams.

    Args:
        window_s: How long samples are kept, in seconds; the usual window of a summary.
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
        self._csv_log = csv_log
        self.now = now
        self._now_wall = now_wall
        self._senders = Senders()
        self._report_at = now()
        self.timelines = {name: Timeline() for name in ("roundtrip", "response")}
        self._durations = {name: RollingWindow(window_s) for name in METRICS}
        self._events = {name: RollingWindow(window_s) for name in (*wire.TurnOutcome, "call")}

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """Takes one event, or counts why not."""
        try:
            self.take(parse_event(data))
        except EventError as error:
            self.refuse(error)

    def take(self, record: Record) -> bool:
        """Takes a record. Returns False where it is a repetition, which changes nothing."""
        if not self._senders.is_new(record.sender, record.seq):
            self.totals.duplicates += 1
            return False
        self.calls.add(record, self._now_wall())
        if self._csv_log is not None:
            self._csv_log.write(record)
        self._measure(record)
        return True

    def refuse(self, error: EventError) -> None:
        """Counts an event that was refused; the log hears of it now and then."""
        self.totals.refused[error.reason] += 1
        if self.now() >= self._report_at:
            self._report_at = self.now() + REPORT_PAUSE_S
            log.warning("event_refused", problem=str(error), refused=self.totals.refused.total())

    def summary(self, window_s: float, call: str | None = None, worker: str | None = None) -> dict[str, Any]:
        """What happened in the last `window_s` seconds; RoundTrip first, all durations in milliseconds.

        Args:
            window_s: Seconds to look back.
            call: Only what this call brought.
            worker: Only what the calls of this worker brought.
        """
        now, wanted = self.now(), self._filter(call, worker)
        durations = {name: _in_ms(window.summary(now, window_s, wanted)) for name, window in self._durations.items()}
        return {
            "window_sec": _whole(window_s),
            **durations["roundtrip"],
            "response": durations["response"],
            "roundtrip_heard": durations["roundtrip_heard"],
            "response_heard": durations["response_heard"],
            "stages": {stage.value: durations[f"stage:{stage}"] for stage in STAGES},
            **self.counts(window_s, call, worker),
        }

    def counts(self, window_s: float, call: str | None = None, worker: str | None = None) -> dict[str, int]:
        """How much happened in the last `window_s` seconds; filtered like `summary`."""
        now, wanted = self.now(), self._filter(call, worker)
        counts = {name: len(window.values(now, window_s, wanted)) for name, window in self._events.items()}
        return {
            "turns": sum(counts[outcome] for outcome in wire.TurnOutcome),
            "unanswered": counts[wire.TurnOutcome.UNANSWERED],
            "barge_ins": counts[wire.TurnOutcome.INTERRUPTED],
            "calls": counts["call"],
        }

    def metric(
        self, name: str, window_s: float, call: str | None = None, worker: str | None = None
    ) -> dict[str, float | int | None]:
        """One of `METRICS` over the last `window_s` seconds, in milliseconds; filtered like `summary`."""
        window = self._durations[name]
        return {
            "window_sec": _whole(window_s),
            **_in_ms(window.summary(self.now(), window_s, self._filter(call, worker))),
        }

    def stages(self, window_s: float, call: str | None = None, worker: str | None = None) -> dict[str, Any]:
        """What the RoundTrips of the last `window_s` seconds are made of; filtered like `summary`.

        The shares are of the sum of all RoundTrips, so they add up to 1. A stage that only some turns have counts by
        the time that it took in all, which its average alone does not tell.
        """
        now, wanted = self.now(), self._filter(call, worker)
        found = {stage.value: self._durations[f"stage:{stage}"].summary(now, window_s, wanted) for stage in STAGES}
        sums = {name: summary.count * (summary.avg or 0.0) for name, summary in found.items()}
        total = sum(sums.values())
        return {
            "window_sec": _whole(window_s),
            "roundtrip": _in_ms(self._durations["roundtrip"].summary(now, window_s, wanted)),
            "stages": {
                name: {**_in_ms(summary), "share": round(sums[name] / total, 4) if total else None}
                for name, summary in found.items()
            },
        }

    def stats(self) -> dict[str, Any]:
        """What became of the events since the start."""
        return {
            "accepted": self.totals.accepted,
            "refused": self.totals.refused.total(),
            "duplicates": self.totals.duplicates,
            "lost": self.lost(),
            "dropped": self.dropped(),
            "senders": self._senders.by_sender(),
        }

    def lost(self) -> int:
        """Records that were sent and did not come, as far as their numbers tell; falls when they come late."""
        return self._senders.lost()

    def dropped(self) -> int:
        """Records that came and could not be kept: rows of the CSV, turns of an endless call."""
        return self.calls.dropped + (self._csv_log.dropped if self._csv_log is not None else 0)

    def workers(self) -> int:
        """Workers that told of a turn or call within the window."""
        return self.totals.workers(self.now() - self.window_s)

    def _measure(self, record: Record) -> None:
        now, origin = self.now(), Origin(record.call, "" if isinstance(record, wire.HeardRecord) else record.worker)
        durations = durations_us(record)
        self.totals.take(record, durations, now)
        for name, duration_us in durations.items():
            self._durations[name].add(duration_us, now, origin)
            if name in self.timelines:
                self.timelines[name].add(duration_us, now)
        match record:
            case wire.TurnRecord():
                self._events[record.outcome].add(1, now, origin)
            case wire.CallRecord() if record.reason != Reason.LEASE_LOST:
                # A lost lease ends a worker's part in the call, not the call.
                self._events["call"].add(1, now, origin)

    def _filter(self, call: str | None, worker: str | None) -> Callable[[Origin], bool] | None:
        if call is None and worker is None:
            return None

        def wanted(origin: Origin) -> bool:
            # What the caller heard names no worker; whose call it was is known from the call's other records.
            known = origin.worker or (self.calls.worker(origin.call) if worker is not None else "")
            return call in (None, origin.call) and worker in (None, known)

        return wanted


def _whole(seconds: float) -> float | int:
    return int(seconds) if seconds == int(seconds) else seconds


def _in_ms(summary: Summary) -> dict[str, float | int | None]:
    microseconds = {"avg_ms": summary.avg, "p50_ms": summary.p50, "p95_ms": summary.p95, "p99_ms": summary.p99}
    return {
        "count": summary.count,
        **{name: None if value is None else round(value / 1_000, 3) for name, value in microseconds.items()},
    }
