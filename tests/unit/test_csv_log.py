"""The CSV of turns and calls: a file a day, whole at close, harmless in a spreadsheet."""

from __future__ import annotations

import csv
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from trunkline.core import wire
from trunkline.core.errors import ConfigError
from trunkline.core.wire import Mark, TurnOutcome
from trunkline.metrics import csv_files, csv_log
from trunkline.metrics.csv_log import CsvLog

pytestmark = pytest.mark.unit

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def turn(understood: str = "hello", answer: str = "hi") -> wire.TurnRecord:
    return wire.TurnRecord(
        sender="w",
        seq=1,
        host="h",
        worker="w",
        call="CA1",
        turn=1,
        policy="final",
        outcome=TurnOutcome.ANSWERED,
        marks_us={Mark.SPEECH_START: 1_000, Mark.SPEECH_END: 5_000, Mark.PLAYBACK_START: 4_500},
        understood=understood,
        answer=answer,
    )


CALL = wire.CallRecord(
    sender="w",
    seq=2,
    host="h",
    worker="w",
    call="CA1",
    room="room-CA1",
    kind="phone",
    engine="sdk",
    started_us=1,
    answered_us=None,
    ended_us=5,
    result="success",
    reason="caller_hung_up",
    turns=1,
    barge_ins=0,
)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_turns_and_calls_have_files_of_their_own(tmp_path: Path) -> None:
    log = CsvLog(tmp_path / "new" / "csv", now_wall=lambda: NOON)
    log.write(turn())
    log.write(CALL)
    log.close()
    [row] = rows(tmp_path / "new" / "csv" / "turns-2026-03-01.csv")
    assert row["received_at"] == "2026-03-01T12:00:00.000+00:00"
    assert (row["call"], row["outcome"], row["understood"], row["answer"]) == ("CA1", "answered", "hello", "hi")
    assert (row["roundtrip_ms"], row["response_ms"]) == ("3.5", "-0.5")
    assert (row["SpeechStart_us"], row["STTFinal_us"]) == ("1000", "")
    [row] = rows(tmp_path / "new" / "csv" / "calls-2026-03-01.csv")
    assert (row["reason"], row["answered_us"], row["ended_us"]) == ("caller_hung_up", "", "5")


def test_what_callers_said_is_for_its_owner_alone(tmp_path: Path) -> None:
    log = CsvLog(tmp_path, now_wall=lambda: NOON)
    log.write(turn())
    log.close()
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o600}


def test_a_new_day_is_a_new_file_with_a_header(tmp_path: Path) -> None:
    days = iter([NOON, NOON, NOON + timedelta(days=1)])
    log = CsvLog(tmp_path, now_wall=lambda: next(days))
    log.write(turn("first"))
    log.write(turn("second"))
    log.close()
    assert [row["understood"] for row in rows(tmp_path / "turns-2026-03-01.csv")] == ["first"]
    assert [row["understood"] for row in rows(tmp_path / "turns-2026-03-02.csv")] == ["second"]


def test_after_a_restart_it_goes_on_without_a_second_header(tmp_path: Path) -> None:
    for understood in ("before", "after"):
        log = CsvLog(tmp_path, now_wall=lambda: NOON)
        log.write(turn(understood))
        log.close()
    assert [row["understood"] for row in rows(tmp_path / "turns-2026-03-01.csv")] == ["before", "after"]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "\nx"])
def test_text_that_looks_like_a_formula_is_quoted(tmp_path: Path, text: str) -> None:
    log = CsvLog(tmp_path, now_wall=lambda: NOON)
    log.write(turn(text, answer=text))
    log.close()
    [row] = rows(tmp_path / "turns-2026-03-01.csv")
    assert (row["understood"], row["answer"]) == ("'" + text, "'" + text)


def test_commas_quotes_and_lines_stay_in_their_cell(tmp_path: Path) -> None:
    log = CsvLog(tmp_path, now_wall=lambda: NOON)
    log.write(turn('say "a, b"\nand\x00 Grüße'))
    log.close()
    [row] = rows(tmp_path / "turns-2026-03-01.csv")
    assert row["understood"] == 'say "a, b"\nand\x00 Grüße'


def test_when_the_queue_is_full_new_rows_are_dropped_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = CsvLog(tmp_path, now_wall=lambda: NOON)
    with monkeypatch.context() as patch:
        patch.setattr(csv_log, "QUEUE_ROWS", 0)
        log.write(turn())
    log.close()
    assert log.dropped == 1


def test_a_disk_that_fails_costs_rows_and_no_thread(tmp_path: Path) -> None:
    days = iter([NOON, NOON + timedelta(days=1), NOON])
    (tmp_path / "turns-2026-03-02.csv").mkdir()
    log = CsvLog(tmp_path, now_wall=lambda: next(days))
    log.write(turn("lost"))
    log.write(turn("kept"))
    log.close()
    assert log.dropped == 1
    assert [row["understood"] for row in rows(tmp_path / "turns-2026-03-01.csv")] == ["kept"]


def test_a_directory_that_can_not_be_written_is_told_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="METRICS_CSV_DIR"):
        CsvLog(tmp_path / "file" / "csv")


def rows_of_header() -> bytes:
    return (",".join(csv_log.TURN_HEADER) + "\r\n").encode()


def write(folder: Path, *texts: str, days: int = 0, keep_days: int = 0) -> None:
    log = CsvLog(folder, keep_days, lambda: NOON + timedelta(days=days))
    for text in texts:
        log.write(turn(text))
    log.close()


@pytest.mark.parametrize("kept_bytes", [-1, -20, 10])
def test_after_a_crash_half_a_row_goes_and_whole_rows_stay(tmp_path: Path, kept_bytes: int) -> None:
    write(tmp_path, "first", "second line\nof\r\nit")
    path = tmp_path / "turns-2026-03-01.csv"
    whole = path.read_bytes()
    path.write_bytes(whole[:kept_bytes])
    write(tmp_path, "third")
    assert [row["understood"] for row in rows(path)] == (["third"] if kept_bytes > 0 else ["first", "third"])


def test_killed_in_the_middle_of_writing_only_whole_rows_are_there(tmp_path: Path) -> None:
    script = f"""
import itertools, pathlib, time
from tests.unit.test_csv_log import NOON, turn
from trunkline.metrics.csv_log import CsvLog
log = CsvLog(pathlib.Path({str(tmp_path)!r}), now_wall=lambda: NOON)
for n in itertools.count():
    while len(log._waiting) > 5_000:
        time.sleep(0.001)
    log.write(turn(f"words {{n}}"))
"""
    path = tmp_path / "turns-2026-03-01.csv"
    with subprocess.Popen([sys.executable, "-c", script], cwd=Path(__file__).parents[2]) as process:
        while not path.exists() or path.stat().st_size < 1_000_000:
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    write(tmp_path, "after")
    found = [row["understood"] for row in rows(path)]
    assert found == [*(f"words {n}" for n in range(len(found) - 1)), "after"]
    assert {len(row) for row in csv.reader(path.read_text().splitlines())} == {len(csv_log.TURN_HEADER)}


def test_a_file_that_is_full_or_has_other_columns_is_followed_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "turns-2026-03-01.csv"
    old.write_text("call,turn\r\nCA1,1\r\n")
    write(tmp_path, "first")
    monkeypatch.setattr(csv_files, "MAX_FILE_BYTES", len(rows_of_header()) + 50)
    write(tmp_path, "second")
    assert old.read_text() == "call,turn\nCA1,1\n"
    names = ["turns-2026-03-01.2.csv", "turns-2026-03-01.3.csv"]
    assert [[row["understood"] for row in rows(tmp_path / name)] for name in names] == [["first"], ["second"]]


def test_old_files_are_deleted_where_that_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "turns-of-mine.csv").touch()
    write(tmp_path, "old")
    write(tmp_path, "new", days=1)
    write(tmp_path, "newest", days=2, keep_days=2)
    found = sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("turns"))
    assert found == ["turns-2026-03-02.csv", "turns-2026-03-03.csv", "turns-of-mine.csv"]
