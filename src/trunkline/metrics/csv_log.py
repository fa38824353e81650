"""Writes turns and calls to CSV files, without making the collector wait.

Rows go through a bounded queue to one thread that alone touches the files; when the queue is full, the new row is
dropped and counted. They reach the system within a second, and at the latest at `close`.
"""

from __future__ import annotations

import csv
import io
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime
from operator import attrgetter
from pathlib import Path
from typing import TypeAlias

import structlog

from trunkline.core.errors import ConfigError
from trunkline.core.events import CallEvent
from trunkline.core.latency import response_us, roundtrip_us
from trunkline.core.units import us_to_ms
from trunkline.core.wire import CallRecord, Mark, TurnRecord
from trunkline.metrics.csv_files import ROW_END, CsvFiles

log = structlog.get_logger()

Cell: TypeAlias = str | int | float | None

QUEUE_ROWS = 50_000
"""A few seconds of 20,000 a second."""
GATHER_S = 0.2
"""Rows are written so long after the first of them, together."""
CLOSE_S = 5.0
REPORT_PAUSE_S = 10.0

_ORIGIN = ("sender", "seq", "host", "worker", "call")
_TURN_FIELDS = (*_ORIGIN, "turn", "policy", "outcome", "heard_samples", "understood", "answer", "heard")
_CALL_FIELDS = (
    *_ORIGIN,
    *("room", "kind", "engine", "started_us", "answered_us", "ended_us", "result", "reason", "turns", "barge_ins"),
)
_MARKS = tuple(Mark)
TURN_HEADER = ("received_at", *_TURN_FIELDS, "roundtrip_ms", "response_ms", *(f"{mark}_us" for mark in _MARKS))
CALL_HEADER = ("received_at", *_CALL_FIELDS)
_FORMULA = frozenset("=+-@\t\r\n")
_turn_cells, _call_cells = attrgetter(*_TURN_FIELDS), attrgetter(*_CALL_FIELDS)


class CsvLog:
    """Appends to `turns-YYYY-MM-DD.csv` and `calls-YYYY-MM-DD.csv`; close it when done.

    Args:
        directory: Made if missing.
        keep_days: Files of days before are deleted; 0: none.
        now_wall: UTC time; decides the file. Tests pass made-up time.

    Raises:
        ConfigError: the directory can't be written.
    """

    def __init__(
        self, directory: Path, keep_days: int = 0, now_wall: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self.dropped = 0
        self._now_wall = now_wall
        self._turns = CsvFiles(directory, "turns", _lines([TURN_HEADER]), keep_days)
        self._calls = CsvFiles(directory, "calls", _lines([CALL_HEADER]), keep_days)
        self._waiting: deque[tuple[datetime, TurnRecord | CallRecord]] = deque()
        self._more = threading.Event()
        self._closing = threading.Event()
        self._report_at = 0.0
        try:
            directory.mkdir(parents=True, exist_ok=True)
            today = now_wall().date()
            for files in (self._turns, self._calls):
                files.open(today)
        except OSError as error:
            raise ConfigError(f"METRICS_CSV_DIR {directory}: {error.strerror}") from error
        self._thread = threading.Thread(target=self._run, name="csv-log", daemon=True)
        self._thread.start()

    def write(self, record: CallEvent) -> None:
        """Queues the row of a turn or call; never blocks. What a caller heard has no file."""
        if not isinstance(record, TurnRecord | CallRecord):
            return
        if len(self._waiting) >= QUEUE_ROWS:
            self._lose("queue full")
            return
        self._waiting.append((self._now_wall(), record))
        if not self._more.is_set():
            self._more.set()

    def close(self) -> None:
        """Writes what is queued and closes the files; blocks for `CLOSE_S` at most."""
        self._closing.set()
        self._more.set()
        self._thread.join(CLOSE_S)
        if self._thread.is_alive():
            log.error("csv_not_closed", rows=len(self._waiting))

    def _run(self) -> None:
        while not self._closing.is_set():
            self._more.wait()
            self._closing.wait(GATHER_S)
            self._more.clear()
            self._write_all()
        self._write_all()
        for files in (self._turns, self._calls):
            files.close()

    def _write_all(self) -> None:
        """Writes the rows that wait, those of one file and one day together."""
        found: dict[tuple[CsvFiles, date], list[list[Cell]]] = {}
        for _ in range(len(self._waiting)):
            at, record = self._waiting.popleft()
            files = self._turns if isinstance(record, TurnRecord) else self._calls
            cells = [_safe(cell) if type(cell) is str else cell for cell in _row(record)]
            row = [at.isoformat(timespec="milliseconds"), *cells]
            found.setdefault((files, at.date()), []).append(row)
        for (files, day), rows in found.items():
            try:
                files.append(day, _lines(rows))
            except OSError as error:
                self._lose(str(error), len(rows))

    def _lose(self, problem: str, rows: int = 1) -> None:
        self.dropped += rows
        if time.monotonic() >= self._report_at:
            self._report_at = time.monotonic() + REPORT_PAUSE_S
            log.error("csv_row_lost", problem=problem, dropped=self.dropped)


def _row(record: TurnRecord | CallRecord) -> list[Cell]:
    if isinstance(record, CallRecord):
        return [*_call_cells(record)]
    times = _ms(roundtrip_us(record)), _ms(response_us(record))
    return [*_turn_cells(record), *times, *map(record.marks_us.get, _MARKS)]


def _lines(rows: Iterable[Iterable[Cell]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator=ROW_END.decode()).writerows(rows)
    return text.getvalue().encode()


def _ms(microseconds: int | None) -> float | None:
    return None if microseconds is None else us_to_ms(microseconds)


def _safe(text: str) -> str:
    """Text that neither runs as a formula in a spreadsheet nor ends a row; the words come from a caller's mouth."""
    if text[:1] in _FORMULA:
        text = "'" + text
    return text.replace("\r\n", "\n")
