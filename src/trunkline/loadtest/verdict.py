"""Puts together what a caller heard and what the agent recorded, and judges a run of calls.

The caller's utterances and the agent's turns are matched by time: both are instants of the same machine's monotonic
clock. Pure arithmetic; `cli/demo.py` prints it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from trunkline.core.latency import response_us, roundtrip_us
from trunkline.core.units import us_to_ms
from trunkline.core.wire import Mark, TurnOutcome, TurnRecord
from trunkline.loadtest.conversation import CallerTurn

MATCH_SLACK_US = 700_000
"""How far the agent's idea of a speech start may be from the caller's: network, buffers and a soft first sound."""


@dataclass(slots=True)
class CallResult:
    """One call, as the caller lived it.

    Args:
        call: The agent's name for it, such as Twilio's CallSid.
        number: Which call of the run.
        turns: The caller's utterances, in order.
        problem: What went wrong, in one line; empty where nothing did.
        recording: Stereo WAV, caller left, agent right.
    """

    call: str
    number: int
    turns: list[CallerTurn] = field(default_factory=list)
    problem: str = ""
    recording: Path | None = None
    dialled_us: int | None = None
    answered_us: int | None = None
    phone: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TurnRow:
    """One turn from both sides; times in milliseconds, None where an instant is missing.

    Args:
        stages_ms: Time from one mark to the next, by the name of the later mark; they add up to `response_ms`.
        barge_in_ms: Where it interrupts: from its first sound to silence at the caller's ear.
        outcome: What the agent says became of its answer; empty where it has no record.
        interrupts: It was spoken into the answer to the turn before.
        road_up_ms: From the caller's first sound to the instant at which the agent says that speech began.
        road_down_ms: From the agent's first packet to the first sound at the ear.
        record: The agent's side as it is.
    """

    call: int
    turn: int
    said: str
    understood: str
    answered: str
    stages_ms: dict[str, float]
    roundtrip_ms: float | None
    response_ms: float | None
    roundtrip_heard_ms: float | None
    response_heard_ms: float | None
    barge_in_ms: float | None
    outcome: str
    interrupts: bool
    road_up_ms: float | None = None
    road_down_ms: float | None = None
    record: TurnRecord | None = None

    @property
    def was_understood(self) -> bool:
        """The words that were said, whatever their case and punctuation."""
        return plain(self.said) == plain(self.understood)


STAGES = (Mark.SPEECH_END, Mark.STT_FINAL, Mark.AGENT_DECISION, Mark.TTS_FIRST_BYTE, Mark.PLAYBACK_START)
"""With the policy `final` these follow each other; the first is where the caller stopped speaking."""


def match_turns(result: CallResult, records: list[TurnRecord]) -> list[TurnRow]:
    """A row for each utterance of a call; where the agent has no turn for it, its side is empty."""
    left = sorted(records, key=lambda record: record.turn)
    rows = []
    for number, turn in enumerate(result.turns, start=1):
        record = _record_of(turn, left)
        if record is not None:
            left.remove(record)
        rows.append(_row(result.number, number, turn, record))
    return rows


def _record_of(turn: CallerTurn, records: list[TurnRecord]) -> TurnRecord | None:
    if turn.speech_start_us is None:
        return None
    start_us = turn.speech_start_us
    spoken = [record for record in records if Mark.SPEECH_START in record.marks_us]
    distances = [(abs(record.marks_us[Mark.SPEECH_START] - start_us), record) for record in spoken]
    near = [pair for pair in distances if pair[0] <= MATCH_SLACK_US]
    return min(near, key=lambda pair: pair[0])[1] if near else None


def _row(call: int, number: int, turn: CallerTurn, record: TurnRecord | None) -> TurnRow:
    marks = record.marks_us if record is not None else {}
    stages = {
        after.value: us_to_ms(marks[after] - marks[before])
        for before, after in pairwise(STAGES)
        if before in marks and after in marks
    }
    return TurnRow(
        call=call,
        turn=number,
        said=turn.said,
        understood=record.understood if record is not None else "",
        answered=record.answer if record is not None else "",
        stages_ms=stages,
        roundtrip_ms=_in_ms(roundtrip_us(record)) if record is not None else None,
        response_ms=_in_ms(response_us(record)) if record is not None else None,
        roundtrip_heard_ms=_ms(turn.speech_start_us, turn.heard_start_us),
        response_heard_ms=_ms(turn.speech_end_us, turn.heard_start_us),
        barge_in_ms=_ms(turn.speech_start_us, turn.silenced_us) if turn.interrupts else None,
        outcome=record.outcome if record is not None else "",
        interrupts=turn.interrupts,
        road_up_ms=_ms(turn.speech_start_us, marks.get(Mark.SPEECH_START)),
        road_down_ms=_ms(marks.get(Mark.PLAYBACK_START), turn.heard_start_us),
        record=record,
    )


def judge(results: list[CallResult], rows: list[TurnRow]) -> str:
    """Why the run failed, in one line; empty where every turn was answered and each interruption silenced the agent."""
    for result in results:
        if result.problem:
            return f"call {result.number}: {result.problem}"
    for row in rows:
        where = f"call {row.call}, turn {row.turn}"
        if row.roundtrip_heard_ms is None:
            return f"{where}: {row.said!r} was not answered"
        if not row.answered:
            return f"{where}: the caller heard something, but the agents' records hold no answer to {row.said!r}"
    for before, row in pairwise(rows):
        if row.interrupts and before.outcome != TurnOutcome.INTERRUPTED:
            return f"call {row.call}, turn {row.turn}: the interruption did not silence the agent"
    return "" if rows else "no call was made"


def _ms(start_us: int | None, end_us: int | None) -> float | None:
    return None if start_us is None or end_us is None else us_to_ms(end_us - start_us)


def _in_ms(length_us: int | None) -> float | None:
    return None if length_us is None else us_to_ms(length_us)


def plain(text: str) -> str:
    """Words alone, in lower case."""
    return " ".join("".join(c if c.isalnum() or c == "'" else " " for c in text.lower()).split())
