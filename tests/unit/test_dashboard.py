"""The page: its files and headers, what it is told, and that readers cost no more than one does."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from importlib import resources
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.unit.test_collector import Clock, deliver, ended, fares, heard, turn
from trunkline.core.wire import Mark, TurnOutcome
from trunkline.metrics import timeline
from trunkline.metrics.app import create_app
from trunkline.metrics.latency_collector import Collector
from trunkline.metrics.page import LISTED_CALLS
from trunkline.metrics.timeline import STEP_S, STEPS, Timeline

pytestmark = pytest.mark.unit

FOLDER = resources.files("trunkline.metrics") / "dashboard"
FILES = {entry.name: entry.read_text() for entry in FOLDER.iterdir()}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def collector(clock: Clock) -> Collector:
    return Collector(60.0, now=clock, now_wall=lambda: 1_790_000_000.0)


@pytest.fixture
async def http(collector: Collector) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(collector))
    async with httpx.AsyncClient(transport=transport, base_url="http://collector") as client:
        yield client


# --- files ---


@pytest.mark.parametrize(
    "path", ["/", "/page/app.js", "/page/live", "/page/calls/CA1", "/page/calls/CA9", "/page/none.js"]
)
async def test_everything_of_the_page_has_the_strict_headers(
    http: httpx.AsyncClient, collector: Collector, path: str
) -> None:
    deliver(collector, turn(1))
    headers = (await http.get(path)).headers
    policy = dict(part.strip().partition(" ")[::2] for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert {policy[source] for source in ("script-src", "style-src", "connect-src", "img-src")} == {"'self'"}
    assert {policy[each] for each in ("base-uri", "form-action", "frame-ancestors")} == {"'none'"}
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "access-control-allow-origin" not in headers


async def test_the_page_and_all_that_it_names_are_served(http: httpx.AsyncClient) -> None:
    page = await http.get("/")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    named = set(re.findall(r'(?:href|src)="(/page/[^"]+)"', page.text))
    named |= {f"/page/{name}" for text in FILES.values() for name in re.findall(r'from "\./([^"]+)"', text)}
    assert named == {f"/page/{name}" for name in FILES if name != "index.html"}
    types = {path: (await http.get(path)).headers["content-type"].partition(";")[0] for path in named}
    assert types["/page/app.js"] == "text/javascript"
    assert set(types.values()) == {"text/javascript", "text/css", "image/svg+xml"}


def test_nothing_is_loaded_from_elsewhere_and_nothing_is_inline() -> None:
    for name, text in FILES.items():
        addresses = set(re.findall(r"https?://[^\s\"')]+", text))
        assert addresses <= {"http://www.w3.org/2000/svg"}, name
    page = FILES["index.html"]
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|javascript:", page)


def test_foreign_text_never_becomes_markup() -> None:
    for name, text in FILES.items():
        if name.endswith(".js"):
            assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\(", text), (
                name
            )


@pytest.mark.parametrize("name", ["none.js", "..%2fapp.py", "%2e%2e%2fpage.py", "app.js%00"])
async def test_only_its_own_files_are_served(http: httpx.AsyncClient, name: str) -> None:
    assert (await http.get(f"/page/{name}")).status_code == 404


# --- what it is told ---


async def test_readers_share_one_set_of_figures_a_second(
    http: httpx.AsyncClient, collector: Collector, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []
    look = collector.look
    monkeypatch.setattr(collector, "look", lambda window_s: asked.append(clock.at) or look(window_s))
    answers = await asyncio.gather(*(http.get("/page/live") for _ in range(50)))
    assert len(asked) == 1
    assert len({answer.content for answer in answers}) == 1
    clock.at += 1.0
    await http.get("/page/live")
    assert len(asked) == 2


async def test_who_hangs_up_in_an_answer_has_not_barged_in(http: httpx.AsyncClient, collector: Collector) -> None:
    deliver(collector, turn(1, outcome=TurnOutcome.INTERRUPTED))
    live = (await http.get("/page/live")).json()
    assert (live["window"]["turns"], live["window"]["barge_ins"], live["totals"]["barge_ins"]) == (1, 0, 0)
    assert collector.totals.turns[TurnOutcome.INTERRUPTED] == 1


async def test_the_figures_of_the_window_and_since_the_start(
    http: httpx.AsyncClient, collector: Collector, clock: Clock
) -> None:
    deliver(collector, turn(1, 120), ended(2))
    clock.at += 61
    cut = {**turn(1).marks_us, Mark.BARGE_IN: 2_000_000, Mark.PLAYBACK_STOP: 2_090_000}
    deliver(
        collector,
        turn(3, outcome=TurnOutcome.INTERRUPTED, marks_us=cut),
        turn(4, outcome="unanswered"),
        heard(1),
        fares(1),
    )
    live = (await http.get("/page/live")).json()
    window = {key: live["window"][key] for key in ("window_sec", "calls", "turns", "unanswered", "barge_ins")}
    assert window == {"window_sec": 60, "calls": 0, "turns": 2, "unanswered": 1, "barge_ins": 1}
    assert live["window"]["roundtrip"]["avg_ms"] == 520
    assert live["durations"]["barge_in"]["p50_ms"] == 90
    assert live["durations"]["response_heard"]["count"] == 1
    assert live["totals"] == {"calls": 1, "turns": 3, "answered": 2, "barge_ins": 1, "refused": 0}
    assert live["workers"] == [
        {"worker": "w", "host": "h", "calls": 3, "capacity": 25, "draining": False, "loop_lag_ms": 1.5,
         "late_ticks": 0, "dropped_ticks": 0}
    ]  # fmt: skip
    assert [(point["ago_s"], point["p50_ms"]) for point in live["chart"]["response"]] == [(71.0, 120), (11.0, 120)]


async def test_the_last_calls_are_listed_up_to_a_bound(http: httpx.AsyncClient, collector: Collector) -> None:
    for seq in range(1, LISTED_CALLS + 11):
        deliver(collector, turn(seq, call=f"CA{seq}"))
    deliver(collector, ended(seq + 1, call="CA7", result="server_error", reason="media_failed", ended_us=2_000_001))
    calls = (await http.get("/page/live")).json()["calls"]
    assert len(calls) == LISTED_CALLS
    assert calls[0] == {
        "call": "CA7", "heard_of_wall": 1_790_000_000.0, "worker": "w", "kind": "phone", "result": "server_error",
        "reason": "media_failed", "turns": 1, "barge_ins": 0, "length_ms": 2000,
    }  # fmt: skip
    assert (calls[1]["call"], calls[1]["result"], calls[1]["length_ms"]) == (f"CA{LISTED_CALLS + 10}", None, None)


async def test_a_call_is_told_turn_by_turn_on_one_clock(http: httpx.AsyncClient, collector: Collector) -> None:
    later = {mark: at_us + 5_000_000 for mark, at_us in turn(1).marks_us.items()}
    deliver(collector, turn(2, marks_us=later, understood="<b>order</b>"), turn(1), heard(1), ended(3))
    call: dict[str, Any] = (await http.get("/page/calls/CA1")).json()
    assert [each["turn"] for each in call["turns"]] == [1, 2]
    assert [each["at_ms"] for each in call["turns"]] == [0, 5000]
    second = call["turns"][1]
    assert second["understood"] == "<b>order</b>"
    assert (second["roundtrip_ms"], second["response_ms"], second["response_heard_ms"]) == (520, 120, None)
    assert call["turns"][0]["response_heard_ms"] == -10
    ends = [stage["from_ms"] + stage["ms"] for stage in second["stages"]]
    assert [stage["from_ms"] for stage in second["stages"]] == [0, *ends[:-1]]
    assert ends[-1] == second["roundtrip_ms"] == second["marks_ms"]["PlaybackStart"]
    assert call["answered_after_ms"] == 0.001


async def test_instants_of_another_host_and_turns_without_marks_are_not_placed(
    http: httpx.AsyncClient, collector: Collector
) -> None:
    deliver(collector, turn(1), turn(2, host="other"), turn(3, marks_us={}, outcome="unanswered"))
    turns = (await http.get("/page/calls/CA1")).json()["turns"]
    assert [each["at_ms"] for each in turns] == [0, None, None]
    assert [bool(each["stages"]) for each in turns] == [True, True, False]


@pytest.mark.parametrize("call", ["CA9", "a%20b", "x" * 500])
async def test_an_unknown_call_is_not_found(http: httpx.AsyncClient, call: str) -> None:
    assert (await http.get(f"/page/calls/{call}")).status_code == 404


# --- over time ---


def test_a_step_is_kept_as_its_percentiles() -> None:
    line = Timeline()
    for value in range(1, 101):
        line.add_all([value * 1_000], 30.0)
    line.add_all([7_000], 30.0 + STEP_S)
    assert line.points(31.0 + STEP_S) == [
        {"ago_s": 1.0 + STEP_S, "count": 100, "p50_ms": 50, "p95_ms": 95},
        {"ago_s": 1.0, "count": 1, "p50_ms": 7, "p95_ms": 7},
    ]


def test_steps_without_samples_are_left_out_and_old_ones_go() -> None:
    line = Timeline()
    line.add_all([1_000], 0.0)
    line.add_all([2_000], 10.0 * STEP_S)
    assert [point["p50_ms"] for point in line.points(11.0 * STEP_S)] == [1, 2]
    assert [point["p50_ms"] for point in line.points(STEPS * STEP_S)] == [2]
    assert line.points(1_000_000.0) == []


def test_a_long_and_busy_run_takes_no_more_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline, "MAX_SAMPLES", 3)
    line = Timeline()
    for tick in range(STEPS * 5):
        for _ in range(2):
            line.add_all(list(range(10)), float(tick * STEP_S))
    points = line.points(float(STEPS * 5 * STEP_S))
    assert len(points) == STEPS - 1
    assert {point["count"] for point in points} == {3}


# --- the scripts ---


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_charts_arithmetic(tmp_path: Path) -> None:
    """Round ticks around all values, lines that do not bridge silence, and an axis no longer than needed."""
    script = """
      const { ticks, runs, reach } = await import(process.argv[1]);
      const points = [200, 185, 100, 90, 0].map((ago_s) => ({ ago_s }));
      console.log(JSON.stringify([
        ticks(0, 380), ticks(-120, 300), ticks(0, 0),
        runs(points, 60).map((run) => run.length), runs([]),
        reach(points, 900), reach([{ ago_s: 30 }], 900), reach([{ ago_s: 890 }], 900),
      ]));
    """
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    command = ["node", "--input-type=module", "--eval", script, str(tmp_path / "chart.js")]
    done = subprocess.run(command, capture_output=True, timeout=15, check=True, text=True)
    assert done.stdout.strip() == ("[[0,100,200,300,400],[-200,0,200,400],[0,0.25,0.5,0.75,1],[2,2,1],[],300,120,900]")
