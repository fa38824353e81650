"""Whether every expected turn was answered, and by the right words; what was not is listed with the reason.

With emulated providers each caller's speech carries numbers of its own, the answer's sound carries the number that was
understood, and both are compared at the ear. Else the words in the agents' records are compared with the phrase.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from enum import StrEnum
from itertools import cycle, islice

from trunkline.core.wire import TurnOutcome
from trunkline.loadtest.callers import Outcome, PlacedCall
from trunkline.loadtest.ear import HeardCode
from trunkline.loadtest.verdict import TurnRow, plain
from trunkline.testing.voice_code import MAX_SENTENCE_ID

CODES_A_CALLER = 2
"""Spoken in turn, so that an answer to the words before the last ones is noticed, too."""


class Check(StrEnum):
    """What became of an expected turn."""

    RIGHT = "right"
    WRONG = "wrong"
    UNREADABLE = "unreadable"
    """Something was heard, but no number could be read in it."""
    UNCHECKED = "unchecked"
    """Answered; there is no record to compare with."""
    UNANSWERED = "unanswered"


@dataclass(frozen=True, slots=True)
class Answer:
    """One expected turn.

    Args:
        call: The caller's number.
        name: The agent's name for the call.
        turn: From 1 on.
        reason: In a few words; empty where the answer was right.
    """

    call: int
    name: str
    turn: int
    check: Check
    reason: str = ""


def codes_of(number: int) -> tuple[int, ...]:
    """The numbers in the speech of a caller."""
    first = (number - 1) * CODES_A_CALLER
    return tuple((first + turn) % MAX_SENTENCE_ID + 1 for turn in range(CODES_A_CALLER))


def check_call(call: PlacedCall, rows: list[TurnRow], expected: int, *, coded: bool, early: bool) -> list[Answer]:
    """Each expected turn of a call, in order.

    Args:
        rows: Its turns from both sides.
        expected: How many turns there should be; 0: as many as were begun, one at least.
        coded: Numbers are in the sound.
        early: The agents answer the first words.
    """
    answers = []
    heard = _codes_by_turn(call) if coded else []
    for number in range(1, max(expected, len(call.turns), 1) + 1):
        row = rows[number - 1] if number <= len(rows) else None
        if row is None or row.roundtrip_heard_ms is None:
            check, reason = Check.UNANSWERED, _why_unanswered(call, row)
        elif coded:
            check, reason = _check_codes(call.number, number, heard[number - 1])
        else:
            check, reason = _check_words(row, early)
        answers.append(Answer(call.number, call.call, number, check, reason))
    return answers


def _why_unanswered(call: PlacedCall, row: TurnRow | None) -> str:
    if call.outcome is not Outcome.COMPLETED and (row is None or row.turn == len(call.turns)):
        return f"the call was {call.outcome.value}: {call.problem}"
    if row is None:
        return "not spoken"
    if not row.outcome:
        return "no sound came, and the agents have no record of this speech"
    if row.outcome == TurnOutcome.UNANSWERED:
        return f"the agent gave no answer to {row.understood!r}" if row.understood else "the agent understood nothing"
    return "the agent says that it answered, but nothing reached the ear"


def _codes_by_turn(call: PlacedCall) -> list[list[HeardCode]]:
    """What was heard from the beginning of each turn to that of the next."""
    starts_us = [turn.speech_start_us or 0 for turn in call.turns]
    by_turn: list[list[HeardCode]] = [[] for _ in call.turns]
    for code in call.codes:
        place = bisect_right(starts_us, code.at_us) - 1
        if place >= 0:
            by_turn[place].append(code)
    return by_turn


def _check_codes(number: int, turn: int, heard: list[HeardCode]) -> tuple[Check, str]:
    own = codes_of(number)
    right = own[(turn - 1) % len(own)]
    wrong = next((code.code for code in heard if code.code != right), None)
    if wrong is not None:
        whose = "the caller's words before" if wrong in own else f"caller {(wrong - 1) // CODES_A_CALLER + 1}"
        return Check.WRONG, f"number {wrong} was heard, which is that of {whose}, not {right}"
    return (Check.RIGHT, "") if heard else (Check.UNREADABLE, "no number could be read in what was heard")


def _check_words(row: TurnRow, early: bool) -> tuple[Check, str]:
    """Bursts repeat the phrase; an early answer knows only its beginning."""
    said, understood = plain(row.said).split(), plain(row.understood).split()
    if not row.outcome or not said:
        return Check.UNCHECKED, "the agents have no record of this turn"
    whole = early or len(understood) % len(said) == 0
    if understood and whole and understood == list(islice(cycle(said), len(understood))):
        return Check.RIGHT, ""
    return Check.WRONG, f"{row.understood!r} was understood" if understood else "nothing was understood"
