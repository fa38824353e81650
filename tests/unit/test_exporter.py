"""Prometheus' view: values after given records, closed labels, and rules that name only what exists."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_plain

from tests.unit.test_collector import Clock, deliver, ended, fares, heard, turn
from trunkline.core.wire import Mark, TurnOutcome
from trunkline.metrics import workers
from trunkline.metrics.app import create_app
from trunkline.metrics.exporter import Exporter
from trunkline.metrics.histogram import Histogram
from trunkline.metrics.latency_collector import Collector

pytestmark = pytest.mark.unit

CONFIG = Path(__file__).parents[2] / "config"


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


def read(collector: Collector) -> dict[str, float]:
    """All samples by name and labels, as Prometheus reads them."""
    text = Exporter(collector).page("")[0].decode()
    return {key(sample.name, sample.labels): sample.value for each in parse_plain(text) for sample in each.samples}


def key(name: str, labels: dict[str, str]) -> str:
    return name + ("{" + ",".join(f'{label}="{labels[label]}"' for label in sorted(labels)) + "}" if labels else "")


def names(collector: Collector) -> set[str]:
    return {name.partition("{")[0] for name in read(collector)}


def test_durations_go_into_buckets_of_seconds(collector: Collector) -> None:
    deliver(collector, turn(1, 120), turn(2, 250), turn(3, 11_000), heard(1))
    found = read(collector)
    buckets = {bound: found[f'trunkline_response_seconds_bucket{{le="{bound}"}}'] for bound in (0.1, 0.15, 0.25, 10.0)}
    assert buckets == {0.1: 0, 0.15: 1, 0.25: 2, 10.0: 2}
    assert found['trunkline_response_seconds_bucket{le="+Inf"}'] == found["trunkline_response_seconds_count"] == 3
    assert found["trunkline_response_seconds_sum"] == pytest.approx(11.37)
    assert found["trunkline_roundtrip_seconds_sum"] == pytest.approx(11.37 + 3 * 0.4)
    assert found["trunkline_roundtrip_heard_seconds_sum"] == pytest.approx(0.07)
    assert found['trunkline_stage_seconds_bucket{le="0.05",stage="STTFinal"}'] == 3
    assert found['trunkline_stage_seconds_sum{stage="SpeechEnd"}'] == pytest.approx(1.2)


def test_the_stages_take_as_long_as_the_round_trips(collector: Collector) -> None:
    deliver(collector, turn(1, 120), turn(2, 340, outcome=TurnOutcome.INTERRUPTED))
    found = read(collector)
    stages = sum(value for name, value in found.items() if name.startswith("trunkline_stage_seconds_sum"))
    assert stages == pytest.approx(found["trunkline_roundtrip_seconds_sum"])


def test_an_answer_before_the_end_of_speech_does_not_make_the_sum_fall(collector: Collector) -> None:
    deliver(collector, turn(1, -100, policy="first_partial"))
    found = read(collector)
    assert found['trunkline_response_seconds_bucket{le="0.0"}'] == 1
    assert found["trunkline_response_seconds_sum"] == 0


@pytest.mark.parametrize(("duration_s", "index"), [(-1.0, 0), (0.1, 0), (0.11, 1), (0.2, 1), (0.21, 2)])
def test_a_bound_belongs_to_its_bucket(duration_s: float, index: int) -> None:
    histogram = Histogram((0.1, 0.2))
    histogram.add_all([duration_s])
    assert histogram.counts.index(1) == index


def test_calls_turns_and_barge_ins_are_counted(collector: Collector) -> None:
    cut = {**turn(1).marks_us, Mark.BARGE_IN: 2_000_000, Mark.PLAYBACK_STOP: 2_090_000}
    deliver(collector, turn(1), turn(2, outcome=TurnOutcome.INTERRUPTED, marks_us=cut), turn(3, outcome="unanswered"))
    deliver(collector, ended(4), ended(5, result="server_error", reason="media_failed"), ended(6, reason="lease_lost"))
    found = read(collector)
    assert found['trunkline_calls_total{reason="caller_hung_up",result="success"}'] == 1
    assert found['trunkline_calls_total{reason="media_failed",result="server_error"}'] == 1
    assert sum(value for name, value in found.items() if name.startswith("trunkline_calls_total")) == 2
    outcomes = {outcome: found[f'trunkline_turns_total{{outcome="{outcome}"}}'] for outcome in TurnOutcome}
    assert outcomes == {"answered": 1, "interrupted": 1, "unanswered": 1}
    assert found["trunkline_barge_ins_total"] == 1
    assert found['trunkline_barge_in_seconds_bucket{le="0.1"}'] == 1


def test_what_became_of_events_is_told_by_reason(collector: Collector) -> None:
    deliver(collector, turn(1), turn(1), turn(4))
    for bad in (b"x", b"x" * 9_000, b"[]", b'{"type":"nap"}', b'{"type":"turn"}', b'{"type":"turn","call":"a b"}'):
        collector.take_datagram(bad)
    found = read(collector)
    refused = {name: value for name, value in found.items() if name.startswith("trunkline_events_refused_total")}
    reasons = {"call": 2, "not_json": 1, "not_object": 1, "too_long": 1, "type": 1}
    assert refused == {f'trunkline_events_refused_total{{reason="{reason}"}}': n for reason, n in reasons.items()}
    assert (found["trunkline_events_accepted_total"], found["trunkline_events_duplicate_total"]) == (2, 1)
    assert (found["trunkline_events_lost"], found["trunkline_records_dropped_total"]) == (2, 0)


def test_a_wrong_mark_is_refused_under_the_name_of_its_field(collector: Collector) -> None:
    deliver(
        collector, turn(1, marks_us={Mark.SPEECH_START: 9, Mark.SPEECH_END: 1}), turn(2, marks_us={"SpeechEnd": -1})
    )
    assert collector.totals.refused == {"marks_us": 2}


def test_strangers_words_make_no_new_series(collector: Collector) -> None:
    before = set(read(collector))
    for seq in range(1, 50):
        word = f"word-{seq}"
        deliver(collector, ended(seq, call=f"CA{seq}", result=word, reason=word, sender=word, worker=word, kind=word))
        deliver(collector, turn(seq, call=f"CA{seq}", sender=f"w{seq}", worker=word, policy=word))
    assert set(read(collector)) == before
    assert read(collector)['trunkline_calls_total{reason="other",result="other"}'] == 49


def test_workers_their_calls_and_their_room_count_while_they_are_heard_of(
    collector: Collector, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "MAX_WORKERS", 2)

    def now() -> tuple[float, ...]:
        found = read(collector)
        return tuple(found[f"trunkline_{name}"] for name in ("workers", "calls_now", "calls_capacity"))

    deliver(collector, fares(1), turn(1))
    clock.at += workers.ALIVE_S - 1
    deliver(collector, fares(1, "b", calls=5, draining=True))
    assert now() == (2, 8, 25)
    clock.at += 2
    assert now() == (1, 5, 0)
    deliver(collector, fares(1, "c"), fares(1, "d"))
    assert now() == (2, 6, 50)


def test_breakers_are_counted_by_provider_and_state(collector: Collector) -> None:
    deliver(
        collector,
        fares(1, "a", providers={"stt:deepgram": "open", "tts:cartesia": "closed"}),
        fares(1, "b", providers={"stt:deepgram": "closed", "tts:cartesia": "closed"}),
    )
    found = {key: value for key, value in read(collector).items() if key.startswith("trunkline_provider_breakers")}
    assert found == {
        'trunkline_provider_breakers{provider="stt:deepgram",state="closed"}': 1,
        'trunkline_provider_breakers{provider="stt:deepgram",state="open"}': 1,
        'trunkline_provider_breakers{provider="tts:cartesia",state="closed"}': 2,
    }


def test_loop_lag_and_missed_frame_deadlines_add_up_over_restarts(collector: Collector) -> None:
    deliver(collector, fares(1, late_ticks=100, dropped_ticks=9), fares(3, late_ticks=130, dropped_ticks=10))
    deliver(collector, fares(2, late_ticks=120), fares(4, late_ticks=5, dropped_ticks=10))
    deliver(collector, fares(1, sender="w.2", late_ticks=50), fares(2, sender="w.2", late_ticks=51, loop_lag_us=30_000))
    found = read(collector)
    missed = {
        where: found[f'trunkline_frame_deadlines_missed_total{{where="{where}"}}'] for where in ("engine", "worker")
    }
    # 30 before the media engine began anew, 5 since then; 1 of the worker that came after.
    assert missed == {"engine": 36, "worker": 1}
    assert found["trunkline_loop_lag_seconds_count"] == 5
    assert found['trunkline_loop_lag_seconds_bucket{le="0.02"}'] == 4
    assert found["trunkline_loop_lag_seconds_sum"] == pytest.approx(4 * 0.0015 + 0.03)


async def test_both_formats_of_prometheus_are_served(http: httpx.AsyncClient, collector: Collector) -> None:
    deliver(collector, turn(1), heard(1), ended(2))
    plain = await http.get("/metrics")
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    openmetrics = await http.get("/metrics", headers={"accept": "application/openmetrics-text;version=1.0.0"})
    assert openmetrics.headers["content-type"].startswith("application/openmetrics-text")
    strict = {family.name for family in parse_openmetrics(openmetrics.text)}
    assert strict == {family.name.removesuffix("_total") for family in parse_plain(plain.text)}


# --- rules ---


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((CONFIG / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_a_rule_asks_for_metrics_and_labels_that_exist(rule: dict[str, Any], collector: Collector) -> None:
    collector.take_datagram(b"x")
    found = read(collector)
    asked = set(re.findall(r"\btrunkline_\w+", rule["expr"]))
    assert asked <= names(collector)
    assert asked or "up{" in rule["expr"]
    for metric, label in re.findall(r"\b(trunkline_\w+)\{(\w+=\"\w+\")\}", rule["expr"]):
        assert any(name.startswith(metric + "{") and label in name for name in found)
    for label in re.findall(r"sum by \((\w+)\)", rule["expr"]) + re.findall(r"\$labels\.(\w+)", str(rule)):
        assert any(name.startswith(tuple(asked)) and f"{label}=" in name for name in found)
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert set(rule["annotations"]) == {"summary", "description"}


def test_prometheus_scrapes_the_port_of_the_collector_and_loads_the_rules() -> None:
    config = yaml.safe_load((CONFIG / "prometheus.yml").read_text())
    assert config["rule_files"] == ["alerts.yml"]
    (job,) = config["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["localhost:9100"]}]
    gone = next(rule for rule in rules() if rule["alert"] == "CollectorGone")
    assert f'job="{job["job_name"]}"' in gone["expr"]
