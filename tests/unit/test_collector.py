"""The metrics collector: what it takes, what it refuses, what it tells, and what it forgets."""

from __future__ import annotations

import dataclasses
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from trunkline.cli.serving import listen
from trunkline.core import wire
from trunkline.core.errors import ConfigError
from trunkline.core.wire import Mark, TurnOutcome
from trunkline.metrics import call_history, call_view, senders
from trunkline.metrics.app import MAX_BODY_BYTES, create_app
from trunkline.metrics.latency_collector import Collector
from trunkline.metrics.senders import Senders

pytestmark = pytest.mark.unit

EMPTY = {"count": 0, "avg_ms": None, "p50_ms": None, "p95_ms": None, "p99_ms": None}


class Clock:
    def __init__(self) -> None:
        self.at = 1_000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def collector(clock: Clock) -> Collector:
    return Collector(60.0, now=clock)


@pytest.fixture
async def http(collector: Collector) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(collector))
    async with httpx.AsyncClient(transport=transport, base_url="http://collector") as client:
        yield client


def turn(seq: int, response_ms: int = 120, call: str = "CA1", **fields: Any) -> wire.TurnRecord:
    marks = {
        Mark.SPEECH_START: 1_000_000,
        Mark.SPEECH_END: 1_400_000,
        Mark.STT_FINAL: 1_450_000,
        Mark.AGENT_DECISION: 1_460_000,
        Mark.TTS_FIRST_BYTE: 1_500_000,
        Mark.PLAYBACK_START: 1_400_000 + response_ms * 1_000,
    }
    usual = {"sender": "w", "host": "h", "worker": "w", "turn": seq, "policy": "final", "outcome": TurnOutcome.ANSWERED}
    return wire.TurnRecord(**{**usual, "seq": seq, "call": call, "marks_us": marks, **fields})


def ended(seq: int, call: str = "CA1", reason: str = "caller_hung_up", **fields: Any) -> wire.CallRecord:
    usual = {"sender": "w", "host": "h", "worker": "w", "room": f"room-{call}", "kind": "phone", "engine": "sdk"}
    times = {"started_us": 1, "answered_us": 2, "ended_us": 3, "result": "success", "turns": 1, "barge_ins": 0}
    return wire.CallRecord(**{**usual, **times, "seq": seq, "call": call, "reason": reason, **fields})


def heard(seq: int, call: str = "CA1") -> wire.HeardRecord:
    return wire.HeardRecord(
        sender="p",
        seq=seq,
        host="far",
        call=call,
        turn=1,
        speech_start_us=10_000,
        speech_end_us=90_000,
        heard_us=80_000,
    )


def fares(seq: int, worker: str = "w", **fields: Any) -> wire.WorkerRecord:
    usual = {"sender": f"{worker}.1", "host": "h", "calls": 3, "capacity": 25, "draining": False}
    ticks = {"loop_lag_us": 1_500, "late_ticks": 0, "dropped_ticks": 0}
    return wire.WorkerRecord(**{**usual, **ticks, "seq": seq, "worker": worker, **fields})


def deliver(collector: Collector, *records: Any) -> None:
    for record in records:
        collector.take_datagram(wire.encode(record))


# --- in ---


async def test_an_object_a_list_and_lines_are_taken(http: httpx.AsyncClient) -> None:
    one = wire.encode(turn(1))
    pretty = json.dumps(json.loads(wire.encode(turn(2))), indent=2).encode()
    many = b"[" + wire.encode(turn(3)) + b"," + wire.encode(heard(1)) + b"]"
    lines = wire.encode(turn(4)) + b"\n\r\n" + wire.encode(ended(5)) + b"\n"
    answers = [await http.post("/ingest", content=body) for body in (one, pretty, many, lines, b"[]")]
    assert [answer.status_code for answer in answers] == [200] * 5
    assert [answer.json() for answer in answers] == [{"accepted": n} for n in (1, 1, 2, 2, 0)]


async def test_a_bad_event_is_told_by_its_index_and_harms_no_other(http: httpx.AsyncClient) -> None:
    body = b"\n".join([wire.encode(turn(1)), b'{"type":"turn"}', wire.encode(turn(2)), b"x"])
    answer = await http.post("/ingest", content=body)
    assert answer.status_code == 400
    assert answer.json() == {"error": "call: not a call's id", "index": 1, "accepted": 2}
    stats = (await http.get("/stats")).json()
    assert (stats["accepted"], stats["refused"]) == (2, 2)


@pytest.mark.parametrize(
    "body", [b"", b"nonsense", b"[[]]", b"[" * 100_000, b"\xff\xfe"], ids=lambda body: repr(body[:5])
)
async def test_a_body_that_is_no_event_is_refused(http: httpx.AsyncClient, body: bytes) -> None:
    answer = await http.post("/ingest", content=body)
    assert (answer.status_code, answer.json()["index"], answer.json()["accepted"]) == (400, 0, 0)


async def test_a_body_over_the_limit_is_not_read(http: httpx.AsyncClient) -> None:
    answer = await http.post("/ingest", content=b" " * (MAX_BODY_BYTES + 1))
    assert answer.status_code == 413


def test_a_bad_datagram_is_counted_and_nothing_else(collector: Collector) -> None:
    collector.take_datagram(b"\x00" * 100)
    assert collector.stats() == {
        "accepted": 0,
        "refused": 1,
        "refused_by_reason": {"not_json": 1},
        "duplicates": 0,
        "lost": 0,
        "dropped": 0,
        "senders": {},
    }


def test_a_record_that_comes_twice_counts_once(collector: Collector) -> None:
    deliver(collector, turn(1), turn(2), turn(1), turn(2, response_ms=999))
    assert collector.stats()["duplicates"] == 2
    assert collector.look(60).count("roundtrip") == 2


def test_gaps_of_a_sender_are_losses_until_the_late_ones_come(collector: Collector) -> None:
    deliver(collector, turn(3), turn(7), turn(5))
    assert collector.stats()["lost"] == 2
    deliver(collector, turn(4), turn(6), turn(2))
    assert collector.stats()["lost"] == 0
    assert collector.stats()["senders"] == {"w": {"accepted": 6, "lost": 0, "last_seq": 7}}


def test_a_number_far_ahead_costs_no_memory_and_one_far_behind_is_a_repetition() -> None:
    numbers = Senders()
    assert numbers.is_new("w", 1)
    assert numbers.is_new("w", 2**53)
    assert not numbers.is_new("w", 2)
    assert numbers.is_new("w", 2**53 - senders.REMEMBERED + 1)


def test_of_too_many_senders_the_one_not_heard_of_for_longest_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(senders, "MAX_SENDERS", 2)
    numbers = Senders()
    for name, seq in (("a", 1), ("a", 3), ("b", 1), ("a", 4), ("c", 1)):
        assert numbers.is_new(name, seq)
    assert list(numbers.by_sender()) == ["a", "c"]
    numbers.is_new("d", 1)
    assert (list(numbers.by_sender()), numbers.lost()) == (["c", "d"], 1)


# --- out ---


async def test_an_empty_summary_has_all_its_keys_in_order(http: httpx.AsyncClient) -> None:
    summary = (await http.get("/summary")).json()
    head = ["window_sec", "count", "avg_ms", "p50_ms", "p95_ms", "p99_ms"]
    rest = ["response", "roundtrip_heard", "response_heard", "stages", "turns", "unanswered", "barge_ins", "calls"]
    assert list(summary) == head + rest
    assert {key: summary[key] for key in head} == {"window_sec": 60, **EMPTY}
    assert list(summary["stages"]) == [
        "STTPartial", "SpeechEnd", "STTFinal", "AgentDecision", "TTSFirstByte", "PlaybackStart",
    ]  # fmt: skip
    assert all(stage == EMPTY for stage in summary["stages"].values())


async def test_the_summary_tells_round_trips_responses_stages_and_counts(
    http: httpx.AsyncClient, collector: Collector
) -> None:
    cut = {**turn(3, 400).marks_us, Mark.BARGE_IN: 3_000_000, Mark.PLAYBACK_STOP: 3_090_000}
    deliver(collector, turn(1, 120), turn(2, 140), turn(3, 400, outcome=TurnOutcome.INTERRUPTED, marks_us=cut))
    deliver(collector, turn(4, 9_000, outcome=TurnOutcome.UNANSWERED), turn(5, outcome="unanswered", marks_us={}))
    deliver(collector, ended(6), ended(7, reason="lease_lost"), heard(1))
    summary = (await http.get("/summary")).json()
    assert [summary[key] for key in ("count", "avg_ms", "p50_ms", "p95_ms", "p99_ms")] == [3, 620, 540, 800, 800]
    assert summary["response"] == {"count": 3, "avg_ms": 220, "p50_ms": 140, "p95_ms": 400, "p99_ms": 400}
    assert summary["roundtrip_heard"]["avg_ms"] == 70
    assert summary["response_heard"]["avg_ms"] == -10
    assert summary["stages"]["STTFinal"]["p95_ms"] == 50
    assert sum(stage["avg_ms"] or 0 for stage in summary["stages"].values()) == summary["avg_ms"]
    assert [summary[key] for key in ("turns", "unanswered", "barge_ins", "calls")] == [5, 2, 1, 1]


async def test_the_window_rolls(http: httpx.AsyncClient, collector: Collector, clock: Clock) -> None:
    deliver(collector, turn(1))
    clock.at += 50
    deliver(collector, turn(2))
    assert (await http.get("/summary?window_sec=10")).json()["count"] == 1
    assert (await http.get("/summary?window_sec=10")).json()["window_sec"] == 10
    clock.at += 10
    assert (await http.get("/summary")).json()["turns"] == 1


@pytest.mark.parametrize("window", ["0", "-1", "60.5", "nan", "inf", "x", ""])
async def test_a_window_that_is_not_kept_is_refused(http: httpx.AsyncClient, window: str) -> None:
    answer = await http.get("/summary", params={"window_sec": window})
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("window_sec: ")


async def test_a_call_is_told_with_all_its_records(http: httpx.AsyncClient, collector: Collector) -> None:
    deliver(collector, turn(1), heard(1), turn(2), ended(3), turn(4, call="CA2"))
    answer = (await http.get("/calls/CA1")).json()
    assert answer == {
        "call": "CA1",
        "record": json.loads(wire.encode(ended(3))),
        "turns": [json.loads(wire.encode(turn(1))), json.loads(wire.encode(turn(2)))],
        "heard": [json.loads(wire.encode(heard(1)))],
    }
    calls = (await http.get("/calls")).json()["calls"]
    assert [(call["call"], call["turns"], call["heard"]) for call in calls] == [("CA2", 1, 0), ("CA1", 2, 1)]
    assert [call["record"] is None for call in calls] == [True, False]
    assert len((await http.get("/calls?limit=1")).json()["calls"]) == 1


@pytest.mark.parametrize("call", ["CA9", "%2e%2e", "a%20b", "x" * 500])
async def test_an_unknown_call_is_not_found(http: httpx.AsyncClient, call: str) -> None:
    assert (await http.get(f"/calls/{call}")).status_code == 404


@pytest.mark.parametrize("limit", ["0", "1001", "x"])
async def test_a_wrong_limit_is_refused(http: httpx.AsyncClient, limit: str) -> None:
    assert (await http.get(f"/calls?limit={limit}")).status_code == 400


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_worker_that_lost_a_call_does_not_have_the_last_word(collector: Collector, order: tuple[int, int]) -> None:
    records = (ended(1, reason="lease_lost"), ended(1, sender="w2"))
    deliver(collector, *(records[index] for index in order))
    history = collector.calls.get("CA1")
    assert history is not None
    assert history.record is not None
    assert history.record.reason == "caller_hung_up"


def test_of_too_many_calls_the_one_not_heard_of_for_longest_goes(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call_history, "MAX_CALLS", 2)
    deliver(collector, *(turn(seq, call=call) for seq, call in enumerate(("CA1", "CA2", "CA1", "CA3"), start=1)))
    assert [history.call for history in collector.calls.newest(10)] == ["CA3", "CA1"]


def test_of_too_many_records_whole_old_calls_go(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_history, "MAX_RECORDS", 5)
    deliver(collector, turn(1), turn(2), turn(3, call="CA2"), turn(4, call="CA2"))
    assert [history.call for history in collector.calls.newest(10)] == ["CA2"]


def test_of_one_endless_call_the_oldest_turns_go_and_are_counted(collector: Collector) -> None:
    for seq in range(1, call_history.MAX_RECORDS_PER_CALL + 3):
        collector.take(dataclasses.replace(turn(1), seq=seq, turn=seq))
    history = collector.calls.get("CA1")
    assert history is not None
    assert (len(history.turns), history.turns[0].turn) == (call_history.MAX_RECORDS_PER_CALL, 3)
    assert collector.stats()["dropped"] == 2


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_port_that_is_taken_is_told_in_one_line(kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if kind is socket.SOCK_STREAM:
            taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConfigError, match=f"can't listen on {address}: Address already in use"):
            listen("METRICS_LISTEN", address, kind)


async def test_it_is_healthy(http: httpx.AsyncClient) -> None:
    assert (await http.get("/healthz")).json() == {"status": "ok"}


def refusal(seq: int, call: str = "CA9", reason: str = "full", **fields: Any) -> wire.RefusalRecord:
    return wire.RefusalRecord(sender="o", seq=seq, host="h", door="phone", reason=reason, call=call, **fields)


async def test_a_call_that_was_not_let_in_is_counted_and_listed_with_its_reason(
    collector: Collector, http: httpx.AsyncClient
) -> None:
    collector.take_datagram(wire.encode(refusal(1)))
    collector.take_datagram(wire.encode(refusal(2, call="", reason="bad_signature")))
    collector.take_datagram(wire.encode(refusal(3, call="", reason="invented")))
    live = (await http.get("/page/live")).json()
    assert live["totals"]["refused"] == 3
    [listed] = live["calls"]
    assert (listed["call"], listed["result"], listed["reason"], listed["kind"]) == ("CA9", "refused", "full", "phone")
    shown = (await http.get("/page/calls/CA9")).json()
    assert shown["turns"] == []
    metrics = (await http.get("/metrics")).text
    assert 'trunkline_refusals_total{door="phone",reason="full"} 1.0' in metrics
    assert 'trunkline_refusals_total{door="phone",reason="other"} 1.0' in metrics


def test_a_call_that_is_let_in_after_all_is_shown_as_it_went(collector: Collector) -> None:
    collector.take(refusal(1, call="CA1"))
    collector.take(turn(1))
    collector.take(ended(2))
    [history] = collector.calls.newest(10)
    assert call_view.brief(history)["result"] == "success"


def test_a_refusal_says_nothing_of_a_call_that_is_under_way(collector: Collector) -> None:
    collector.take(turn(1))
    collector.take(refusal(1, call="CA1"))
    [history] = collector.calls.newest(10)
    assert call_view.brief(history)["result"] is None


def test_a_flood_of_refusals_displaces_no_other_call(collector: Collector) -> None:
    collector.take(turn(1))
    for seq in range(1, 3_000):
        collector.take(refusal(seq, call=f"CB{seq}"))
    names = [history.call for history in collector.calls.newest(5_000)]
    assert len(names) == 1 + call_history.MAX_REFUSED
    assert names[-1] == "CA1"
    assert collector.totals.refusals["phone", "full"] == 2_999


@pytest.mark.parametrize("wrong", [{"call": 7}, {"call": "a b"}, {"door": "Front Door"}, {"reason": ""}, {"seq": 0}])
def test_a_refusal_that_is_malformed_is_refused(collector: Collector, wrong: dict[str, Any]) -> None:
    collector.take_datagram(json.dumps({**dataclasses.asdict(refusal(1)), **wrong}).encode())
    assert collector.totals.refused.total() == 1
    assert collector.totals.accepted == 0
