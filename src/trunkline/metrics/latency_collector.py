"""Takes the records of turns and calls, and tells how long callers wait for an answer.

    UDP datagrams ----+                     +-> rolling windows  -> GET /summary
    POST /ingest -----+-> check -> number --+-> recent calls     -> GET /calls
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
from trunkline.core.errors import Reason, RemoteProtocolError
from trunkline.core.latency import STAGES, Record, parse_event, response_us, roundtrip_us, stages_us
from trunkline.core.window import RollingWindow, Summary
from trunkline.metrics.call_history import RecentCalls
from trunkline.metrics.csv_log import CsvLog
from trunkline.metrics.senders import Senders

log = structlog.get_logger()

REPORT_PAUSE_S = 10.0


class Collector(asyncio.DatagramProtocol):
    """All that is known, and the door for datagrams.

    Args:
        window_s: How long samples are kept, in seconds; the usual window of a summary.
        csv_log: Also takes the records; None: no CSV.
        now: Monotonic seconds; tests pass made-up time.
    """

    def __init__(
        self, window_s: float, csv_log: CsvLog | None = None, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.window_s = window_s
        self.calls = RecentCalls()
        self._csv_log = csv_log
        self._now = now
        self._senders = Senders()
        self._accepted = 0
        self._refused = 0
        self._duplicates = 0
        self._report_at = now()
        self._durations = {
            name: RollingWindow(window_s)
            for name in ("roundtrip", "response", "roundtrip_heard", "response_heard", *STAGES)
        }
        self._events = {name: RollingWindow(window_s) for name in (*wire.TurnOutcome, "call")}

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """Takes one event, or counts why not."""
        try:
            self.take(parse_event(data))
        except RemoteProtocolError as error:
            self.refuse(error)

    def take(self, record: Record) -> bool:
        """Takes a record. Returns False where it is a repetition, which changes nothing."""
        if not self._senders.is_new(record.sender, record.seq):
            self._duplicates += 1
            return False
        self._accepted += 1
        self.calls.add(record)
        if self._csv_log is not None:
            self._csv_log.write(record)
        match record:
            case wire.TurnRecord():
                self._measure(record)
            case wire.HeardRecord():
                self._sample("roundtrip_heard", record.heard_us - record.speech_start_us)
                self._sample("response_heard", record.heard_us - record.speech_end_us)
            case wire.CallRecord() if record.reason != Reason.LEASE_LOST:
                # A lost lease ends a worker's part in the call, not the call.
                self._events["call"].add(1, self._now())
        return True

    def refuse(self, error: RemoteProtocolError) -> None:
        """Counts an event that was refused; the log hears of it now and then."""
        self._refused += 1
        if self._now() >= self._report_at:
            self._report_at = self._now() + REPORT_PAUSE_S
            log.warning("event_refused", problem=str(error), refused=self._refused)

    def summary(self, window_s: float) -> dict[str, Any]:
        """What happened in the last `window_s` seconds; RoundTrip first, all durations in milliseconds."""
        durations = {name: _in_ms(window.summary(self._now(), window_s)) for name, window in self._durations.items()}
        counts = {name: len(window.values(self._now(), window_s)) for name, window in self._events.items()}
        return {
            "window_sec": int(window_s) if window_s == int(window_s) else window_s,
            **durations["roundtrip"],
            "response": durations["response"],
            "roundtrip_heard": durations["roundtrip_heard"],
            "response_heard": durations["response_heard"],
            "stages": {stage.value: durations[stage] for stage in STAGES},
            "turns": sum(counts[outcome] for outcome in wire.TurnOutcome),
            "unanswered": counts[wire.TurnOutcome.UNANSWERED],
            "barge_ins": counts[wire.TurnOutcome.INTERRUPTED],
            "calls": counts["call"],
        }

    def stats(self) -> dict[str, Any]:
        """What became of the events since the start."""
        csv_dropped = self._csv_log.dropped if self._csv_log is not None else 0
        return {
            "accepted": self._accepted,
            "refused": self._refused,
            "duplicates": self._duplicates,
            "lost": self._senders.lost(),
            "dropped": self.calls.dropped + csv_dropped,
            "senders": self._senders.by_sender(),
        }

    def _measure(self, record: wire.TurnRecord) -> None:
        self._events[record.outcome].add(1, self._now())
        if record.outcome is wire.TurnOutcome.UNANSWERED:
            return
        self._sample("roundtrip", roundtrip_us(record))
        self._sample("response", response_us(record))
        for stage, duration_us in stages_us(record).items():
            self._sample(stage, duration_us)

    def _sample(self, name: str, duration_us: int | None) -> None:
        if duration_us is not None:
            self._durations[name].add(duration_us, self._now())


def _in_ms(summary: Summary) -> dict[str, float | int | None]:
    microseconds = {"avg_ms": summary.avg, "p50_ms": summary.p50, "p95_ms": summary.p95, "p99_ms": summary.p99}
    return {
        "count": summary.count,
        **{name: None if value is None else round(value / 1_000, 3) for name, value in microseconds.items()},
    }
