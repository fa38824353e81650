"""Whether each expected turn was answered by the right words, and what the road between ear and agent explains."""

from __future__ import annotations

from typing import Any

import pytest

from trunkline.core.wire import Mark, TurnOutcome, TurnRecord
from trunkline.loadtest.answers import Check, codes_of
from trunkline.loadtest.callers import Outcome, PlacedCall
from trunkline.loadtest.conversation import CallerTurn
from trunkline.loadtest.ear import HeardCode
from trunkline.loadtest.figures import all_up, calls_between, road_problem
from trunkline.loadtest.options import Limits, LoadOptions, Via
from trunkline.loadtest.pacing import Pacing
from trunkline.loadtest.result import LoadResult
from trunkline.loadtest.summary import summary

pytestmark = pytest.mark.unit

PHRASE = "what are your hours"


def turn(number: int, heard: bool = True) -> CallerTurn:
    """Spoken for 1 s from second 10 x number on, answered 0.4 s after its beginning."""
    start_us = number * 10_000_000
    return CallerTurn(PHRASE, False, start_us, start_us + 1_000_000, start_us + 400_000 if heard else None)


def code(turn_number: int, number: int, after_us: int = 400_000) -> HeardCode:
    return HeardCode(turn_number * 10_000_000 + after_us, number)


def call(*turns: CallerTurn, number: int = 1, codes: list[HeardCode] | None = None, **more: Any) -> PlacedCall:
    return PlacedCall(
        f"web-{number}",
        number,
        list(turns),
        dialled_us=9_000_000,
        answered_us=9_500_000,
        ended_us=60_000_000,
        codes=codes or [],
        **{"outcome": Outcome.COMPLETED, **more},
    )


def record(number: int, understood: str = PHRASE, **more: Any) -> TurnRecord:
    start_us = number * 10_000_000 + 20_000
    marks = {Mark.SPEECH_START: start_us, Mark.PLAYBACK_START: start_us + 350_000}
    fields = {"outcome": TurnOutcome.ANSWERED, "marks_us": marks, "answer": f"You said: {understood}.", **more}
    return TurnRecord(
        sender="a",
        seq=1,
        host="h",
        worker="w",
        call="web-1",
        turn=number,
        policy="final",
        understood=understood,
        **fields,
    )


def result(*calls: PlacedCall, turns: int = 1, **more: Any) -> LoadResult:
    options = LoadOptions(concurrency=len(calls), turns=turns)
    return LoadResult(options, "emulated", list(calls), Pacing(), **more)


def checks(found: LoadResult) -> list[tuple[Check, str]]:
    return [(answer.check, answer.reason) for answer in found.answers]


# Numbers in the sound


def test_callers_never_share_a_number() -> None:
    every = [code for number in range(1, 1001) for code in codes_of(number)]
    assert len(set(every)) == len(every)


def test_the_number_that_was_spoken_is_right() -> None:
    first, second = codes_of(1)
    found = result(call(turn(1), turn(2), codes=[code(1, first), code(2, second)]), turns=2, coded=True)
    assert checks(found) == [(Check.RIGHT, ""), (Check.RIGHT, "")]


@pytest.mark.parametrize(
    ("heard", "check", "reason"),
    [
        ([codes_of(7)[0]], Check.WRONG, "number 13 was heard, which is that of caller 7, not 1"),
        ([codes_of(1)[1]], Check.WRONG, "number 2 was heard, which is that of the caller's words before, not 1"),
        ([codes_of(1)[0], codes_of(3)[1]], Check.WRONG, "number 6 was heard, which is that of caller 3, not 1"),
        ([], Check.UNREADABLE, "no number could be read in what was heard"),
        ([codes_of(1)[0], codes_of(1)[0]], Check.RIGHT, ""),
    ],
)
def test_another_number_is_wrong_and_says_whose_it_is(heard: list[int], check: Check, reason: str) -> None:
    found = result(call(turn(1), codes=[code(1, number) for number in heard]), coded=True)
    assert checks(found) == [(check, reason)]
    assert summary(found)["wrong_answer"] == (check is Check.WRONG)


def test_sound_before_the_first_turn_answers_nothing() -> None:
    greeting = HeardCode(9_800_000, codes_of(5)[0])
    assert checks(result(call(turn(1), codes=[greeting, code(1, codes_of(1)[0])]), coded=True)) == [(Check.RIGHT, "")]


def test_more_wrong_answers_than_allowed_fail_the_run() -> None:
    found = result(call(turn(1), codes=[code(1, 13)]), coded=True)
    assert [line.split(";")[0] for line in summary(found)["failures"]] == ["1 wrong answers, more than --max-wrong 0"]
    assert summary(found, Limits(max_wrong=1))["failures"] == []


# Words in the records


@pytest.mark.parametrize(
    ("understood", "early", "check"),
    [
        (PHRASE, False, Check.RIGHT),
        (f"{PHRASE} {PHRASE}?", False, Check.RIGHT),
        ("What are", False, Check.WRONG),
        ("What are", True, Check.RIGHT),
        ("where are you", True, Check.WRONG),
        ("", False, Check.WRONG),
    ],
)
def test_without_numbers_the_words_that_were_understood_count(understood: str, early: bool, check: Check) -> None:
    found = result(call(turn(1)), turns=1, early=early)
    found.turns = [record(1, understood)]
    assert [found for found, _ in checks(found)] == [check]


def test_without_a_record_an_answer_is_unchecked_and_fails_nothing() -> None:
    found = result(call(turn(1)))
    assert checks(found)[0][0] is Check.UNCHECKED
    assert summary(found)["ok"]


# Turns without an answer


@pytest.mark.parametrize(
    ("placed", "records", "reasons"),
    [
        (
            call(turn(1, heard=False)),
            [],
            ["no sound came, and the agents have no record of this speech", "not spoken"],
        ),
        (
            call(turn(1, heard=False)),
            [record(1, "")],
            ["the agent says that it answered, but nothing reached the ear", "not spoken"],
        ),
        (
            call(turn(1, heard=False), outcome=Outcome.LOST, problem="room closed"),
            [record(1, outcome=TurnOutcome.UNANSWERED)],
            ["the call was lost: room closed"] * 2,
        ),
        (
            call(turn(1, heard=False), turn(2, heard=False)),
            [record(1, "", outcome=TurnOutcome.UNANSWERED), record(2, outcome=TurnOutcome.UNANSWERED)],
            ["the agent understood nothing", f"the agent gave no answer to {PHRASE!r}"],
        ),
        (call(outcome=Outcome.REFUSED, problem="503 full"), [], ["the call was refused: 503 full"] * 2),
    ],
)
def test_each_turn_without_an_answer_has_a_reason(
    placed: PlacedCall, records: list[TurnRecord], reasons: list[str]
) -> None:
    found = result(placed, turns=2)
    found.turns = records
    assert checks(found) == [(Check.UNANSWERED, reason) for reason in reasons]


def test_calls_that_were_never_placed_are_expected_too() -> None:
    found = LoadResult(LoadOptions(concurrency=2, turns=3), "", [call(turn(1), turn(2), turn(3))], Pacing())
    assert [(a.call, a.turn) for a in found.answers if a.check is Check.UNANSWERED] == [(2, 1), (2, 2), (2, 3)]


def test_with_a_duration_the_turns_that_were_begun_are_expected() -> None:
    options = LoadOptions(concurrency=2, turns=3, duration=60)
    found = LoadResult(options, "", [call(turn(1)), call(number=2, outcome=Outcome.REFUSED)], Pacing())
    assert [(a.call, a.turn) for a in found.answers] == [(1, 1), (2, 1)]


# Limits


@pytest.mark.parametrize(
    ("limits", "failures"),
    [
        (Limits(max_avg_ms=400, max_p99_ms=400), []),
        (Limits(max_avg_ms=399.9), ["RoundTrip avg 400 ms, more than --max-avg-ms 399.9"]),
        (
            Limits(max_p95_ms=10, max_p50_ms=10),
            [f"RoundTrip p{n} 400 ms, more than --max-p{n}-ms 10" for n in (50, 95)],
        ),
        (Limits(max_barge_in_p95_ms=500), ["nothing was measured for --max-barge-in-p95-ms 500"]),
    ],
)
def test_each_limit_that_is_missed_is_one_line(limits: Limits, failures: list[str]) -> None:
    assert summary(result(call(turn(1))), limits)["failures"] == failures


def test_agents_with_another_policy_than_expected_fail_the_run() -> None:
    options = LoadOptions(concurrency=1, turns=1, reply_on="first_partial")
    found = LoadResult(options, "", [call(turn(1))], Pacing(), turns=[record(1)])
    assert summary(found)["failures"] == ["the agents answer on final, not on --reply-on first_partial"]


# The road


@pytest.mark.parametrize(
    ("up_ms", "down_ms", "added_ms", "problem"),
    [
        (30.0, 60.0, 0.0, ""),
        (-20.0, -20.0, 0.0, ""),
        (30.0, 100.0, 0.0, "the road took 130 ms, and network and buffers explain 120"),
        (30.0, 100.0, 50.0, ""),
        (0.0, -30.0, 0.0, "heard 30 ms before the agent says it was sent"),
        (-40.0, 60.0, 0.0, "the agent says that speech began 40 ms before it did"),
    ],
)
def test_road_is_explained_or_flagged(up_ms: float, down_ms: float, added_ms: float, problem: str) -> None:
    assert road_problem(up_ms, down_ms, Via.WEBRTC, added_ms) == problem


def test_summary_compares_ear_and_agent_turn_by_turn() -> None:
    found = result(call(turn(1), turn(2)), turns=2)
    late = {Mark.SPEECH_START: 20_020_000, Mark.PLAYBACK_START: 20_200_000}
    found.turns = [record(1), record(2, marks_us=late)]
    road = summary(found)["road"]
    assert (road["compared"], road["explained"], road["up_ms"]["avg"]) == (2, 1, 20.0)
    assert [(flag["call"], flag["turn"]) for flag in road["flagged"]] == [(1, 2)]


# When all calls are up


def test_usage_counts_while_all_calls_are_up() -> None:
    calls = [PlacedCall("a", 1, answered_us=1_000_000, ended_us=9_000_000), PlacedCall("b", 2, answered_us=3_000_000)]
    assert all_up(calls) == (1.0, 9.0)
    calls[1].ended_us = 7_000_000
    assert all_up(calls) == (3.0, 7.0)
    assert calls_between(calls, 3.0, 7.0) == 2.0
    assert calls_between(calls, 1.0, 9.0) == 1.5


def test_usage_of_a_run_whose_calls_were_never_all_up_counts_all_of_it() -> None:
    calls = [PlacedCall(str(n), n, answered_us=n * 5_000_000, ended_us=n * 5_000_000 + 4_000_000) for n in (1, 2)]
    assert all_up(calls) == (5.0, 14.0)
    assert all_up([PlacedCall("x", 1)]) is None
