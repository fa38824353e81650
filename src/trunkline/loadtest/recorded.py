"""A run as it was written to its folder: figures and turns, for pictures, pages and comparisons."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trunkline.core.errors import ConfigError
from trunkline.loadtest.report import SUMMARY, TURNS


@dataclass(frozen=True, slots=True)
class TurnTimes:
    """One answered turn at the caller's ear.

    Args:
        call: The caller's number.
        at_s: When the answer was heard; seconds since the first answer of the run.
    """

    call: int
    at_s: float
    roundtrip_ms: float
    response_ms: float


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """What a folder holds.

    Args:
        found: See `summary.summary`.
        turns: Those that were answered, in order of time.
    """

    folder: Path
    found: dict[str, Any]
    turns: list[TurnTimes]


def read_run(folder: Path) -> RecordedRun:
    """Reads a run's folder. Raises ConfigError: there is none, or it was not written by this program."""
    try:
        found = json.loads((folder / SUMMARY).read_text())
        with (folder / TURNS).open(newline="") as table:
            rows = [row for row in csv.DictReader(table) if row["answered"] == "1"]
        heard_us = [int(row["heard_us"]) for row in rows]
        first_us = min(heard_us, default=0)
        turns = [
            TurnTimes(
                int(row["call"]),
                (at_us - first_us) / 1e6,
                float(row["roundtrip_ear_ms"]),
                float(row["response_ear_ms"]),
            )
            for row, at_us in zip(rows, heard_us, strict=True)
        ]
        _ = found["roundtrip_ms"]["p50"], found["turns_expected"]
    except OSError as error:
        raise ConfigError(f"{error.filename}: {error.strerror}", "name the folder of a load test's run") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{folder}: not a load test's run of this version ({error!r})") from error
    return RecordedRun(folder, found, sorted(turns, key=lambda turn: turn.at_s))
