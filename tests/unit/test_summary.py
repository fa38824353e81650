"""Questions to the collector about one metric, one call or one worker, and about the stages."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.unit.test_collector import deliver, ended, heard, turn
from trunkline.core.latency import METRICS
from trunkline.core.wire import Mark, TurnOutcome
from trunkline.metrics.app import create_app
from trunkline.metrics.latency_collector import Collector

pytestmark = pytest.mark.unit

SIX = ["window_sec", "count", "avg_ms", "p50_ms", "p95_ms", "p99_ms"]


@pytest.fixture
def collector() -> Collector:
    return Collector(60.0, now=lambda: 1_000.0)


@pytest.fixture
async def http(collector: Collector) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(collector))
    async with httpx.AsyncClient(transport=transport, base_url="http://collector") as client:
        yield client


@pytest.mark.parametrize("metric", METRICS)
async def test_every_metric_has_the_six_keys_also_where_nothing_happened(http: httpx.AsyncClient, metric: str) -> None:
    answer = (await http.get("/summary", params={"metric": metric})).json()
    assert list(answer) == SIX
    assert list(answer.values()) == [60, 0, None, None, None, None]


async def test_a_metric_alone_tells_the_same_as_the_whole_summary(
    http: httpx.AsyncClient, collector: Collector
) -> None:
    deliver(collector, turn(1, 120), turn(2, 240), heard(1))
    whole = (await http.get("/summary")).json()
    for name, expected in {
        "roundtrip": {key: whole[key] for key in SIX},
        "response": whole["response"],
        "roundtrip_heard": whole["roundtrip_heard"],
        "response_heard": whole["response_heard"],
        "stage:STTFinal": whole["stages"]["STTFinal"],
    }.items():
        answer = (await http.get("/summary", params={"metric": name})).json()
        assert answer == {"window_sec": 60, **expected}


async def test_barge_in_runs_from_the_interruption_to_the_last_packet(
    http: httpx.AsyncClient, collector: Collector
) -> None:
    usual = turn(1).marks_us
    cut = {**usual, Mark.BARGE_IN: 2_000_000, Mark.PLAYBACK_STOP: 2_090_000}
    over = {**usual, Mark.BARGE_IN: 2_000_000, Mark.PLAYBACK_STOP: 1_990_000}
    deliver(collector, turn(1, marks_us=cut, outcome=TurnOutcome.INTERRUPTED), turn(2, marks_us=over), turn(3))
    answer = (await http.get("/summary?metric=barge_in")).json()
    assert (answer["count"], answer["avg_ms"]) == (1, 90)


@pytest.mark.parametrize(
    ("query", "field"),
    [("metric=latency", "metric"), ("metric=", "metric"), ("metric=stage:Nap", "metric"), ("call=a%20b", "call"),
     ("call=", "call"), ("worker=", "worker"), ("worker=" + "w" * 201, "worker")],
)  # fmt: skip
async def test_a_wrong_question_is_refused_in_one_line(http: httpx.AsyncClient, query: str, field: str) -> None:
    answer = await http.get(f"/summary?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(f"{field}: ")
    assert "\n" not in answer.json()["error"]


async def test_a_call_and_a_worker_can_be_looked_at_alone(http: httpx.AsyncClient, collector: Collector) -> None:
    deliver(collector, turn(1, 100, call="CA1"), turn(2, 200, call="CA2"), turn(3, 300, call="CA3", worker="w2"))
    deliver(collector, ended(4, call="CA3", worker="w2"))

    async def look(query: str) -> tuple[int, float | None, int, int]:
        found = (await http.get(f"/summary?{query}")).json()
        return found["count"], found["response"]["avg_ms"], found["turns"], found["calls"]

    assert await look("call=CA2") == (1, 200, 1, 0)
    assert await look("worker=w") == (2, 150, 2, 0)
    assert await look("worker=w2") == (1, 300, 1, 1)
    assert await look("worker=w2&call=CA1") == (0, None, 0, 0)
    assert await look("call=CA404") == (0, None, 0, 0)
    assert (await http.get("/summary?metric=response&worker=w2")).json()["avg_ms"] == 300


async def test_what_a_caller_heard_belongs_to_the_worker_of_its_call(
    http: httpx.AsyncClient, collector: Collector
) -> None:
    deliver(collector, heard(1, call="CA1"), heard(2, call="CA2"), turn(1, call="CA1"), turn(2, call="CA2", worker="x"))
    assert (await http.get("/summary?metric=roundtrip_heard&worker=w")).json()["count"] == 1
    assert (await http.get("/summary?metric=roundtrip_heard&call=CA2")).json()["count"] == 1
    assert (await http.get("/summary?metric=roundtrip_heard")).json()["count"] == 2


async def test_the_shares_of_the_stages_add_up(http: httpx.AsyncClient, collector: Collector) -> None:
    with_partial = {**turn(1).marks_us, Mark.STT_PARTIAL: 1_200_000}
    deliver(collector, turn(1, 120), turn(2, 120, policy="first_partial", marks_us=with_partial))
    found = (await http.get("/stages")).json()
    assert list(found) == ["window_sec", "roundtrip", "stages"]
    assert found["roundtrip"]["avg_ms"] == 520
    assert list(found["stages"]["STTPartial"]) == ["count", "avg_ms", "p50_ms", "p95_ms", "p99_ms", "share"]
    assert (found["stages"]["STTPartial"]["count"], found["stages"]["STTPartial"]["avg_ms"]) == (1, 200)
    shares = {name: stage["share"] for name, stage in found["stages"].items()}
    assert shares == pytest.approx(
        {"STTPartial": 200 / 1040, "SpeechEnd": 600 / 1040, "STTFinal": 100 / 1040, "AgentDecision": 20 / 1040,
         "TTSFirstByte": 80 / 1040, "PlaybackStart": 40 / 1040}, abs=1e-4,
    )  # fmt: skip
    assert sum(shares.values()) == pytest.approx(1, abs=1e-3)


async def test_stages_of_nothing_have_no_shares(http: httpx.AsyncClient) -> None:
    found = (await http.get("/stages?call=CA1")).json()
    assert {stage["share"] for stage in found["stages"].values()} == {None}
