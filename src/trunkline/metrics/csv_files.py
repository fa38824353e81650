"""The files of one kind of row: one a day (UTC), another where it grows too long, all of whole rows.

Rows are appended by one system call each time, so that a crash leaves whole ones behind; where even that was cut
short, the rest of a row is removed before the next is written.
"""

from __future__ import annotations

import os
from datetime import date, timedelta
from pathlib import Path

ROW_END = b"\r\n"
"""Ends a row, and stands nowhere within one."""
MAX_FILE_BYTES = 268_435_456
TAIL_BYTES = 1_048_576
"""More than the longest row."""


class CsvFiles:
    """The files of one kind of row. All methods raise OSError.

    Args:
        directory: Where they are.
        name: How their names begin.
        header: The first row of each, with its end.
        keep_days: Files of days before are deleted; 0: none.
    """

    def __init__(self, directory: Path, name: str, header: bytes, keep_days: int = 0) -> None:
        self._directory = directory
        self._name = name
        self._header = header
        self._keep_days = keep_days
        self._day: date | None = None
        self._file = -1
        self._bytes = 0

    def append(self, day: date, rows: bytes) -> None:
        """Appends whole rows to the day's file."""
        if day != self._day or self._file < 0 or self._bytes >= MAX_FILE_BYTES:
            self.open(day)
        self._write(rows)

    def open(self, day: date) -> None:
        """Opens the day's file, or the next one where that is full or has other columns."""
        self.close()
        for part in range(1, 10_000):
            path = self._path(day, part)
            # Made for its owner alone: it holds what callers said.
            self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
            self._bytes = self._whole_rows()
            if self._bytes == 0:
                self._write(self._header)
            if self._bytes < MAX_FILE_BYTES and os.pread(self._file, len(self._header), 0) == self._header:
                break
            self.close()
        else:
            raise OSError(0, "too many files of one day")
        self._day = day
        if self._keep_days:
            self._forget(day - timedelta(days=self._keep_days))

    def close(self) -> None:
        """Closes the file."""
        if self._file >= 0:
            file, self._file = self._file, -1
            os.close(file)

    def _write(self, rows: bytes) -> None:
        written = 0
        try:
            while written < len(rows):
                # A disk that gets full takes a part of it.
                written += os.write(self._file, rows[written:])
        except OSError:
            os.ftruncate(self._file, self._bytes)
            raise
        self._bytes += written

    def _path(self, day: date, part: int) -> Path:
        return self._directory / f"{self._name}-{day.isoformat()}{f'.{part}' if part > 1 else ''}.csv"

    def _forget(self, before: date) -> None:
        """Deletes the files of the days up to this one."""
        for path in self._directory.glob(f"{self._name}-????-??-??*.csv"):
            try:
                day = date.fromisoformat(path.name[len(self._name) + 1 :][:10])
            except ValueError:
                continue
            if day <= before:
                path.unlink(missing_ok=True)

    def _whole_rows(self) -> int:
        """Cuts off what stands behind the last whole row; returns how many bytes there are then."""
        size = os.fstat(self._file).st_size
        tail_at = max(0, size - TAIL_BYTES)
        tail = os.pread(self._file, TAIL_BYTES, tail_at)
        end = tail.rfind(ROW_END)
        if end < 0 and not self._header.startswith(tail):
            return size  # Somebody else's, which is left alone.
        whole = tail_at + end + len(ROW_END) if end >= 0 else 0
        if whole != size:
            os.ftruncate(self._file, whole)
        return whole
