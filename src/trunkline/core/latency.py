"""Turns the marks of a turn into durations, and what the network brings into records that can be trusted.

The collector hands every datagram and every posted event to `parse_event`; nothing behind it checks again. Durations
are whole microseconds between instants of one record, and so of one host.
"""

from __future__ import annotations

import json
import re
from typing import Any, Never, TypeAlias

from trunkline.core.errors import RemoteProtocolError
from trunkline.core.wire import (
    MAX_DATAGRAM_BYTES,
    WIRE_VERSION,
    CallRecord,
    HeardRecord,
    Mark,
    TurnOutcome,
    TurnRecord,
)

Record: TypeAlias = TurnRecord | CallRecord | HeardRecord


class EventError(RemoteProtocolError):
    """An event from outside that is refused.

    Args:
        reason: One word of a closed list, fit for a label: `too_long`, `not_json`, `not_object`, or the name of
            the field that is wrong.
        problem: What is wrong, in one line that does not quote the event.
    """

    def __init__(self, reason: str, problem: str) -> None:
        super().__init__(problem)
        self.reason = reason


def _wrong(field: str, problem: str) -> EventError:
    """A field that is wrong; of `marks_us.SpeechEnd` the reason is `marks_us`."""
    return EventError(field.partition(".")[0], f"{field}: {problem}")


STAGES = (
    Mark.STT_PARTIAL,
    Mark.SPEECH_END,
    Mark.STT_FINAL,
    Mark.AGENT_DECISION,
    Mark.TTS_FIRST_BYTE,
    Mark.PLAYBACK_START,
)
"""What can lie between SpeechStart and PlaybackStart, in the order of marks that share an instant."""

_STAGE_METRICS = {stage: f"stage:{stage}" for stage in STAGES}

METRICS = (
    "roundtrip",
    "response",
    "roundtrip_heard",
    "response_heard",
    "barge_in",
    "saved",
    *_STAGE_METRICS.values(),
)
"""All durations that are measured, by the names under which the collector tells them."""

WORDS = (Mark.STT_PARTIAL, Mark.SPEECH_END, Mark.STT_FINAL)

MAX_COUNT = 2**53
"""The largest whole number that every reader of JSON keeps exactly; microseconds up to it are 285 years."""
MAX_TURN = 1_000_000
MAX_NAME_CHARS = 200

_CALL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:+@-]{0,127}", re.ASCII)
_SURROGATE = re.compile("[\ud800-\udfff]")
_WORD = re.compile(r"[a-z0-9_-]{1,40}", re.ASCII)


def roundtrip_us(record: TurnRecord) -> int | None:
    """RoundTrip = PlaybackStart - SpeechStart; None where the agent was never heard."""
    return _between(record, Mark.SPEECH_START, Mark.PLAYBACK_START)


def response_us(record: TurnRecord) -> int | None:
    """Response = PlaybackStart - SpeechEnd; negative where the agent answers while the caller still speaks."""
    return _between(record, Mark.SPEECH_END, Mark.PLAYBACK_START)


def stages_us(record: TurnRecord) -> dict[Mark, int]:
    """What the RoundTrip is made of: time from one mark to the next, by the later mark, in order of time.

    The stages add up exactly to the RoundTrip; empty where there is none. A mark that is missing, or is no step on the
    way to the answer, leaves its time to the mark after it: partial words do not lead to an answer under the policy
    `final`, and with the others the words after the decision (the rest of the burst) do not.
    """
    marks = record.marks_us
    if roundtrip_us(record) is None:
        return {}
    heard_us = marks[Mark.PLAYBACK_START]
    # An answer that was prepared waits for the words that end the turn.
    decided_us = min(marks.get(Mark.RELEASED, marks.get(Mark.AGENT_DECISION, heard_us)), heard_us)
    way = [
        mark
        for mark in STAGES
        if mark in marks
        and marks[Mark.SPEECH_START] <= marks[mark] <= (decided_us if mark in WORDS else heard_us)
        and not (mark is Mark.STT_PARTIAL and record.policy == "final")
    ]
    way.sort(key=lambda mark: marks[mark])
    return {after: marks[after] - marks[before] for before, after in zip([Mark.SPEECH_START, *way], way, strict=False)}


def barge_in_us(record: TurnRecord) -> int | None:
    """From the first sound of the interruption to the answer's last packet; None where nothing was interrupted."""
    stopped_us = _between(record, Mark.BARGE_IN, Mark.PLAYBACK_STOP)
    # An answer whose last packet was already sent needed no silencing.
    return stopped_us if stopped_us is not None and stopped_us >= 0 else None


def saved_us(record: TurnRecord) -> int | None:
    """What preparing the answer ahead saved: so long before it was needed the work began that was done by then.

    None where nothing was prepared, or the answer was never heard.
    """
    marks = record.marks_us
    if not {Mark.PREPARED, Mark.RELEASED, Mark.PLAYBACK_START} <= marks.keys():
        return None
    ready_us = min(marks[Mark.RELEASED], marks.get(Mark.TTS_FIRST_BYTE, marks[Mark.RELEASED]))
    return max(0, ready_us - marks[Mark.PREPARED])


def durations_us(record: Record) -> dict[str, int]:
    """All that one record measures, by the names in `METRICS`; nothing for calls and for turns without an answer."""
    if isinstance(record, HeardRecord):
        return {
            "roundtrip_heard": record.heard_us - record.speech_start_us,
            "response_heard": record.heard_us - record.speech_end_us,
        }
    if not isinstance(record, TurnRecord) or record.outcome is TurnOutcome.UNANSWERED:
        return {}
    named = {"roundtrip": roundtrip_us(record), "response": response_us(record), "barge_in": barge_in_us(record)}
    named["saved"] = saved_us(record)
    stages = {_STAGE_METRICS[stage]: duration_us for stage, duration_us in stages_us(record).items()}
    return {name: duration_us for name, duration_us in (named | stages).items() if duration_us is not None}


def _between(record: TurnRecord, start: Mark, end: Mark) -> int | None:
    marks = record.marks_us
    return marks[end] - marks[start] if start in marks and end in marks else None


def is_call_id(text: str) -> bool:
    """Whether this can be the id of a call: up to 128 letters, digits and _.:+@-"""
    return _CALL.fullmatch(text) is not None


def parse_event(data: bytes) -> Record:
    """Reads one event from outside; unknown fields and unknown marks are ignored.

    Args:
        data: One JSON object in UTF-8, at most `MAX_DATAGRAM_BYTES`.

    Raises:
        EventError: with the reason in one line, which never quotes the event.
    """
    if len(data) > MAX_DATAGRAM_BYTES:
        raise EventError("too_long", f"{len(data)} bytes, more than {MAX_DATAGRAM_BYTES}")
    return read_event(parse_json(data))


def read_event(event: object) -> Record:
    """Like `parse_event`, of an event that is already read as JSON."""
    if not isinstance(event, dict):
        raise EventError("not_object", "not a JSON object")
    return _Fields(event).record()


def parse_json(data: bytes) -> object:
    """Reads JSON of any size from outside. Raises EventError."""
    try:
        return json.loads(data.decode(), parse_constant=_refuse_constant)
    except RecursionError:
        raise EventError("not_json", "nested too deeply") from None
    except ValueError as error:
        # Of the reader's message only its kind: the rest may quote what was sent.
        raise EventError("not_json", f"not JSON ({type(error).__name__})") from None


def _refuse_constant(name: str) -> Never:
    raise ValueError(name)


class _Fields:
    """The fields of one event, each checked when it is read."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self._fields = fields

    def record(self) -> Record:
        match self._fields.get("type"):
            case "turn":
                return self._turn_record()
            case "call":
                return self._call_record()
            case "heard":
                return self._heard_record()
        raise _wrong("type", "not turn, call or heard")

    def _turn_record(self) -> TurnRecord:
        return TurnRecord(
            **self._origin(),
            worker=self._name("worker"),
            turn=self._count("turn", MAX_TURN),
            policy=self._word("policy"),
            outcome=self._outcome(),
            marks_us=self._marks(),
            understood=self._text("understood"),
            answer=self._text("answer"),
            heard=self._text("heard"),
            heard_samples=self._count("heard_samples") if "heard_samples" in self._fields else 0,
        )

    def _call_record(self) -> CallRecord:
        record = CallRecord(
            **self._origin(),
            worker=self._name("worker"),
            room=self._name("room"),
            kind=self._word("kind"),
            engine=self._word("engine"),
            started_us=self._count("started_us"),
            answered_us=None if self._fields.get("answered_us") is None else self._count("answered_us"),
            ended_us=self._count("ended_us"),
            result=self._word("result"),
            reason=self._word("reason"),
            turns=self._count("turns", MAX_TURN),
            barge_ins=self._count("barge_ins", MAX_TURN),
        )
        if record.ended_us < record.started_us:
            raise _wrong("ended_us", "before started_us")
        return record

    def _heard_record(self) -> HeardRecord:
        record = HeardRecord(
            **self._origin(),
            turn=self._count("turn", MAX_TURN),
            speech_start_us=self._count("speech_start_us"),
            speech_end_us=self._count("speech_end_us"),
            heard_us=self._count("heard_us"),
        )
        if min(record.speech_end_us, record.heard_us) < record.speech_start_us:
            raise EventError("heard_us", "speech_end_us, heard_us: before speech_start_us")
        return record

    def _origin(self) -> dict[str, Any]:
        call = self._fields.get("call")
        if not isinstance(call, str) or not is_call_id(call):
            raise _wrong("call", "not a call's id")
        version = self._count("v", least=1) if "v" in self._fields else WIRE_VERSION
        origin = {"sender": self._name("sender"), "seq": self._count("seq", least=1), "host": self._name("host")}
        return {**origin, "call": call, "v": version}

    def _outcome(self) -> TurnOutcome:
        try:
            return TurnOutcome(str(self._fields.get("outcome")))
        except ValueError:
            raise _wrong("outcome", f"not one of {', '.join(TurnOutcome)}") from None

    def _marks(self) -> dict[Mark, int]:
        given = self._fields.get("marks_us")
        if not isinstance(given, dict):
            raise _wrong("marks_us", "not an object")
        marks = {mark: _checked_count(f"marks_us.{mark}", given[mark], 0, MAX_COUNT) for mark in Mark if mark in given}
        start_us = marks.get(Mark.SPEECH_START, 0)
        for mark in (Mark.SPEECH_END, Mark.PLAYBACK_START):
            if marks.get(mark, start_us) < start_us:
                raise _wrong(f"marks_us.{mark}", "before SpeechStart")
        return marks

    def _count(self, field: str, most: int = MAX_COUNT, least: int = 0) -> int:
        return _checked_count(field, self._fields.get(field), least, most)

    def _name(self, field: str) -> str:
        name = self._fields.get(field)
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_CHARS or not name.isprintable():
            raise _wrong(field, f"not a name of 1 to {MAX_NAME_CHARS} printable characters")
        return name

    def _word(self, field: str) -> str:
        word = self._fields.get(field)
        if not isinstance(word, str) or not _WORD.fullmatch(word):
            raise _wrong(field, "not a word")
        return word

    def _text(self, field: str) -> str:
        text = self._fields.get(field, "")
        # Half a surrogate pair passes JSON's reader, and could be written nowhere.
        if not isinstance(text, str) or len(text) > MAX_DATAGRAM_BYTES or _SURROGATE.search(text):
            raise _wrong(field, f"not text of at most {MAX_DATAGRAM_BYTES} characters")
        return text


def _checked_count(field: str, value: object, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise _wrong(field, f"not a whole number from {least} to {most}")
    return value
