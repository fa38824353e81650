"""A load test's report: the page and its pictures, a run read again, two runs compared, usage and impairments."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import wave
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from trunkline.cli.phone_door import read_codes
from trunkline.core.errors import ConfigError
from trunkline.core.units import SAMPLE_RATE_HZ
from trunkline.loadtest.bursts import make_bursts, read_recording
from trunkline.loadtest.callers import Outcome, PlacedCall
from trunkline.loadtest.compare import compare
from trunkline.loadtest.conversation import CallerTurn
from trunkline.loadtest.impairing import added_ms, impairment_of
from trunkline.loadtest.ledger import Standing
from trunkline.loadtest.load_test import finish
from trunkline.loadtest.options import Limits, LoadOptions, Via
from trunkline.loadtest.pacing import Pacing
from trunkline.loadtest.page import write_diff_page, write_page
from trunkline.loadtest.progress import shown
from trunkline.loadtest.recorded import read_run
from trunkline.loadtest.report import write_files
from trunkline.loadtest.result import LoadResult
from trunkline.loadtest.summary import summary
from trunkline.loadtest.usage import Sample, Sampler
from trunkline.loadtest.voice import write_wav
from trunkline.testing.speech import silence, tone
from trunkline.testing.virtual_time import in_virtual_time
from trunkline.testing.voice_code import Decoder, encode

pytestmark = pytest.mark.unit


def write_run(folder: Path, add_ms: float = 0.0, calls: int = 12, turns: int = 4, **more: Any) -> Path:
    """A run whose RoundTrips vary by call and turn, all `add_ms` later than without."""
    rng = np.random.default_rng(0)
    placed = []
    for number in range(1, calls + 1):
        spoken = []
        for turn in range(turns):
            start_us = 10_000_000 * (turn + 1) + number * 1_000
            heard_us = start_us + round((450 + rng.normal(0, 20) + add_ms) * 1_000)
            spoken.append(CallerTurn("<b>hello</b>", False, start_us, start_us + 2_000_000, heard_us))
        placed.append(
            PlacedCall(
                f"web-{number}", number, spoken, answered_us=5_000_000, ended_us=90_000_000, outcome=Outcome.COMPLETED
            )
        )
    folder.mkdir()
    options = LoadOptions(concurrency=calls, turns=turns, phrase="<b>hello</b>")
    result = LoadResult(options, "emulated", placed, Pacing(), mcore={"agent": 100.0}, mib={"agent": 50.0}, **more)
    write_files(folder, result, summary(result))
    return folder


class _Page(HTMLParser):
    """Collects what a page names and what it would load."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.loaded: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.loaded += [
            value or "" for name, value in attrs if name in ("src", "href") and not (value or "").startswith("#")
        ]
        self.open.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_page_needs_no_other_file_and_escapes_what_callers_say(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", note="<script>alert(1)</script>")
    source = write_page(read_run(folder)).read_text()
    assert "var(--ink)" in source.partition("<main>")[2]  # pictures, too, have the page's colours
    assert "#20242c" not in source.partition("<main>")[2]
    page = _Page(source)
    assert page.loaded == []
    assert "script" not in page.open
    assert "b" in page.open  # our own, not the phrase's
    assert "<b>hello</b>" in page.text
    assert page.open.count("svg") == 3
    assert len(set(page.ids)) == len(page.ids)
    assert "http" not in re.sub(
        r'xmlns(:\w+)?="[^"]*"', "", re.sub(r"<metadata>.*?</metadata>", "", source, flags=re.S)
    )


def test_run_is_read_again_and_its_pictures_are_made(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    run = read_run(folder)
    assert len(run.turns) == 48
    assert run.turns[0].at_s == 0.0
    write_page(run)
    pictures = {path.name for path in folder.glob("*.png")}
    assert pictures == {"roundtrip.png", "over_time.png", "cpu.png"}
    assert all((folder / name).read_bytes().startswith(b"\x89PNG") for name in pictures)


def test_page_of_a_run_without_answers_has_no_pictures_and_tells_why(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    call = PlacedCall("", 1, problem="503 full", outcome=Outcome.REFUSED)
    result = LoadResult(LoadOptions(concurrency=1, turns=1), "emulated", [call], Pacing())
    assert finish(folder, result, Limits(), write=lambda _: None) == 1
    page = _Page((folder / "report.html").read_text())
    assert page.open.count("svg") == 0
    assert "the call was refused: 503 full" in page.text
    figures = json.loads((folder / "summary.json").read_text())
    assert (figures["cpu_mcore"], figures["rss_mib"], figures["roundtrip_ms"]["avg"]) == (None, None, None)


@pytest.mark.parametrize("broken", ["", "{}", "[1]", '{"roundtrip_ms": 1}'])
def test_folder_that_is_no_run_is_one_clear_error(tmp_path: Path, broken: str) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_run(tmp_path / "none")
    folder = write_run(tmp_path / "run")
    (folder / "summary.json").write_text(broken)
    with pytest.raises(ConfigError, match="not a load test's run"):
        read_run(folder)


# Two runs


def test_two_runs_that_differ_by_chance_alone_are_called_noise(tmp_path: Path) -> None:
    a, b = write_run(tmp_path / "a"), write_run(tmp_path / "b", add_ms=1.0)
    lines = {line.name: line for line in compare(read_run(a), read_run(b)).lines}
    assert lines["RoundTrip, ear avg"].verdict == "noise"
    assert lines["RoundTrip, ear avg"].difference == pytest.approx(1.0, abs=0.01)


def test_run_that_is_slower_is_called_so_with_an_interval(tmp_path: Path) -> None:
    a, b = read_run(write_run(tmp_path / "a")), read_run(write_run(tmp_path / "b", add_ms=40.0))
    slower, faster = compare(a, b), compare(b, a)
    assert {line.verdict for line in slower.lines if line.interval} == {"slower"}
    assert {line.verdict for line in faster.lines if line.interval} == {"faster"}
    [average] = [line for line in slower.lines if line.name == "RoundTrip, ear avg"]
    low, high = map(float, re.findall(r"[+-]\d+", average.interval))
    assert low <= 40 <= high
    assert "RoundTrip, ear avg" in slower.text()


def test_other_differences_are_told(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", machine={"cores": 2}, versions={"livekit-server": "1.13.5"})
    b = write_run(tmp_path / "b", machine={"cores": 4}, versions={"livekit-server": None}, calls=11)
    comparison = compare(read_run(a), read_run(b))
    assert comparison.told == [
        "machine, cores: 2 → 4",
        "versions, livekit-server: 1.13.5 → none",
        "options, concurrency: 12 → 11",
    ]
    page = _Page(write_diff_page(tmp_path, comparison).read_text())
    assert page.open.count("svg") == 1
    assert "machine, cores: 2 → 4" in page.text


def test_runs_of_one_call_have_no_interval(tmp_path: Path) -> None:
    a, b = (write_run(tmp_path / name, calls=1) for name in ("a", "b"))
    assert not any(line.interval for line in compare(read_run(a), read_run(b)).lines)


# Usage


def test_usage_is_measured_between_two_instants() -> None:
    sampler = Sampler({})
    sampler.samples = [
        Sample(0.0, {"agent": 0.0}, {"agent": 10_240}),
        Sample(1.0, {"agent": 0.5}),
        Sample(2.0, {"agent": 0.75}, {"agent": 20_480}),
        Sample(3.0, {"agent": 1.0, "late": 0.1}),
        Sample(9.0, {"agent": 7.0}),
    ]
    assert sampler.between(1.0, 3.0) == ({"agent": 250.0, "late": 50.0}, {"agent": 20.0, "late": 0.0})
    assert sampler.between(4.0, 8.0) == ({}, {})


def test_usage_of_this_process_and_its_child_is_seen() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        sampler = Sampler({"agent-1": os.getpid(), "agent-2": child.pid})
        sampler.look(memory=True)
        [sample] = sampler.samples
        assert set(sample.cpu_s) == {"agent"}
        assert sample.cpu_s["agent"] > 0
        assert sample.kib["agent"] > 10_000
    finally:
        child.communicate(b"\n")


def test_processes_that_are_gone_use_nothing() -> None:
    sampler = Sampler({"gone": 2**22 + 1})
    sampler.look(memory=True)
    assert dict(sampler.samples[0].cpu_s) == {"gone": 0.0}


# Progress


def standing() -> Standing:
    return Standing(placed=4, up=3, over=1, answered=7, avg_ms=412.4, lost=1)


@in_virtual_time
async def test_progress_is_a_plain_line_every_five_seconds_without_a_terminal() -> None:
    said: list[str] = []
    async with shown(standing, 10, 0.0, said.append, Console(file=StringIO())) as tell:
        await asyncio.sleep(11.0)
        tell("call 2 lost: room closed")
    line = "3 up of 4 placed, 7 turns answered, RoundTrip avg 412 ms, 1 lost"
    assert said == [line, line, "call 2 lost: room closed"]


@in_virtual_time
async def test_progress_is_a_bar_with_the_same_figures_on_a_terminal() -> None:
    drawn = StringIO()
    console = Console(file=drawn, force_terminal=True, width=120, highlight=False)
    async with shown(standing, 10, 0.0, pytest.fail, console) as tell:
        await asyncio.sleep(1.2)
        tell("call 2 lost: [room] closed")
    assert "7 turns answered, RoundTrip avg 412 ms, 1 lost" in drawn.getvalue()
    assert "call 2 lost: [room] closed" in drawn.getvalue()


# What callers say and on which lines


async def test_a_recording_at_any_rate_is_spoken_with_a_number_of_its_own(tmp_path: Path) -> None:
    stereo = np.repeat(np.concatenate([silence(0.5), tone(1.0), silence(0.5)])[::2], 2)  # 8 kHz, both channels alike
    wav = tmp_path / "said.wav"
    with wave.open(str(wav), "wb") as target:
        target.setnchannels(2)
        target.setsampwidth(2)
        target.setframerate(SAMPLE_RATE_HZ // 2)
        target.writeframes(stereo.tobytes())
    bursts = await make_bursts(LoadOptions(concurrency=2, wav=wav), tmp_path, numbered=True)
    assert bursts.words == ""
    assert bursts.longest_s == pytest.approx(1.0, abs=0.03)
    read = []
    for own in bursts.wavs:
        for path in own:
            sighting = Decoder().feed(read_recording(path))
            read.append(sighting.sentence_id if sighting else None)
    assert read == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"no wave at all, by far", "file does not start with RIFF"), (b"", "cut off"), (None, "No such file")],
)
def test_recording_that_cannot_be_spoken_is_one_clear_error(
    tmp_path: Path, content: bytes | None, problem: str
) -> None:
    wav = tmp_path / "said.wav"
    if content is not None:
        wav.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"--wav .*{problem}"):
        read_recording(wav)


def test_silent_recording_is_refused(tmp_path: Path) -> None:
    write_wav(tmp_path / "said.wav", silence(1.0))
    with pytest.raises(ConfigError, match="no sound"):
        read_recording(tmp_path / "said.wav")


def test_numbers_are_read_in_the_recording_of_a_phone_call(tmp_path: Path) -> None:
    voice = encode(77, tone(1.0, hz=300.0))[::2]  # a telephone's 8 kHz
    heard = np.concatenate([np.zeros(8_000, np.int16), voice, np.zeros(8_000, np.int16)])
    with wave.open(str(tmp_path / "call.wav"), "wb") as target:
        target.setnchannels(2)
        target.setsampwidth(2)
        target.setframerate(8_000)
        target.writeframes(np.column_stack([np.roll(heard, 4_000) * 0, heard]).astype("<i2").tobytes())
    [found] = read_codes(tmp_path / "call.wav", 5_000_000)
    assert found.code == 77
    assert found.at_us == pytest.approx(6_000_000, abs=30_000)


def test_bad_lines_are_read_from_the_options(tmp_path: Path) -> None:
    assert impairment_of("", "", 7) is None
    found = impairment_of("loss=2%,sent.delay=40ms,jitter=10ms", "babble/-50dBov", 7)
    assert found is not None
    assert (found.seed, found.received.loss, found.noise and found.noise.level_dbov) == (7, 0.02, -50)
    assert added_ms(found) == 40 + 3 * 10 + 3 * 10
    write_wav(tmp_path / "street.wav", tone(0.5))
    street = impairment_of("seed=9", f"{tmp_path}/street.wav", 7)
    assert street is not None
    assert street.seed == 9
    assert street.noise is not None
    assert street.noise.pcm is not None


@pytest.mark.parametrize(("impair", "noise"), [("los=2%", ""), ("", "rain/-40dBov"), ("", "given/-40dBov")])
def test_bad_lines_that_cannot_be_read_are_refused(impair: str, noise: str) -> None:
    with pytest.raises(ConfigError):
        impairment_of(impair, noise, 0)


def test_python_sdk_callers_have_no_bad_lines() -> None:
    with pytest.raises(ConfigError, match="--via webrtc"):
        LoadOptions(via=Via.SDK, impair="loss=2%")
