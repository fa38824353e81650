"""Calls whose recognizer and voice stall or are cut off by a seed, while others stand by: what does a turn lose?"""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
from benchmarks.emulated_stack import emulated_stack, emulators
from benchmarks.limits import Limit

from trunkline.core.units import SAMPLE_RATE_HZ
from trunkline.core.wire import Mark, TurnOutcome
from trunkline.loadtest.answers import Check, codes_of
from trunkline.loadtest.figures import figures_of_ms
from trunkline.loadtest.options import LoadOptions
from trunkline.loadtest.result import LoadResult
from trunkline.loadtest.verdict import TurnRow
from trunkline.testing.sentences import sentence

FAULTS = {"stall": 0.1, "cut": 0.1}
"""Of each sentence that is heard, and of each that is spoken."""
CALL_TURNS = 5
"""Short calls: one whose recognizer has stalled stays with the other, and three failures in a row close it to all."""
TURNS_A_FAILOVER_TURN = 4
LEARNING_TURNS = 2
ADDED_P95_MS = 300.0
PHRASE = "test phrase"
WORDS, VOICE = "recognizer", "voice"


@dataclass(frozen=True)
class Switch:
    """A provider that took over in the middle of a turn."""

    call: str
    kind: str
    at_us: float


async def measure(folder: Path, calls: int, turns: int, seed: int) -> list[Limit]:
    """Measures, and prints what was added.

    Args:
        folder: For the stack's files.
        calls: At once.
        turns: About so many with a failover; several times as many are spoken.
        seed: Of the faults and the callers.
    """
    told = ", ".join(f"{name} {chance:.0%}" for name, chance in FAULTS.items())
    print(f"\nFailover: the first providers fail ({told} of the sentences), others stand by", flush=True)
    wanted = LoadOptions(concurrency=calls, turns=CALL_TURNS, burst_seconds=1.5, ramp=4.0, seed=seed)
    loads = max(1, round(TURNS_A_FAILOVER_TURN * turns / (calls * CALL_TURNS)))
    async with (
        emulators("brief", seed) as bad,
        emulators("brief", seed + 1) as good,
        emulated_stack(folder, environment(bad.url, good.url)) as stack,
    ):
        # What is usual is learned before: a stall of the first sentence of all would be waited for at length.
        await stack.load(dataclasses.replace(wanted, turns=LEARNING_TURNS))
        await set_faults(bad.url, FAULTS)
        results = [await stack.load(dataclasses.replace(wanted, seed=seed + number)) for number in range(loads)]
        return judged(results, read_switches(stack))


async def set_faults(url: str, faults: Mapping[str, float]) -> None:
    """Changes what goes wrong with sentences on connections that are opened from now on."""
    async with httpx.AsyncClient(timeout=5.0, trust_env=False) as http:
        answer = await http.post(f"http{url.removeprefix('ws')}/emulated/faults", json=dict(faults))
        answer.raise_for_status()


def environment(bad: str, good: str) -> dict[str, str]:
    """Settings with a standby of another vendor for both providers."""
    found = {"REPLY_ON": "final"}
    for kind, first, standby in (("STT", "deepgram", "assemblyai"), ("TTS", "elevenlabs", "cartesia")):
        found |= {f"{kind}_PROVIDER": first, f"{kind}_API_KEY": "emulated", f"{kind}_URL": bad}
        found |= {f"{kind}_STANDBY_PROVIDER": standby, f"{kind}_STANDBY_API_KEY": "emulated"}
        found |= {f"{kind}_STANDBY_URL": good}
    return found


def read_switches(stack: Any) -> list[Switch]:
    """Those in the worker's log: kept speech went to another recognizer, or another voice said what was left."""
    wall_to_mono_s = time.monotonic() - time.time()
    found = []
    for kind, event, field in ((WORDS, "recognizer_switched", "again"), (VOICE, "voice_failed", "left")):
        for line in stack.logged(event):
            if line.get(field):
                at_s = datetime.fromisoformat(line["timestamp"]).timestamp() + wall_to_mono_s
                found.append(Switch(line["call"], kind, at_s * 1e6))
    return found


def judged(results: Sequence[LoadResult], switches: Sequence[Switch]) -> list[Limit]:
    """The figures against their limits."""
    turns = [(row, kinds_of(call.call, row, result, switches)) for result in results for call, row in result.rows]
    heard = [(wait, kinds) for row, kinds in turns if (wait := wait_ms(row)) is not None]
    usual = [wait for wait, kinds in heard if not kinds]
    typical = statistics.median(usual) if usual else math.nan
    print(f"  nobody took over in {len(usual)} turns: p50 {typical:.0f} ms of waiting, gaps in the answer included")
    limits = []
    for kind in (WORDS, VOICE):
        added = figures_of_ms(wait - typical for wait, kinds in heard if kinds == {kind})
        shown = ", ".join(f"{name} {_shown(added[name])}" for name in ("p50", "p95", "max"))
        print(f"  another {kind} took over in {added['count']} turns: added {shown} ms")
        p95 = math.nan if added["p95"] is None else added["p95"]
        limits.append(Limit(f"failover of the {kind}, added, p95", p95, most=ADDED_P95_MS, unit="ms"))
    lost = [problem for row, _ in turns if (problem := words_problem(row))]
    answers = [answer for result in results for answer in result.answers]
    lost += [f"call {a.call}, turn {a.turn}: {a.reason}" for a in answers if a.check is not Check.RIGHT]
    for problem in lost[:5]:
        print(f"  {problem}")
    print(f"  {len(answers)} turns, {sum(bool(kinds) for _, kinds in turns)} of them with a failover")
    return [*limits, Limit("words lost, or answers not whole, with failovers", len(lost), most=0)]


def kinds_of(call: str, row: TurnRow, result: LoadResult, switches: Iterable[Switch]) -> set[str]:
    """Which providers took over from this turn's first sound to that of the next."""
    if row.record is None:
        return set()
    starts = [r.marks_us[Mark.SPEECH_START] for r in result.turns if r.call == call and Mark.SPEECH_START in r.marks_us]
    start_us = row.record.marks_us[Mark.SPEECH_START]
    end_us = min((start for start in starts if start > start_us), default=math.inf)
    return {switch.kind for switch in switches if switch.call == call and start_us <= switch.at_us < end_us}


def wait_ms(row: TurnRow) -> float | None:
    """How long the caller heard nothing: until the answer began, and in its middle; None: it was not heard whole."""
    record = row.record
    if record is None or row.response_heard_ms is None or record.outcome is not TurnOutcome.ANSWERED:
        return None
    marks = record.marks_us
    if Mark.PLAYBACK_STOP not in marks or Mark.PLAYBACK_START not in marks:
        return None
    played_ms = (marks[Mark.PLAYBACK_STOP] - marks[Mark.PLAYBACK_START]) / 1000
    return row.response_heard_ms + played_ms - 1000 * record.heard_samples / SAMPLE_RATE_HZ


def words_problem(row: TurnRow) -> str:
    """What is missing of the caller's words or of the answer's, by the agent's record; empty where nothing is."""
    codes = codes_of(row.call)
    said = sentence(codes[(row.turn - 1) % len(codes)], PHRASE)
    where = f"call {row.call}, turn {row.turn}"
    if row.record is None:
        return f"{where}: no record"
    if row.understood != said:
        return f"{where}: {said!r} was said, {row.understood!r} understood"
    if row.record.outcome is TurnOutcome.ANSWERED and row.record.heard != row.answered:
        return f"{where}: {row.answered!r} was the answer, {row.record.heard!r} was heard"
    return ""


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}"
