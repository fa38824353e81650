"""Durations of a turn, and the check of every event from outside."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.core import wire
from trunkline.core.errors import RemoteProtocolError
from trunkline.core.events import is_call_id, parse_event, parse_json, read_event
from trunkline.core.latency import response_us, roundtrip_us, stages_us
from trunkline.core.wire import Mark, TurnOutcome

pytestmark = pytest.mark.unit

S, P, E, F = Mark.SPEECH_START, Mark.STT_PARTIAL, Mark.SPEECH_END, Mark.STT_FINAL
A, T, B = Mark.AGENT_DECISION, Mark.TTS_FIRST_BYTE, Mark.PLAYBACK_START

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
HEARD = wire.HeardRecord(
    sender="p", seq=1, host="h", call="CA1", turn=1, speech_start_us=10, speech_end_us=30, heard_us=20
)


def turn(marks_us: dict[Mark, int], policy: str = "final", **fields: Any) -> wire.TurnRecord:
    usual = {"sender": "w", "seq": 1, "host": "h", "worker": "w", "call": "CA1", "turn": 1}
    return wire.TurnRecord(
        **{**usual, "policy": policy, "outcome": TurnOutcome.ANSWERED, "marks_us": marks_us, **fields}
    )


FINAL = turn({S: 100, P: 300, E: 900, F: 950, A: 960, T: 1_000, B: 1_020}, understood="Grüße", answer="hi")


# --- durations ---


def test_a_final_turn_is_the_sum_of_its_stages_without_partials() -> None:
    assert (roundtrip_us(FINAL), response_us(FINAL)) == (920, 120)
    assert stages_us(FINAL) == {E: 800, F: 50, A: 10, T: 40, B: 20}


def test_with_first_partial_the_rest_of_the_burst_is_no_stage() -> None:
    record = turn({S: 0, P: 300, A: 310, T: 350, B: 370, E: 900, F: 950}, "first_partial")
    assert response_us(record) == -530
    assert stages_us(record) == {P: 300, A: 10, T: 40, B: 20}


def test_an_end_of_speech_between_decision_and_playback_cuts_no_stage_in_two() -> None:
    record = turn({S: 0, P: 300, A: 310, E: 330, T: 350, B: 370}, "stable_partial")
    assert stages_us(record) == {P: 300, A: 10, T: 40, B: 20}


def test_a_partial_that_comes_after_the_end_of_speech_follows_it() -> None:
    record = turn({S: 0, E: 250, P: 300, A: 310, T: 350, B: 370}, "first_partial")
    assert list(stages_us(record).items()) == [(E, 250), (P, 50), (A, 10), (T, 40), (B, 20)]


def test_a_missing_mark_leaves_its_time_to_the_next() -> None:
    assert stages_us(turn({S: 0, E: 100, A: 160, B: 200})) == {E: 100, A: 60, B: 40}


@pytest.mark.parametrize("marks", [{}, {S: 1}, {B: 1}, {E: 1, F: 2}])
def test_a_turn_that_was_never_heard_has_no_roundtrip_and_no_stages(marks: dict[Mark, int]) -> None:
    record = turn(marks)
    assert (roundtrip_us(record), response_us(record), stages_us(record)) == (None, None, {})


@given(
    st.dictionaries(st.sampled_from(Mark), st.integers(0, 10_000)),
    st.sampled_from(["final", "first_partial", "stable_partial"]),
)
def test_stages_are_never_negative_and_add_up_to_the_roundtrip(marks: dict[Mark, int], policy: str) -> None:
    start = marks.setdefault(S, 0)
    marks[B] = start + marks.get(B, 0)
    record = turn(marks, policy)
    stages = stages_us(record)
    assert sum(stages.values()) == roundtrip_us(record)
    assert all(duration >= 0 for duration in stages.values())


# --- events ---

WORKER = wire.WorkerRecord(
    sender="w.1", seq=1, host="h", worker="w", calls=3, capacity=25, draining=False,
    loop_lag_us=900, late_ticks=1, dropped_ticks=2, providers={"stt:deepgram": "open", "tts_standby:edge": "closed"},
)  # fmt: skip


@pytest.mark.parametrize("record", [FINAL, CALL, HEARD, WORKER], ids=lambda record: record.type)
def test_what_we_write_we_read(record: Any) -> None:
    assert parse_event(wire.encode(record)) == record


def test_unknown_fields_and_marks_of_a_newer_version_are_ignored() -> None:
    event = json.loads(wire.encode(FINAL))
    event |= {"v": 2, "mood": [1, {"x": None}]}
    event["marks_us"]["Sigh"] = "soon"
    assert parse_event(json.dumps(event).encode()) == turn(
        FINAL.marks_us, understood="Grüße", answer="hi", v=2, outcome=TurnOutcome.ANSWERED
    )


def test_texts_version_and_samples_may_be_missing() -> None:
    event = json.loads(wire.encode(FINAL))
    for field in ("v", "understood", "answer", "heard_samples"):
        del event[field]
    assert parse_event(json.dumps(event).encode()) == turn(FINAL.marks_us)


BAD_FIELDS = [
    (WORKER, "draining", 1),
    (WORKER, "calls", -1),
    (WORKER, "loop_lag_us", 1.5),
    (WORKER, "providers", ["stt:deepgram"]),
    (WORKER, "providers", {"stt:deepgram": "ajar"}),
    (WORKER, "providers", {"call-17": "open"}),
    (WORKER, "providers", {f"stt:{number}": "open" for number in range(9)}),
    (FINAL, "v", 3),
    (FINAL, "type", "turns"),
    (FINAL, "type", []),
    (FINAL, "call", "../x"),
    (FINAL, "call", "a" * 129),
    (FINAL, "call", "CA1\n"),
    (FINAL, "call", None),
    (FINAL, "sender", ""),
    (FINAL, "host", "h\n"),
    (FINAL, "host", "\ud800"),
    (FINAL, "worker", "w" * 201),
    (FINAL, "seq", 0),
    (FINAL, "seq", True),
    (FINAL, "seq", 1.0),
    (FINAL, "seq", 2**53 + 1),
    (FINAL, "turn", -1),
    (FINAL, "turn", 10**6 + 1),
    (FINAL, "v", 0),
    (FINAL, "policy", "Final!"),
    (FINAL, "outcome", "lost"),
    (FINAL, "outcome", {}),
    (FINAL, "marks_us", []),
    (FINAL, "marks_us", {"SpeechStart": -1}),
    (FINAL, "marks_us", {"SpeechStart": 1e300}),
    (FINAL, "marks_us", {"SpeechStart": 5, "SpeechEnd": 4}),
    (FINAL, "marks_us", {"SpeechStart": 5, "PlaybackStart": 4}),
    (FINAL, "understood", 7),
    (FINAL, "answer", "\udfff"),
    (FINAL, "heard_samples", None),
    (CALL, "ended_us", 0),
    (CALL, "answered_us", "1"),
    (CALL, "result", ""),
    (CALL, "room", 3),
    (HEARD, "heard_us", 9),
    (HEARD, "speech_end_us", 9),
    (HEARD, "speech_start_us", None),
]


@pytest.mark.parametrize(("record", "field", "value"), BAD_FIELDS, ids=lambda value: repr(value)[:12])
def test_a_wrong_field_is_refused_with_one_line_that_names_it(record: Any, field: str, value: Any) -> None:
    event = json.loads(wire.encode(record)) | {field: value}
    with pytest.raises(RemoteProtocolError, match=field) as caught:
        parse_event(json.dumps(event).encode())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"{",
        b"[]",
        b"1",
        b"null",
        b"\xef\xbb\xbf{}",
        b'{"type": NaN}',
        b"[" * 8_000,
        b'{"seq":' + b"9" * 5_000 + b"}",
        b" " * (wire.MAX_DATAGRAM_BYTES + 1),
    ],
    ids=lambda data: repr(data[:12]),
)
def test_what_is_no_event_is_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_event(data)


def test_a_body_that_nests_too_deeply_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="deeply"):
        parse_json(b"[" * 200_000)


def test_a_text_in_a_large_body_is_no_longer_than_a_datagram() -> None:
    with pytest.raises(RemoteProtocolError, match="answer"):
        read_event(json.loads(wire.encode(FINAL)) | {"answer": "a" * (wire.MAX_DATAGRAM_BYTES + 1)})


@pytest.mark.parametrize("text", ["CA0123456789abcdef", "web.1-x_y:z@h+2"])
def test_ids_of_calls(text: str) -> None:
    assert is_call_id(text)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
JSON = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.sampled_from(Mark), SCALARS, max_size=3)
FIELDS = sorted(json.loads(wire.encode(FINAL))) + sorted(json.loads(wire.encode(CALL)))


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_raise_nothing_but_protocol_errors(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_event(data)


@given(st.sampled_from([FINAL, CALL, HEARD]), st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=3))
def test_events_with_any_values_are_read_or_refused(record: Any, changes: dict[str, Any]) -> None:
    data = json.dumps(json.loads(wire.encode(record)) | changes).encode()
    try:
        parsed = parse_event(data)
    except RemoteProtocolError as error:
        reason = str(error)
    else:
        reason = ""
        assert parse_event(wire.encode(parsed)) == parsed
    assert len(reason.splitlines()) <= 1
