"""Turns the marks of a turn into durations.

All are whole microseconds between instants of one record, and so of one host.
"""

from __future__ import annotations

from operator import itemgetter

from trunkline.core.events import Record
from trunkline.core.wire import HeardRecord, Mark, TurnOutcome, TurnRecord

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

WORDS = frozenset({Mark.STT_PARTIAL, Mark.SPEECH_END, Mark.STT_FINAL})

# Looked up once: a member of an enumeration takes as long to look up as all the rest of a stage's arithmetic.
_SPEECH_START, _STT_PARTIAL, _SPEECH_END = Mark.SPEECH_START, Mark.STT_PARTIAL, Mark.SPEECH_END
_AGENT_DECISION, _TTS_FIRST_BYTE, _PLAYBACK_START = Mark.AGENT_DECISION, Mark.TTS_FIRST_BYTE, Mark.PLAYBACK_START
_PREPARED, _RELEASED, _BARGE_IN, _PLAYBACK_STOP = Mark.PREPARED, Mark.RELEASED, Mark.BARGE_IN, Mark.PLAYBACK_STOP
_STEPS = [(mark, mark in WORDS) for mark in STAGES]


def roundtrip_us(record: TurnRecord) -> int | None:
    """RoundTrip = PlaybackStart - SpeechStart; None where the agent was never heard."""
    return _between(record, _SPEECH_START, _PLAYBACK_START)


def response_us(record: TurnRecord) -> int | None:
    """Response = PlaybackStart - SpeechEnd; negative where the agent answers while the caller still speaks."""
    return _between(record, _SPEECH_END, _PLAYBACK_START)


def stages_us(record: TurnRecord) -> dict[Mark, int]:
    """What the RoundTrip is made of: time from one mark to the next, by the later mark, in order of time.

    The stages add up exactly to the RoundTrip; empty where there is none. A mark that is missing, or is no step on the
    way to the answer, leaves its time to the mark after it: partial words do not lead to an answer under the policy
    `final`, and with the others the words after the decision (the rest of the burst) do not.
    """
    marks = record.marks_us
    begun_us, heard_us = marks.get(_SPEECH_START), marks.get(_PLAYBACK_START)
    if begun_us is None or heard_us is None:
        return {}
    # An answer that was prepared waits for the words that end the turn.
    decided_us = min(marks.get(_RELEASED, marks.get(_AGENT_DECISION, heard_us)), heard_us)
    way = []
    for mark, is_words in _STEPS:
        at_us = marks.get(mark)
        if at_us is None or not begun_us <= at_us <= (decided_us if is_words else heard_us):
            continue
        if mark is not _STT_PARTIAL or record.policy != "final":
            way.append((at_us, mark))
    way.sort(key=itemgetter(0))
    stages = {}
    for at_us, mark in way:
        stages[mark] = at_us - begun_us
        begun_us = at_us
    return stages


def barge_in_us(record: TurnRecord) -> int | None:
    """From the first sound of the interruption to the answer's last packet; None where nothing was interrupted."""
    stopped_us = _between(record, _BARGE_IN, _PLAYBACK_STOP)
    # An answer whose last packet was already sent needed no silencing.
    return stopped_us if stopped_us is not None and stopped_us >= 0 else None


def saved_us(record: TurnRecord) -> int | None:
    """What preparing the answer ahead saved: so long before it was needed the work began that was done by then.

    None where nothing was prepared, or the answer was never heard.
    """
    marks = record.marks_us
    if _PREPARED not in marks or _RELEASED not in marks or _PLAYBACK_START not in marks:
        return None
    ready_us = min(marks[_RELEASED], marks.get(_TTS_FIRST_BYTE, marks[_RELEASED]))
    return max(0, ready_us - marks[_PREPARED])


_MEASURES = (("roundtrip", roundtrip_us), ("response", response_us), ("barge_in", barge_in_us), ("saved", saved_us))


def durations_us(record: Record) -> dict[str, int]:
    """All that one record measures, by the names in `METRICS`; nothing for calls and for turns without an answer."""
    if isinstance(record, HeardRecord):
        return {
            "roundtrip_heard": record.heard_us - record.speech_start_us,
            "response_heard": record.heard_us - record.speech_end_us,
        }
    if not isinstance(record, TurnRecord) or record.outcome is TurnOutcome.UNANSWERED:
        return {}
    found = {_STAGE_METRICS[stage]: duration_us for stage, duration_us in stages_us(record).items()}
    for name, measure in _MEASURES:
        duration_us = measure(record)
        if duration_us is not None:
            found[name] = duration_us
    return found


def _between(record: TurnRecord, start: Mark, end: Mark) -> int | None:
    marks = record.marks_us
    return marks[end] - marks[start] if start in marks and end in marks else None
