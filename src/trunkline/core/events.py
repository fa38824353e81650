"""Turns what the network brings into records that can be trusted.

The collector hands every datagram and every posted event in here; nothing behind it checks again. Fast, because the
collector does little else: an event that is good costs little more than reading its JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Never, TypeAlias

from trunkline.core.breaker import BreakerState
from trunkline.core.errors import RemoteProtocolError
from trunkline.core.wire import (
    MAX_DATAGRAM_BYTES,
    WIRE_VERSION,
    CallRecord,
    HeardRecord,
    Mark,
    RefusalRecord,
    TurnOutcome,
    TurnRecord,
    WorkerRecord,
)

CallEvent: TypeAlias = TurnRecord | CallRecord | HeardRecord
"""What is told of one call."""

Record: TypeAlias = CallEvent | WorkerRecord | RefusalRecord

NEWEST_VERSION = WIRE_VERSION + 1
"""During an upgrade senders may be one ahead."""
MAX_COUNT = 2**53
"""The largest whole number that every reader of JSON keeps exactly; microseconds up to it are 285 years."""
MAX_TURN = 1_000_000
MAX_CALLS = 100_000
MAX_NAME_CHARS = 200
MAX_PROVIDERS = 8

_Fields: TypeAlias = dict[str, Any]

_CALL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:+@-]{0,127}", re.ASCII)
_SURROGATE = re.compile("[\ud800-\udfff]")
_WORD = re.compile(r"[a-z0-9_-]{1,40}", re.ASCII)
_PROVIDER = re.compile(r"(stt|tts)(_standby)?:[a-z0-9_-]{1,40}", re.ASCII)
_BREAKERS = tuple(state.value for state in BreakerState)
_MARKS = {mark.value: mark for mark in Mark}
_SPEECH_START = Mark.SPEECH_START
_AFTER_START = (Mark.SPEECH_END, Mark.PLAYBACK_START)
_OUTCOMES = {outcome.value: outcome for outcome in TurnOutcome}


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
    kind = event.get("type")
    read = _READERS.get(kind) if isinstance(kind, str) else None
    if read is None:
        raise _wrong("type", f"not one of {', '.join(_READERS)}")
    return read(event)


def parse_json(data: bytes) -> object:
    """Reads JSON of any size from outside. Raises EventError."""
    try:
        return _JSON.decode(data.decode())
    except RecursionError:
        raise EventError("not_json", "nested too deeply") from None
    except ValueError as error:
        # Of the reader's message only its kind: the rest may quote what was sent.
        raise EventError("not_json", f"not JSON ({type(error).__name__})") from None


def _refuse_constant(name: str) -> Never:
    raise ValueError(name)


_JSON = json.JSONDecoder(parse_constant=_refuse_constant)


def _turn(fields: _Fields) -> TurnRecord:
    return TurnRecord(
        call=_call_id(fields),
        v=_version(fields),
        sender=_name(fields, "sender"),
        seq=_count(fields, "seq", least=1),
        host=_name(fields, "host"),
        worker=_name(fields, "worker"),
        turn=_count(fields, "turn", MAX_TURN),
        policy=_word(fields, "policy"),
        outcome=_outcome(fields),
        marks_us=_marks(fields),
        understood=_text(fields, "understood"),
        answer=_text(fields, "answer"),
        heard=_text(fields, "heard"),
        heard_samples=_count(fields, "heard_samples") if "heard_samples" in fields else 0,
    )


def _call(fields: _Fields) -> CallRecord:
    record = CallRecord(
        call=_call_id(fields),
        v=_version(fields),
        sender=_name(fields, "sender"),
        seq=_count(fields, "seq", least=1),
        host=_name(fields, "host"),
        worker=_name(fields, "worker"),
        room=_name(fields, "room"),
        kind=_word(fields, "kind"),
        engine=_word(fields, "engine"),
        started_us=_count(fields, "started_us"),
        answered_us=None if fields.get("answered_us") is None else _count(fields, "answered_us"),
        ended_us=_count(fields, "ended_us"),
        result=_word(fields, "result"),
        reason=_word(fields, "reason"),
        turns=_count(fields, "turns", MAX_TURN),
        barge_ins=_count(fields, "barge_ins", MAX_TURN),
    )
    if record.ended_us < record.started_us:
        raise _wrong("ended_us", "before started_us")
    return record


def _heard(fields: _Fields) -> HeardRecord:
    record = HeardRecord(
        call=_call_id(fields),
        v=_version(fields),
        sender=_name(fields, "sender"),
        seq=_count(fields, "seq", least=1),
        host=_name(fields, "host"),
        turn=_count(fields, "turn", MAX_TURN),
        speech_start_us=_count(fields, "speech_start_us"),
        speech_end_us=_count(fields, "speech_end_us"),
        heard_us=_count(fields, "heard_us"),
    )
    if min(record.speech_end_us, record.heard_us) < record.speech_start_us:
        raise EventError("heard_us", "speech_end_us, heard_us: before speech_start_us")
    return record


def _worker(fields: _Fields) -> WorkerRecord:
    if type(fields.get("draining")) is not bool:
        raise _wrong("draining", "not true or false")
    return WorkerRecord(
        v=_version(fields),
        sender=_name(fields, "sender"),
        seq=_count(fields, "seq", least=1),
        host=_name(fields, "host"),
        worker=_name(fields, "worker"),
        calls=_count(fields, "calls", MAX_CALLS),
        capacity=_count(fields, "capacity", MAX_CALLS),
        draining=fields["draining"],
        loop_lag_us=_count(fields, "loop_lag_us"),
        late_ticks=_count(fields, "late_ticks"),
        dropped_ticks=_count(fields, "dropped_ticks"),
        providers=_providers(fields),
    )


def _refusal(fields: _Fields) -> RefusalRecord:
    return RefusalRecord(
        v=_version(fields),
        sender=_name(fields, "sender"),
        seq=_count(fields, "seq", least=1),
        host=_name(fields, "host"),
        door=_word(fields, "door"),
        reason=_word(fields, "reason"),
        call=_call_id(fields) if fields.get("call", "") != "" else "",
    )


def _providers(fields: _Fields) -> dict[str, str]:
    given = fields.get("providers", {})
    if type(given) is not dict or len(given) > MAX_PROVIDERS:
        raise _wrong("providers", f"not an object of at most {MAX_PROVIDERS} names")
    for name, state in given.items():
        if not _PROVIDER.fullmatch(name) or state not in _BREAKERS:
            raise _wrong("providers", "not the name of a provider and the state of its breaker")
    return given


_READERS: dict[str, Callable[[_Fields], Record]] = {
    "turn": _turn,
    "call": _call,
    "heard": _heard,
    "worker": _worker,
    "refusal": _refusal,
}


def _version(fields: _Fields) -> int:
    return _count(fields, "v", NEWEST_VERSION, 1) if "v" in fields else WIRE_VERSION


def _call_id(fields: _Fields) -> str:
    call = fields.get("call")
    if type(call) is not str or not _CALL.fullmatch(call):
        raise _wrong("call", "not a call's id")
    return call


def _outcome(fields: _Fields) -> TurnOutcome:
    given = fields.get("outcome")
    outcome = _OUTCOMES.get(given) if type(given) is str else None
    if outcome is None:
        raise _wrong("outcome", f"not one of {', '.join(_OUTCOMES)}")
    return outcome


def _marks(fields: _Fields) -> dict[Mark, int]:
    given = fields.get("marks_us")
    if type(given) is not dict:
        raise _wrong("marks_us", "not an object")
    marks = {}
    for name, at_us in given.items():
        mark = _MARKS.get(name)
        if mark is not None:
            if type(at_us) is not int or not 0 <= at_us <= MAX_COUNT:
                raise _wrong(f"marks_us.{mark}", f"not a whole number from 0 to {MAX_COUNT}")
            marks[mark] = at_us
    start_us = marks.get(_SPEECH_START, 0)
    for mark in _AFTER_START:
        if marks.get(mark, start_us) < start_us:
            raise _wrong(f"marks_us.{mark}", "before SpeechStart")
    return marks


def _count(fields: _Fields, field: str, most: int = MAX_COUNT, least: int = 0) -> int:
    value = fields.get(field)
    if type(value) is not int or not least <= value <= most:
        raise _wrong(field, f"not a whole number from {least} to {most}")
    return value


def _name(fields: _Fields, field: str) -> str:
    name = fields.get(field)
    if type(name) is not str or not 0 < len(name) <= MAX_NAME_CHARS or not name.isprintable():
        raise _wrong(field, f"not a name of 1 to {MAX_NAME_CHARS} printable characters")
    return name


def _word(fields: _Fields, field: str) -> str:
    word = fields.get(field)
    if type(word) is not str or not _WORD.fullmatch(word):
        raise _wrong(field, "not a word")
    return word


def _text(fields: _Fields, field: str) -> str:
    text = fields.get(field, "")
    # Half a surrogate pair passes JSON's reader, and could be written nowhere.
    if type(text) is not str or len(text) > MAX_DATAGRAM_BYTES or not (text.isascii() or not _SURROGATE.search(text)):
        raise _wrong(field, f"not text of at most {MAX_DATAGRAM_BYTES} characters")
    return text


def _wrong(field: str, problem: str) -> EventError:
    """A field that is wrong; of `marks_us.SpeechEnd` the reason is `marks_us`."""
    return EventError(field.partition(".")[0], f"{field}: {problem}")
