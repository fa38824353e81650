"""Writes turns and calls to CSV files, one of each a day (UTC), without making the collector wait.

Rows go through a bounded queue to one thread that alone touches the files; when the queue is full, the new row is
dropped and counted. What was written reaches the disk's cache within a second, and at the latest at `close`.
"""

from __future__ import annotations

import csv
import os
import queue
import threading
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import IO, TypeAlias

import structlog

from trunkline.core.errors import ConfigError
from trunkline.core.latency import Record, response_us, roundtrip_us
from trunkline.core.units import us_to_ms
from trunkline.core.wire import CallRecord, Mark, TurnRecord

log = structlog.get_logger()

Cell: TypeAlias = str | int | float | None
Row: TypeAlias = dict[str, Cell]

QUEUE_ROWS = 10_000
FLUSH_S = 1.0
CLOSE_S = 5.0
REPORT_PAUSE_S = 10.0

ORIGIN = ("sender", "seq", "host", "worker", "call")
TURN_FIELDS = ("turn", "policy", "outcome", "heard_samples", "understood", "answer")
CALL_FIELDS = (
    "room",
    "kind",
    "engine",
    "started_us",
    "answered_us",
    "ended_us",
    "result",
    "reason",
    "turns",
    "barge_ins",
)


class CsvLog:
    """Appends to `turns-YYYY-MM-DD.csv` and `calls-YYYY-MM-DD.csv`; close it when done.

    Args:
        directory: Made if missing.
        now_wall: UTC time; decides the file. Tests pass made-up time.

    Raises:
        ConfigError: the directory can't be written.
    """

    def __init__(self, directory: Path, now_wall: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.dropped = 0
        self._now_wall = now_wall
        self._files = {"turns": _DailyFile(directory, "turns"), "calls": _DailyFile(directory, "calls")}
        self._queue: queue.Queue[tuple[str, date, Row] | None] = queue.Queue(QUEUE_ROWS)
        self._report_at = 0.0
        try:
            directory.mkdir(parents=True, exist_ok=True)
            today = now_wall().date()
            for file in self._files.values():
                file.probe(today)
        except OSError as error:
            raise ConfigError(f"METRICS_CSV_DIR {directory}: {error.strerror}") from error
        self._thread = threading.Thread(target=self._run, name="csv-log", daemon=True)
        self._thread.start()

    def write(self, record: Record) -> None:
        """Queues the row of a turn or call; never blocks. What a caller heard has no file."""
        received = self._now_wall()
        head: Row = {"received_at": received.isoformat(timespec="milliseconds")}
        if isinstance(record, TurnRecord):
            self._put("turns", received.date(), head | _turn_row(record))
        elif isinstance(record, CallRecord):
            self._put("calls", received.date(), head | _row(record, CALL_FIELDS))

    def close(self) -> None:
        """Writes what is queued and closes the files; blocks for `CLOSE_S` at most."""
        try:
            self._queue.put(None, timeout=CLOSE_S)
        except queue.Full:
            log.error("csv_not_closed", rows=self._queue.qsize())
            return
        self._thread.join(CLOSE_S)

    def _put(self, name: str, day: date, row: Row) -> None:
        try:
            self._queue.put_nowait((name, day, row))
        except queue.Full:
            self._lose("queue full")

    def _run(self) -> None:
        flush_at: float | None = None
        while True:
            try:
                item = self._queue.get(timeout=None if flush_at is None else max(0.0, flush_at - time.monotonic()))
            except queue.Empty:
                self._each(_DailyFile.flush)
                flush_at = None
                continue
            if item is None:
                self._each(_DailyFile.close)
                return
            name, day, row = item
            try:
                self._files[name].append(day, row)
            except (OSError, ValueError, csv.Error) as error:
                self._lose(str(error))
            if flush_at is None:
                flush_at = time.monotonic() + FLUSH_S

    def _each(self, action: Callable[[_DailyFile], None]) -> None:
        for file in self._files.values():
            try:
                action(file)
            except OSError as error:
                self._lose(str(error))

    def _lose(self, problem: str) -> None:
        self.dropped += 1
        if time.monotonic() >= self._report_at:
            self._report_at = time.monotonic() + REPORT_PAUSE_S
            log.error("csv_row_lost", problem=problem, dropped=self.dropped)


class _DailyFile:
    """One kind of row; a new file each day. All methods raise OSError."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self._name = name
        self._day: date | None = None
        self._file: IO[str] | None = None

    def probe(self, day: date) -> None:
        """Opens the day's file for appending, to see whether that works."""
        self._open(day).close()

    def append(self, day: date, row: Row) -> None:
        """Writes a row, and before the first row of a file its header."""
        if day != self._day or self._file is None:
            self.close()
            self._file = self._open(day)
            self._day = day
            if self._file.tell() == 0:
                csv.writer(self._file).writerow(row)
        csv.writer(self._file).writerow([_safe(cell) for cell in row.values()])

    def flush(self) -> None:
        """Hands what is buffered to the system."""
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        """Flushes and closes."""
        if self._file is not None:
            file, self._file = self._file, None
            file.close()

    def _open(self, day: date) -> IO[str]:
        # Made for its owner alone: it holds what callers said.
        return open(
            self._path(day), "a", encoding="utf-8", newline="", opener=lambda path, flags: os.open(path, flags, 0o600)
        )

    def _path(self, day: date) -> Path:
        return self._directory / f"{self._name}-{day.isoformat()}.csv"


def _turn_row(record: TurnRecord) -> Row:
    marks: Row = {f"{mark}_us": record.marks_us.get(mark) for mark in Mark}
    times: Row = {"roundtrip_ms": _ms(roundtrip_us(record)), "response_ms": _ms(response_us(record))}
    return _row(record, TURN_FIELDS) | times | marks


def _row(record: TurnRecord | CallRecord, fields: tuple[str, ...]) -> Row:
    return {field: getattr(record, field) for field in ORIGIN + fields}


def _ms(microseconds: int | None) -> float | None:
    return None if microseconds is None else us_to_ms(microseconds)


def _safe(cell: Cell) -> Cell:
    """Text that a spreadsheet would run as a formula gets a quote before it; the words come from a caller's mouth."""
    if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n")):
        return "'" + cell
    return cell
