"""What a run of calls is worth, from what callers heard and agents recorded."""

from __future__ import annotations

from typing import Any

import pytest

from trunkline.cli.call_report import counts
from trunkline.core.wire import Mark, TurnOutcome, TurnRecord
from trunkline.loadtest.conversation import CallerTurn
from trunkline.loadtest.verdict import CallResult, TurnRow, judge, match_turns

pytestmark = pytest.mark.unit

SECOND_US = 1_000_000


def said(at_s: float, words: str = "hello", interrupts: bool = False, **instants: int | None) -> CallerTurn:
    """Speech of one second, answered half a second later."""
    at_us = int(at_s * SECOND_US)
    usual: dict[str, int | None] = {
        "speech_start_us": at_us,
        "speech_end_us": at_us + SECOND_US,
        "heard_start_us": at_us + 1_500_000,
        "silenced_us": at_us + 300_000 if interrupts else None,
    }
    return CallerTurn(words, interrupts, **(usual | instants))


def recorded(at_s: float, turn: int, outcome: TurnOutcome = TurnOutcome.ANSWERED, **fields: Any) -> TurnRecord:
    """The agent's side of `said`, heard 40 ms later, with all marks of the policy `final`."""
    at_us = int(at_s * SECOND_US) + 40_000
    marks = {
        Mark.SPEECH_START: at_us,
        Mark.SPEECH_END: at_us + 1_000_000,
        Mark.STT_FINAL: at_us + 1_100_000,
        Mark.AGENT_DECISION: at_us + 1_110_000,
        Mark.TTS_FIRST_BYTE: at_us + 1_250_000,
        Mark.PLAYBACK_START: at_us + 1_300_000,
    }
    usual: dict[str, Any] = {"marks_us": marks, "understood": "hello", "answer": "You said hello."}
    return TurnRecord(
        sender="w1", seq=1, host="h", worker="w1", call="CA1", turn=turn, policy="final", outcome=outcome,
        **(usual | fields),
    )  # fmt: skip


def rows_of(turns: list[CallerTurn], records: list[TurnRecord]) -> list[TurnRow]:
    return match_turns(CallResult("CA1", 1, turns), records)


def test_a_turn_has_its_times_from_both_sides() -> None:
    [row] = rows_of([said(10)], [recorded(10, 1)])
    assert (row.roundtrip_ms, row.response_ms) == (1_300.0, 300.0)
    assert (row.roundtrip_heard_ms, row.response_heard_ms) == (1_500.0, 500.0)
    assert (row.barge_in_ms, row.outcome, row.answered) == (None, "answered", "You said hello.")


def test_the_stages_add_up_to_the_response() -> None:
    [row] = rows_of([said(10)], [recorded(10, 1)])
    assert row.stages_ms == {"STTFinal": 100.0, "AgentDecision": 10.0, "TTSFirstByte": 140.0, "PlaybackStart": 50.0}
    assert sum(row.stages_ms.values()) == row.response_ms


def test_turns_are_matched_by_time_and_not_by_number() -> None:
    rows = rows_of([said(10, "one"), said(20, "two")], [recorded(20, 1, answer="2"), recorded(10, 2, answer="1")])
    assert [(row.said, row.answered) for row in rows] == [("one", "1"), ("two", "2")]


def test_a_record_belongs_to_one_turn_only_and_a_far_one_to_none() -> None:
    rows = rows_of([said(10), said(10.5), said(20)], [recorded(10, 1), recorded(21, 2)])
    assert [row.outcome for row in rows] == ["answered", "", ""]


def test_a_turn_without_a_record_keeps_the_caller_s_side() -> None:
    [row] = rows_of([said(10)], [])
    assert (row.roundtrip_ms, row.roundtrip_heard_ms, row.stages_ms) == (None, 1_500.0, {})


def test_a_turn_that_was_never_spoken_has_no_times() -> None:
    [row] = rows_of([CallerTurn("hello")], [recorded(10, 1)])
    assert (row.roundtrip_heard_ms, row.response_heard_ms, row.outcome) == (None, None, "")


def test_missing_marks_leave_their_stages_out() -> None:
    marks = {Mark.SPEECH_START: 10 * SECOND_US, Mark.SPEECH_END: 11 * SECOND_US}
    [row] = rows_of([said(10)], [recorded(10, 1, marks_us=marks)])
    assert (row.stages_ms, row.response_ms) == ({}, None)


def test_an_interruption_is_measured_from_its_first_sound_to_silence() -> None:
    [_, row] = rows_of([said(10), said(12, interrupts=True)], [])
    assert row.barge_in_ms == 300.0


@pytest.mark.parametrize(
    ("words", "understood", "same"),
    [
        ("Hello, there!", "hello there", True),
        ("What's up?", "what's up", True),
        ("hello", "hello there", False),
        ("hello", "", False),
    ],
)
def test_words_count_as_understood_whatever_their_case_and_punctuation(words: str, understood: str, same: bool) -> None:
    [row] = rows_of([said(10, words)], [recorded(10, 1, understood=understood)])
    assert row.was_understood is same


INTERRUPTED = [recorded(10, 1, TurnOutcome.INTERRUPTED), recorded(12, 2)]


@pytest.mark.parametrize(
    ("problem", "turns", "records", "verdict"),
    [
        ("", [said(10)], [recorded(10, 1)], ""),
        ("", [said(10), said(12, interrupts=True)], INTERRUPTED, ""),
        ("busy", [said(10)], [recorded(10, 1)], "call 1: busy"),
        ("", [said(10, heard_start_us=None)], [recorded(10, 1)], "call 1, turn 1: 'hello' was not answered"),
        ("", [said(10)], [], "records hold no answer to 'hello'"),
        ("", [said(10)], [recorded(10, 1, answer="")], "records hold no answer to 'hello'"),
        ("", [said(10), said(12, interrupts=True)], [recorded(10, 1), recorded(12, 2)], "turn 2: the interruption"),
        ("", [], [], "no call was made"),
    ],
    ids=["answered", "interrupted", "problem", "silent", "no record", "no words", "not silenced", "nothing"],
)
def test_a_run_is_judged_in_one_line(
    problem: str, turns: list[CallerTurn], records: list[TurnRecord], verdict: str
) -> None:
    result = CallResult("CA1", 1, turns, problem)
    said_of_it = judge([result], match_turns(result, records))
    assert verdict in said_of_it
    assert bool(verdict) == bool(said_of_it)
    assert "\n" not in said_of_it


def test_the_last_turn_of_one_call_is_not_taken_for_the_one_before_the_next_call_s() -> None:
    first, second = CallResult("CA1", 1, [said(10)]), CallResult("CA2", 2, [said(30), said(32, interrupts=True)])
    rows = match_turns(first, [recorded(10, 1)]) + match_turns(
        second, [recorded(30, 1, TurnOutcome.INTERRUPTED), recorded(32, 2)]
    )
    assert judge([first, second], rows) == ""


def test_an_interruption_that_silenced_nothing_is_counted_as_one() -> None:
    def row(number: int, interrupts: bool, outcome: str) -> TurnRow:
        return TurnRow(1, number, "a", "a", "b", {}, 1.0, 1.0, 1.0, 1.0, None, outcome, interrupts)

    found = counts([row(1, False, "answered"), row(2, True, "answered"), row(3, True, "interrupted")])
    assert (found["interruptions"], found["silenced"]) == (2, 0)
    assert counts([row(1, False, "interrupted"), row(2, True, "answered")])["silenced"] == 1
