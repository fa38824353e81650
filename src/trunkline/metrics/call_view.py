"""One call as the page shows it: durations in milliseconds from its first sound, ready to be drawn to scale."""

from __future__ import annotations

from typing import Any

from trunkline.core import wire
from trunkline.core.latency import barge_in_us, response_us, roundtrip_us, stages_us
from trunkline.core.units import us_to_ms
from trunkline.core.wire import Mark
from trunkline.metrics.call_history import CallHistory


def brief(history: CallHistory) -> dict[str, Any]:
    """A line in the list of calls. Until the end of the call is told, its result, reason and length are None."""
    record, refusal = history.record, history.refusal
    return {
        "call": history.call,
        "heard_of_wall": round(history.heard_of_wall, 3),
        "worker": history.worker,
        "kind": record.kind if record else refusal.door if refusal else None,
        "result": record.result if record else "refused" if refusal and not history.turns else None,
        "reason": record.reason if record else refusal.reason if refusal and not history.turns else None,
        "turns": len(history.turns),
        "barge_ins": sum(Mark.BARGE_IN in turn.marks_us for turn in history.turns),
        "length_ms": us_to_ms(record.ended_us - record.started_us) if record else None,
    }


def whole(history: CallHistory) -> dict[str, Any]:
    """A call with all its turns, in order."""
    record = history.record
    answered_us = record.answered_us if record else None
    turns = sorted(history.turns, key=lambda turn: turn.turn)
    first = next((turn for turn in turns if Mark.SPEECH_START in turn.marks_us), None)
    ears = {heard.turn: heard.heard_us - heard.speech_end_us for heard in history.heard}
    return {
        **brief(history),
        "engine": record.engine if record else None,
        "answered_after_ms": us_to_ms(answered_us - record.started_us) if record and answered_us is not None else None,
        "turns": [_turn(turn, first, ears.get(turn.turn)) for turn in turns],
    }


def _turn(turn: wire.TurnRecord, first: wire.TurnRecord | None, ear_us: int | None) -> dict[str, Any]:
    marks = turn.marks_us
    start_us = marks.get(Mark.SPEECH_START)
    # After a take-over the call goes on at another host, whose clock tells nothing about the first one's.
    placed = first is not None and first.host == turn.host and start_us is not None
    origin_us = first.marks_us[Mark.SPEECH_START] if placed and first is not None else None
    stages, elapsed_us = [], 0
    for mark, duration_us in stages_us(turn).items():
        stages.append({"stage": mark, "from_ms": us_to_ms(elapsed_us), "ms": us_to_ms(duration_us)})
        elapsed_us += duration_us
    return {
        "turn": turn.turn,
        "outcome": turn.outcome,
        "policy": turn.policy,
        "understood": turn.understood,
        "answer": turn.answer,
        "heard": turn.heard,
        "at_ms": None if origin_us is None or start_us is None else us_to_ms(start_us - origin_us),
        "marks_ms": {} if start_us is None else {mark: us_to_ms(at_us - start_us) for mark, at_us in marks.items()},
        "stages": stages,
        "roundtrip_ms": _ms(roundtrip_us(turn)),
        "response_ms": _ms(response_us(turn)),
        "response_heard_ms": _ms(ear_us),
        "barge_in_ms": _ms(barge_in_us(turn)),
    }


def _ms(microseconds: int | None) -> float | None:
    return None if microseconds is None else us_to_ms(microseconds)
