"""The CSV of turns and calls: a file a day, whole at close, harmless in a spreadsheet."""

from __future__ import annotations

import csv
import queue
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from trunkline.core import wire
from trunkline.core.errors import ConfigError
from trunkline.core.wire import Mark, TurnOutcome
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
    log = CsvLog(tmp_path / "new" / "csv", lambda: NOON)
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
    csv_log = CsvLog(tmp_path, now_wall=lambda: NOON)
    csv_log.write(turn())
    csv_log.close()
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o600}


def test_a_new_day_is_a_new_file_with_a_header(tmp_path: Path) -> None:
    days = iter([NOON, NOON, NOON + timedelta(days=1)])
    log = CsvLog(tmp_path, lambda: next(days))
    log.write(turn("first"))
    log.write(turn("second"))
    log.close()
    assert [row["understood"] for row in rows(tmp_path / "turns-2026-03-01.csv")] == ["first"]
    assert [row["understood"] for row in rows(tmp_path / "turns-2026-03-02.csv")] == ["second"]


def test_after_a_restart_it_goes_on_without_a_second_header(tmp_path: Path) -> None:
    for understood in ("before", "after"):
        log = CsvLog(tmp_path, lambda: NOON)
        log.write(turn(understood))
        log.close()
    assert [row["understood"] for row in rows(tmp_path / "turns-2026-03-01.csv")] == ["before", "after"]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "\nx"])
def test_text_that_looks_like_a_formula_is_quoted(tmp_path: Path, text: str) -> None:
    log = CsvLog(tmp_path, lambda: NOON)
    log.write(turn(text, answer=text))
    log.close()
    [row] = rows(tmp_path / "turns-2026-03-01.csv")
    assert (row["understood"], row["answer"]) == ("'" + text, "'" + text)


def test_commas_quotes_and_lines_stay_in_their_cell(tmp_path: Path) -> None:
    log = CsvLog(tmp_path, lambda: NOON)
    log.write(turn('say "a, b"\nand\x00 Grüße'))
    log.close()
    [row] = rows(tmp_path / "turns-2026-03-01.csv")
    assert row["understood"] == 'say "a, b"\nand\x00 Grüße'


def test_when_the_queue_is_full_new_rows_are_dropped_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = CsvLog(tmp_path, lambda: NOON)

    def full(_: object) -> None:
        raise queue.Full

    with monkeypatch.context() as patch:
        patch.setattr(log._queue, "put_nowait", full)
        log.write(turn())
    log.close()
    assert log.dropped == 1


def test_a_disk_that_fails_costs_rows_and_no_thread(tmp_path: Path) -> None:
    days = iter([NOON, NOON + timedelta(days=1), NOON])
    (tmp_path / "turns-2026-03-02.csv").mkdir()
    log = CsvLog(tmp_path, lambda: next(days))
    log.write(turn("lost"))
    log.write(turn("kept"))
    log.close()
    assert log.dropped == 1
    assert [row["understood"] for row in rows(tmp_path / "turns-2026-03-01.csv")] == ["kept"]


def test_a_directory_that_can_not_be_written_is_told_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="METRICS_CSV_DIR"):
        CsvLog(tmp_path / "file" / "csv")
