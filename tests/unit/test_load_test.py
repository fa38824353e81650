"""The load test's arithmetic, its callers on a line that is none, and what its report says and does not hide."""

from __future__ import annotations

import asyncio
import csv
import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trunkline.agent.pipeline.phrases import load_phrases
from trunkline.core.errors import CallError, ConfigError
from trunkline.core.units import SAMPLE_RATE_HZ, Pcm, s_to_us
from trunkline.core.wire import Mark, TurnOutcome, TurnRecord
from trunkline.loadtest import callers, report
from trunkline.loadtest.caller_process import Job
from trunkline.loadtest.callers import CallerLine, Outcome, PlacedCall, run_callers
from trunkline.loadtest.conversation import CallerTurn
from trunkline.loadtest.ear import CodeEar, Ear, HeardCode, burst, sound_only
from trunkline.loadtest.figures import figures, most_at_once
from trunkline.loadtest.ledger import Ledger
from trunkline.loadtest.load_test import finish
from trunkline.loadtest.options import DEFAULT_PHRASE, Limits, LoadOptions, Target, speech_label
from trunkline.loadtest.pacing import Pacing
from trunkline.loadtest.phone import (
    CallEnded,
    CallRefusedError,
    HeardStart,
    HeardStop,
    PhoneEvent,
    PlayEnd,
    PlayStart,
)
from trunkline.loadtest.report import turns_csv
from trunkline.loadtest.result import LoadResult
from trunkline.loadtest.summary import summary
from trunkline.loadtest.talking import Order, Script
from trunkline.settings import load_settings
from trunkline.testing.speech import silence, tone
from trunkline.testing.virtual_time import in_virtual_time
from trunkline.testing.voice_code import Bed

pytestmark = pytest.mark.unit

SCRIPT = Script("hello there", 1.0, 2)
ORDER = Order(1, 0.0, (Path("burst.wav"),))


# The ear


def hear(ear: Ear, sound: Pcm, began_us: int = 0) -> list[HeardStart | HeardStop]:
    found: list[HeardStart | HeardStop] = []
    for start in range(0, sound.size, 320):
        found += ear.listen(sound[start : start + 320], began_us + (start + 320) * 1_000_000 // SAMPLE_RATE_HZ)
    return found


def test_ear_tells_start_and_end_of_a_sound_to_ten_milliseconds() -> None:
    found = hear(Ear(), np.concatenate([silence(0.3), tone(0.2), silence(0.4)]), began_us=7_000_000)
    assert [type(event) for event in found] == [HeardStart, HeardStop]
    assert [event.at_us for event in found] == [7_300_000, 7_500_000]


def test_ear_takes_a_short_pause_for_part_of_the_sound() -> None:
    found = hear(Ear(), np.concatenate([tone(0.1), silence(0.18), tone(0.1), silence(0.2), tone(0.1)]))
    assert [(type(event), event.at_us) for event in found] == [
        (HeardStart, 0),
        (HeardStop, 380_000),
        (HeardStart, 580_000),
    ]


def test_an_ear_that_is_told_of_silence_hears_what_it_hears_in_zeros() -> None:
    sound = np.concatenate([silence(0.1), tone(0.3), silence(0.12), tone(0.1), silence(0.5), tone(0.1), silence(0.3)])
    told, searched = Ear(), Ear()
    for start in range(0, sound.size, 320):
        piece, ended_us = sound[start : start + 320], (start + 320) * 1_000_000 // SAMPLE_RATE_HZ
        expected = searched.listen(piece, ended_us)
        assert (told.listen(piece, ended_us) if piece.any() else told.rest(ended_us)) == expected


def test_a_code_ear_finds_each_number_and_where_it_began_with_silence_told_or_not() -> None:
    beds = [Bed(np.tile(tone(0.9, dbfs=-15.0), 2)) for _ in range(3)]
    sound = np.concatenate(
        [part for number, bed in enumerate(beds) for part in (bed.encode(70 + number), silence(0.7))]
    )
    told, searched = CodeEar(), CodeEar()
    for start in range(0, sound.size - 319, 320):
        piece, ended_us = sound[start : start + 320], (start + 320) * 1_000_000 // SAMPLE_RATE_HZ
        searched.listen(piece, ended_us)
        if piece.any():
            told.listen(piece, ended_us)
        else:
            told.rest(320, ended_us)
    assert [code.code for code in told.found] == [code.code for code in searched.found] == [70, 71, 72]
    for number, code in enumerate(told.found):
        assert abs(code.at_us - number * 2_500_000) <= 20_000


def test_ear_hears_nothing_below_the_gate() -> None:
    assert hear(Ear(), tone(1.0, dbfs=-50.0)) == []


# Bursts


def test_sound_only_cuts_the_silence_around_speech() -> None:
    assert sound_only(np.concatenate([silence(0.5), tone(0.3), silence(0.2)])).size == tone(0.3).size
    assert sound_only(silence(0.5)).size == 0


@pytest.mark.parametrize(("most_s", "times"), [(0.5, 1), (1.0, 1), (2.07, 1), (2.08, 2), (8.0, 7)])
def test_burst_repeats_the_phrase_as_often_as_it_fits_but_once_at_least(most_s: float, times: int) -> None:
    repeated = burst(tone(1.0), most_s)
    assert repeated.size == times * SAMPLE_RATE_HZ + (times - 1) * round(0.08 * SAMPLE_RATE_HZ)


def test_default_phrase_is_one_that_the_local_recognizer_knows() -> None:
    assert DEFAULT_PHRASE in load_phrases().sentences


# The callers' own clock


def test_pacing_counts_ticks_by_second_and_lateness_rounded_up() -> None:
    pacing = Pacing()
    for due_s, now_s in ((5.0, 5.0), (5.02, 5.0235), (5.98, 6.1), (6.0, 5.9)):
        pacing.tick(due_s, now_s)
    assert {second: dict(counts) for second, counts in pacing.seconds.items()} == {5: {0: 1, 4: 1, 120: 1}, 6: {0: 1}}
    assert list(pacing.take_before(6)) == [5]
    assert list(pacing.seconds) == [6]


@pytest.mark.parametrize(("late", "valid"), [({0: 99, 500: 1}, True), ({0: 98, 500: 2}, False), ({20: 10}, True)])
def test_figures_are_invalid_where_one_tick_of_a_hundred_is_a_frame_late(late: dict[int, int], valid: bool) -> None:
    pacing = Pacing()
    pacing.add(3, late)
    assert pacing.valid is valid
    assert summary(result(pacing=pacing))["valid"] is valid
    assert ("figures invalid" in report.text(summary(result(pacing=pacing)))) is not valid


# Figures


def test_figures_use_nearest_ranks() -> None:
    found = figures([*range(1_000, 101_000, 1_000), None])
    assert found == {"count": 100, "avg": 50.5, "p50": 50.0, "p95": 95.0, "p99": 99.0, "max": 100.0}


def test_figures_of_nothing_are_none() -> None:
    assert figures([None])["count"] == 0
    assert figures([])["p99"] is None


def test_most_at_once_counts_calls_that_overlap() -> None:
    calls = [PlacedCall(str(n), n, answered_us=a, ended_us=e) for n, (a, e) in enumerate([(0, 10), (5, 20), (10, 30)])]
    assert most_at_once([*calls, PlacedCall("x", 9, ended_us=3)]) == 2


# The verdict


def spoken(start_us: int = 1_000_000, heard_us: int | None = 2_400_000) -> CallerTurn:
    return CallerTurn("hello", speech_start_us=start_us, speech_end_us=start_us + 1_000_000, heard_start_us=heard_us)


def placed(number: int, *turns: CallerTurn, outcome: Outcome = Outcome.COMPLETED, problem: str = "") -> PlacedCall:
    return PlacedCall(
        f"web-{number}",
        number,
        list(turns),
        problem,
        None,
        0,
        500_000,
        outcome=outcome,
        ended_us=9_000_000,
        joined_us=380_000,
    )


def result(*calls: PlacedCall, pacing: Pacing | None = None, **more: Any) -> LoadResult:
    options = LoadOptions(concurrency=max(1, len(calls)), turns=max([len(call.turns) for call in calls] or [1]) or 1)
    return LoadResult(options, "local speech", list(calls), pacing or Pacing(), **more)


def failures(found: LoadResult) -> list[str]:
    failed: list[str] = summary(found)["failures"]
    return failed


def agent_turn(call: str, start_us: int = 1_040_000) -> TurnRecord:
    marks = {
        Mark.SPEECH_START: start_us,
        Mark.SPEECH_END: start_us + 1_000_000,
        Mark.STT_FINAL: start_us + 1_200_000,
        Mark.AGENT_DECISION: start_us + 1_201_000,
        Mark.TTS_FIRST_BYTE: start_us + 1_280_000,
        Mark.PLAYBACK_START: start_us + 1_300_000,
    }
    return TurnRecord(
        sender="a",
        seq=1,
        host="h",
        worker="w",
        call=call,
        turn=1,
        policy="final",
        outcome=TurnOutcome.ANSWERED,
        marks_us=marks,
        understood="hello",
        answer="you said hello",
    )


def test_run_passes_where_every_turn_was_answered() -> None:
    assert failures(result(placed(1, spoken()), placed(2, spoken(5_000_000, 6_500_000)))) == []


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        (
            result(placed(1, spoken(heard_us=None))),
            "0 of 1 calls failed and 1 of 1 turns unanswered, more than --max-lost 0; first: call 1, turn 1: no sound "
            "came, and the agents have no record of this speech",
        ),
        (
            result(placed(1, spoken()), placed(2, spoken(), outcome=Outcome.LOST, problem="room closed")),
            "1 of 2 calls failed and 0 of 2 turns unanswered, more than --max-lost 0",
        ),
        (
            result(placed(1, spoken()), placed(2, outcome=Outcome.REFUSED, problem="503 full")),
            "1 of 2 calls failed and 1 of 2 turns unanswered, more than --max-lost 0; first: call 2, turn 1: the call "
            "was refused: 503 full",
        ),
        (result(placed(1, spoken()), interrupted="stopped by a signal"), "ended early: stopped by a signal"),
    ],
)
def test_run_fails_with_one_line(found: LoadResult, problem: str) -> None:
    assert failures(found) == [problem]


def test_failure_says_when_the_callers_may_be_to_blame() -> None:
    pacing = Pacing()
    pacing.add(0, {300: 100})
    [failure] = failures(result(placed(1, spoken(heard_us=None)), pacing=pacing))
    assert failure.endswith("(the callers themselves were late)")
    assert failures(result(placed(1, spoken()), pacing=pacing)) == []


def test_turn_cut_short_by_the_end_of_its_call_is_listed_with_that_reason() -> None:
    stopped = placed(1, spoken(), spoken(heard_us=None), outcome=Outcome.INTERRUPTED, problem="stopped")
    found = summary(result(stopped))
    assert (found["turns_expected"], found["turns_answered"]) == (2, 1)
    assert [(turn["turn"], turn["reason"]) for turn in found["not_right"]] == [(2, "the call was interrupted: stopped")]


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (result(placed(1, spoken())), 0),
        (result(placed(1, spoken(heard_us=None))), 1),
        (result(placed(1, spoken()), interrupted="stopped by a signal"), 130),
    ],
)
def test_exit_code_and_files_follow_the_verdict(tmp_path: Path, found: LoadResult, code: int) -> None:
    said: list[str] = []
    assert finish(tmp_path, found, Limits(), json_file=Path("-"), write=said.append) == code
    written = json.loads((tmp_path / "summary.json").read_text())
    assert written["ok"] is (code == 0)
    assert json.loads(said[0]) == {"folder": str(tmp_path), **written}
    assert "FAILED" in (tmp_path / "report.txt").read_text() or code == 0
    assert len((tmp_path / "turns.csv").read_text().splitlines()) == 2


def test_summary_shows_both_sides_and_stages_that_add_up() -> None:
    found = summary(result(placed(1, spoken()), turns=[agent_turn("web-1")]))
    assert (found["agents"]["roundtrip_ms"]["p50"], found["agents"]["response_ms"]["p50"]) == (1300.0, 300.0)
    assert (found["roundtrip_ms"]["max"], found["response_ms"]["max"]) == (1400.0, 400.0)
    assert sum(stage["avg"] for stage in found["agents"]["stages_ms"].values()) == 1300.0
    assert sum(found["waterfall_ms"].values()) == 1400.0
    assert found["reply_on"] == ["final"]
    assert (found["setup_ms"]["p50"], found["connect_ms"]["p50"]) == (500.0, 120.0)
    text = report.text(found)
    assert "local speech" in text
    assert "Response, ear" in text
    assert "passed" in text


def test_csv_has_one_row_a_turn_with_both_sides() -> None:
    lost = placed(2, spoken(heard_us=None), outcome=Outcome.LOST)
    table = list(csv.DictReader(io.StringIO(turns_csv(result(placed(1, spoken()), lost, turns=[agent_turn("web-1")])))))
    assert [(row["name"], row["turn"], row["answered"]) for row in table] == [("web-1", "1", "1"), ("web-2", "1", "0")]
    assert (table[0]["response_ear_ms"], table[0]["response_ms"], table[0]["understood"]) == ("400.0", "300.0", "hello")
    assert (table[1]["response_ear_ms"], table[1]["response_ms"]) == ("", "")


# The callers


class FakeLine:
    """A line whose other side does what `answer` says, in made-up time."""

    def __init__(self, answer: Callable[[FakeLine, str], None]) -> None:
        self._events: asyncio.Queue[PhoneEvent] = asyncio.Queue(100)
        self._answer = answer
        self.hung_up = 0
        self.spoken: list[str] = []

    def later(self, delay_s: float, make: Callable[[int], PhoneEvent]) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(delay_s, lambda: self._events.put_nowait(make(s_to_us(loop.time()))))

    async def play(self, name: str, wav: Path) -> None:
        self.spoken.append(name)
        self.later(0.02, lambda at_us: PlayStart(name, at_us))
        self.later(1.02, lambda at_us: PlayEnd(name, at_us, at_us))
        self._answer(self, name)

    async def event(self) -> PhoneEvent:
        return await self._events.get()

    async def hang_up(self) -> CallEnded:
        self.hung_up += 1
        return CallEnded("caller", "")

    async def codes(self) -> list[HeardCode]:
        return [HeardCode(1, 7)]


def answers(line: FakeLine, _name: str) -> None:
    line.later(1.42, lambda at_us: HeardStart(at_us, -20.0))
    line.later(3.0, HeardStop)


def stays_silent(_line: FakeLine, _name: str) -> None:
    pass


def hangs_up(line: FakeLine, _name: str) -> None:
    line.later(0.5, lambda _: CallEnded("agent", "room closed"))


class FakeDoor:
    def __init__(self, answer: Callable[[FakeLine, str], None], error: Exception | None = None) -> None:
        self.lines: list[FakeLine] = []
        self._answer = answer
        self._error = error

    async def place(self, call: PlacedCall) -> CallerLine:
        await asyncio.sleep(0.1)
        if self._error is not None:
            raise self._error
        call.call, call.answered_us = f"web-{call.number}", s_to_us(asyncio.get_running_loop().time())
        self.lines.append(FakeLine(self._answer))
        return self.lines[-1]


async def call_all(door: FakeDoor, *orders: Order, script: Script = SCRIPT) -> Ledger:
    """Runs all calls; the start is in the past, so that only made-up time counts."""
    sent: list[tuple[str, int]] = []
    ledger = Ledger(lambda call, number, _turn: sent.append((call, number)), lambda _: None)
    await run_callers(orders or (ORDER,), float("-inf"), door, script, ledger.take)
    assert sent == [(c.call, n) for c in ledger.calls.values() for n in range(1, len(c.turns) + 1)] or len(orders) > 1
    return ledger


@in_virtual_time
async def test_caller_speaks_all_turns_and_hears_each_answer() -> None:
    door = FakeDoor(answers)
    call = (await call_all(door)).calls[1]
    assert call.outcome is Outcome.COMPLETED
    assert door.lines[0].spoken == ["t1", "t2"]
    assert door.lines[0].hung_up == 1
    assert [(t.heard_start_us or 0) - (t.speech_end_us or 0) for t in call.turns] == [pytest.approx(400_000, abs=2)] * 2


@in_virtual_time
async def test_turn_without_answer_for_ten_seconds_is_unanswered_and_the_call_goes_on() -> None:
    call = (await call_all(FakeDoor(stays_silent))).calls[1]
    assert call.outcome is Outcome.COMPLETED
    assert [turn.heard_start_us for turn in call.turns] == [None, None]
    assert failures(result(call))[0].startswith("0 of 1 calls failed and 2 of 2 turns unanswered")


def in_the_middle(line: FakeLine, _name: str) -> None:
    line.later(0.5, lambda at_us: HeardStart(at_us, -20.0))
    line.later(0.8, HeardStop)


def in_the_middle_and_afterwards(line: FakeLine, name: str) -> None:
    in_the_middle(line, name)
    answers(line, name)


@pytest.mark.parametrize(
    ("answer", "early_answers", "response_ms"),
    [
        (in_the_middle_and_afterwards, False, 400),
        (in_the_middle_and_afterwards, True, -520),
        (in_the_middle, False, -520),
    ],
)
def test_sound_in_the_middle_of_a_burst_is_the_answer_only_with_an_early_policy_or_without_another(
    answer: Callable[[FakeLine, str], None], early_answers: bool, response_ms: float
) -> None:
    @in_virtual_time
    async def check() -> None:
        script = dataclasses.replace(SCRIPT, turns=1, early_answers=early_answers)
        found = summary(result((await call_all(FakeDoor(answer), script=script)).calls[1]))
        assert (found["turns_answered"], found["turns_spoken_over"]) == (1, 1)
        assert found["response_ms"]["p50"] == pytest.approx(response_ms, abs=0.01)

    check()


@in_virtual_time
async def test_call_that_ends_in_the_middle_is_lost() -> None:
    call = (await call_all(FakeDoor(hangs_up))).calls[1]
    assert (call.outcome, call.problem) == (Outcome.LOST, "the call ended in the middle: room closed")


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (CallRefusedError("503 full", 503), Outcome.REFUSED),
        (CallError("no agent answered"), Outcome.LOST),
        (RuntimeError("a bug"), Outcome.LOST),
    ],
)
def test_call_that_is_not_answered_hurts_no_other(error: Exception, outcome: Outcome) -> None:
    @in_virtual_time
    async def check() -> None:
        ledger = await call_all(FakeDoor(answers, error), ORDER, Order(2, 0.0, (Path("x.wav"),)))
        assert [call.outcome for call in ledger.calls.values()] == [outcome, outcome]

    check()


@in_virtual_time
async def test_stop_hangs_up_every_caller_and_keeps_what_was_measured() -> None:
    door = FakeDoor(answers)
    ledger = Ledger(lambda *_: None, lambda _: None)
    orders = [ORDER, Order(2, 0.0, (Path("x.wav"),))]
    calling = asyncio.create_task(run_callers(orders, float("-inf"), door, SCRIPT, ledger.take))
    await asyncio.sleep(3.9)
    calling.cancel()
    await asyncio.gather(calling, return_exceptions=True)
    assert [line.hung_up for line in door.lines] == [1, 1]
    assert [call.outcome for call in ledger.calls.values()] == [Outcome.INTERRUPTED] * 2
    assert [len(call.turns) for call in ledger.calls.values()] == [1, 1]


# Between processes


def test_messages_survive_the_way_through_json() -> None:
    call = placed(3, spoken(), outcome=Outcome.PLACED)
    ledger = Ledger(lambda *_: None, lambda _: None)
    call.codes = [HeardCode(2_000_000, 5)]
    for message in (
        callers.call_message(call),
        callers.turn_message(3, 1, call.turns[0]),
        callers.codes_message(3, call.codes),
        {"ev": "pace", "second": 4, "late_ms": {7: 2}},
        {"ev": "ready"},
    ):
        ledger.take(json.loads(json.dumps(message)))
    assert ledger.calls == {3: call}
    assert ledger.pacing.total().max_ms == 7
    assert str(ledger.standing()) == "0 up of 1 placed, 1 turns answered, RoundTrip avg 1400 ms, 0 lost"


def test_job_survives_the_way_and_hides_its_key() -> None:
    job = Job("http://orch:8000", "s3cret", SCRIPT, [ORDER])
    assert Job.decode(job.encode()) == job
    assert "s3cret" not in repr(job) + repr(Target("http://orch:8000", "s3cret", "http://metrics:9100/ingest"))


# Options


@pytest.mark.parametrize(
    "wrong",
    [
        {"concurrency": 0},
        {"turns": 0},
        {"talk": 1.0},
        {"interrupt": -0.1},
        {"ramp": 0.0},
        {"burst_seconds": float("nan")},
    ],
)
def test_options_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="not from"):
        LoadOptions(**wrong)


@pytest.mark.parametrize(("concurrency", "wanted", "count"), [(5, 0, 1), (100, 3, 3), (2, 8, 2)])
def test_callers_are_shared_by_few_processes(concurrency: int, wanted: int, count: int) -> None:
    assert LoadOptions(concurrency=concurrency, processes=wanted).processes_for("") == count


def test_speech_is_labelled() -> None:
    local = load_settings(stt_provider="local", tts_provider="local")
    assert speech_label(local) == "local speech"
    assert speech_label(load_settings(stt_provider="emulated", tts_provider="emulated")) == "emulated"
    assert (
        speech_label(load_settings(stt_provider="deepgram", tts_provider="local")) == "recognizer deepgram, voice local"
    )
