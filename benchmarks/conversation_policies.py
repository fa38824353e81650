"""One call under each policy at each set of delays: RoundTrip, Response, and which stage holds what of it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.emulated_stack import emulated_stack
from benchmarks.limits import Limit
from rich.console import Console
from rich.table import Table

from trunkline.core.latency import STAGES, stages_us
from trunkline.emulators.behaviour import Delay, profile
from trunkline.loadtest.answers import Check
from trunkline.loadtest.figures import Figures, figures_of_ms
from trunkline.loadtest.options import LoadOptions
from trunkline.loadtest.result import LoadResult

TURNS = 30
BURST_S = 2.0
BRIEF, VENDORS = "brief", "vendors"


@dataclass(frozen=True)
class Case:
    """One call that is measured.

    Args:
        reply_on: The policy.
        delays: A profile of the emulators.
        speculate: Answers are prepared before the turn has ended.
    """

    reply_on: str
    delays: str
    speculate: bool = False

    @property
    def name(self) -> str:
        return self.reply_on + (" + SPECULATE" if self.speculate else "")

    @property
    def environment(self) -> dict[str, str]:
        return {"REPLY_ON": self.reply_on, "SPECULATE": "1" if self.speculate else "0"}

    @property
    def vendor_ms(self) -> float | None:
        """What of each turn the emulators take, where it is the same in each; None where it can't be taken away.

        The partial comes so long after its first sample arrived at the emulator, the audio so long after the text: both
        waits are on the way of every answer. A final is asked for so long before the end of the hangover that nobody
        waits for it; an answer that is prepared ahead waits for less.
        """
        own = profile(self.delays)["*"]
        waits = {"first_partial": ("stt_partial", "tts_first"), "final": ("tts_first",)}.get(self.reply_on)
        if self.delays != BRIEF or self.speculate or waits is None:
            return None
        delays: list[Delay] = [own[wait] for wait in waits]
        assert all(delay.spread == 0 for delay in delays)
        return 1000 * sum(delay.median_s for delay in delays)


CASES = [
    Case(reply_on, delays, speculate)
    for reply_on, speculate in (("first_partial", False), ("stable_partial", False), ("final", False), ("final", True))
    for delays in (BRIEF, VENDORS)
]


@dataclass(frozen=True)
class Measured:
    """What one case gave; times in milliseconds at the caller's ear.

    Args:
        own: RoundTrip (under `final`: Response) without what the emulators took.
        stages: Medians at the agent by mark; "up" and "down" are the road.
        wrong: Turns not answered, or not by the right words.
    """

    case: Case
    roundtrip: Figures
    response: Figures
    own: Figures
    stages: dict[str, float | None]
    wrong: int
    late: bool

    @classmethod
    def of(cls, case: Case, result: LoadResult) -> Measured:
        rows = [row for _, row in result.rows]
        stages = [stages_us(row.record) if row.record is not None else {} for row in rows]
        medians = {mark.value: figures_of_ms(_ms(each.get(mark)) for each in stages)["p50"] for mark in STAGES}
        road = {
            "up": figures_of_ms(row.road_up_ms for row in rows)["p50"],
            "down": figures_of_ms(row.road_down_ms for row in rows)["p50"],
        }
        whole = [row.response_heard_ms if case.reply_on == "final" else row.roundtrip_heard_ms for row in rows]
        vendor_ms = case.vendor_ms
        return cls(
            case,
            figures_of_ms(row.roundtrip_heard_ms for row in rows),
            figures_of_ms(row.response_heard_ms for row in rows),
            figures_of_ms(None if vendor_ms is None or ms is None else ms - vendor_ms for ms in whole),
            {**road, **medians},
            sum(answer.check is not Check.RIGHT for answer in result.answers),
            not result.pacing.valid,
        )


async def measure(folder: Path, turns: int, at_once: int, seed: int) -> list[Limit]:
    """Measures all cases, and prints their tables.

    Args:
        folder: For the stacks' files.
        turns: Of each call.
        at_once: Stacks at the same time.
        seed: Of the callers.
    """
    measured = []
    cases = list(enumerate(CASES, start=1))
    for first in range(0, len(cases), at_once):
        measured += await _measure_together(folder, cases[first : first + at_once], turns, seed)
    _tell(measured, turns)
    return limits(measured)


async def _measure_together(folder: Path, cases: Sequence[tuple[int, Case]], turns: int, seed: int) -> list[Measured]:
    """One call on a stack of its own for each case. No stack starts or stops while a call is measured."""
    async with AsyncExitStack() as parts:
        stacks = []
        for number, case in cases:
            stack = emulated_stack(folder / str(number), case.environment, profile=case.delays)
            stacks.append(await parts.enter_async_context(stack))
        calls = []
        for up, (_, case) in zip(stacks, cases, strict=True):
            wanted = LoadOptions(concurrency=1, turns=turns, burst_seconds=BURST_S, reply_on=case.reply_on, seed=seed)
            calls.append(up.load(wanted))
        results = await asyncio.gather(*calls)
    return [Measured.of(case, result) for (_, case), result in zip(cases, results, strict=True)]


def limits(measured: Sequence[Measured]) -> list[Limit]:
    """What the figures must be."""
    found = {(each.case.reply_on, each.case.speculate, each.case.delays): each for each in measured}
    early = found["first_partial", False, BRIEF]
    late, ahead = found["final", False, VENDORS], found["final", True, VENDORS]
    return [
        Limit("RoundTrip, first_partial, brief delays, average", _of(early.roundtrip, "avg"), most=420, unit="ms"),
        Limit("the stack's own share, first_partial, p50", _of(early.own, "p50"), most=120, unit="ms"),
        Limit("Response, final, vendor delays, p50", _of(late.response, "p50"), most=600, aim=450, unit="ms"),
        Limit("Response, final, vendor delays, p95", _of(late.response, "p95"), most=900, aim=650, unit="ms"),
        Limit("Response, final + SPECULATE, vendor delays, p50", _of(ahead.response, "p50"), aim=450, unit="ms"),
        Limit("Response, final + SPECULATE, vendor delays, p95", _of(ahead.response, "p95"), aim=650, unit="ms"),
        Limit("turns without the right answer", sum(each.wrong for each in measured), most=0),
    ]


def _tell(measured: Sequence[Measured], turns: int) -> None:
    console = Console(width=120)
    at_ear = Table(title=f"One call of {turns} turns each over WebRTC: ms at the caller's ear", **_PLAIN)
    columns = ("policy", "delays", "turns", "RoundTrip avg", "p50", "p95", "Response p50", "p95", "own p50", "p95", "")
    for column in columns:
        at_ear.add_column(column, justify="left" if column in ("policy", "delays", "") else "right")
    where = Table(title="Where it goes: medians in ms; `final` counts from SpeechEnd on", **_PLAIN)
    stages = ["up", *(mark.value for mark in STAGES), "down"]
    for column in ("policy", "delays", *stages):
        where.add_column(column, justify="left" if column in ("policy", "delays") else "right")
    for each in measured:
        trip, response, own = each.roundtrip, each.response, each.own
        figures = [trip["avg"], trip["p50"], trip["p95"], response["p50"], response["p95"], own["p50"], own["p95"]]
        note = "callers late" if each.late else ""
        at_ear.add_row(each.case.name, each.case.delays, str(trip["count"]), *map(_shown, figures), note)
        where.add_row(each.case.name, each.case.delays, *(_shown(each.stages[stage]) for stage in stages))
    console.print()
    console.print(at_ear)
    console.print()
    console.print(where)


_PLAIN = {"title_justify": "left", "box": None, "pad_edge": False}


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}"


def _of(figures: Figures, name: str) -> float:
    value = figures[name]
    return math.nan if value is None else value


def _ms(value_us: int | None) -> float | None:
    return None if value_us is None else value_us / 1000
