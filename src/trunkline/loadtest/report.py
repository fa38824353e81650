"""What a load test found: figures for programs, a text for people, a table of turns, and whether it passed.

Pure arithmetic over what callers and agents recorded; `write_files` is the only one that touches the disk.
"""

from __future__ import annotations

import csv
import importlib
import importlib.util
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trunkline.core.errors import ConfigError
from trunkline.core.latency import STAGES, response_us, roundtrip_us, stages_us
from trunkline.core.units import us_to_ms
from trunkline.core.window import nearest_rank
from trunkline.core.wire import CallRecord, TurnOutcome, TurnRecord
from trunkline.loadtest.callers import Outcome, PlacedCall
from trunkline.loadtest.pacing import MOST_LATE_MS, Lateness, Pacing
from trunkline.loadtest.verdict import TurnRow, match_turns

Figures = dict[str, float | int | None]

TURN_COLUMNS = (
    "call",
    "name",
    "turn",
    "worker",
    "speech_start_us",
    "speech_end_us",
    "heard_us",
    "answered",
    "roundtrip_ear_ms",
    "response_ear_ms",
    "roundtrip_ms",
    "response_ms",
    "outcome",
    "understood",
)


@dataclass(slots=True)
class LoadResult:
    """All that was recorded.

    Args:
        options: Of the run, for the report.
        speech: Whose recognizer and voice the agents use.
        calls: Those that were placed, by number.
        ends: The agents' records of calls, by name.
        turns: The agents' records of turns.
        interrupted: Why the run was ended early; empty where it was not.
        note: What else a reader must know, in one line.
    """

    options: dict[str, Any]
    speech: str
    calls: list[PlacedCall]
    pacing: Pacing
    ends: dict[str, CallRecord] = field(default_factory=dict)
    turns: list[TurnRecord] = field(default_factory=list)
    interrupted: str = ""
    note: str = ""

    def rows(self) -> list[tuple[PlacedCall, TurnRow]]:
        """Each turn from both sides."""
        by_call: dict[str, list[TurnRecord]] = {}
        for record in self.turns:
            by_call.setdefault(record.call, []).append(record)
        return [(call, row) for call in self.calls for row in match_turns(call, by_call.get(call.call, []))]


def figures(durations_us: Iterable[int | None]) -> Figures:
    """Count, average, percentiles (nearest rank) and maximum in milliseconds; None where nothing was measured."""
    values = sorted(value for value in durations_us if value is not None)
    if not values:
        return {"count": 0, "avg_ms": None, "p50_ms": None, "p95_ms": None, "p99_ms": None, "max_ms": None}
    ranks = {f"p{percent}_ms": us_to_ms(nearest_rank(values, percent)) for percent in (50, 95, 99)}
    average = round(us_to_ms(sum(values)) / len(values), 3)
    return {"count": len(values), "avg_ms": average, **ranks, "max_ms": us_to_ms(values[-1])}


def summary(result: LoadResult) -> dict[str, Any]:
    """The whole run for programs."""
    spoken = [turn for call in result.calls for turn in call.turns if turn.speech_end_us is not None]
    heard = [turn for turn in spoken if turn.heard_start_us is not None]
    outcomes = {outcome.value: sum(call.outcome is outcome for call in result.calls) for outcome in Outcome}
    answered = [turn for turn in result.turns if turn.outcome is not TurnOutcome.UNANSWERED]
    stages = [stages_us(turn) for turn in answered]
    problem = verdict(result)
    return {
        "ok": not problem,
        "problem": problem,
        "interrupted": result.interrupted,
        "valid": result.pacing.valid,
        "note": result.note,
        "speech": result.speech,
        "reply_on": sorted({turn.policy for turn in result.turns}),
        "options": result.options,
        "calls": {
            "wanted": result.options.get("concurrency", len(result.calls)),
            "placed": len(result.calls),
            "answered": sum(call.answered_us is not None for call in result.calls),
            "most_at_once": most_at_once(result.calls),
            **{name: count for name, count in outcomes.items() if name != Outcome.PLACED},
            "agent_records": sum(call.call in result.ends for call in result.calls),
        },
        "turns": {
            "spoken": len(spoken),
            "answered": len(heard),
            "unanswered": sum(_went_unanswered(call, turn) for call in result.calls for turn in call.turns),
            "answered_while_speaking": sum((turn.heard_start_us or 0) < (turn.speech_end_us or 0) for turn in heard),
            "spoken_over": sum(call.spoken_over for call in result.calls),
            "agent_records": len(result.turns),
        },
        "setup": figures(_minus(call.answered_us, call.dialled_us) for call in result.calls),
        "roundtrip": figures(roundtrip_us(turn) for turn in answered),
        "response": figures(response_us(turn) for turn in answered),
        "roundtrip_heard": figures(_minus(turn.heard_start_us, turn.speech_start_us) for turn in heard),
        "response_heard": figures(_minus(turn.heard_start_us, turn.speech_end_us) for turn in heard),
        "stages": {stage.value: figures(durations.get(stage) for durations in stages) for stage in STAGES},
        "pacing": _pacing(result.pacing),
    }


def verdict(result: LoadResult) -> str:
    """Why the run failed, in one line; empty where every call was kept and every turn answered."""
    problem = _problem(result)
    late = "" if result.pacing.valid else " (the callers themselves were late)"
    return f"{problem}{late}" if problem else ""


def _problem(result: LoadResult) -> str:
    if result.interrupted:
        return f"ended early: {result.interrupted}"
    for outcome in (Outcome.LOST, Outcome.REFUSED, Outcome.PLACED, Outcome.INTERRUPTED):
        bad = [call for call in result.calls if call.outcome is outcome]
        if bad:
            return f"{len(bad)} of {len(result.calls)} calls {outcome}; call {bad[0].number}: {bad[0].problem}"
    numbered = [(call, number, turn) for call in result.calls for number, turn in enumerate(call.turns, 1)]
    unanswered = [(call, number) for call, number, turn in numbered if _went_unanswered(call, turn)]
    if unanswered:
        call, number = unanswered[0]
        first = f"call {call.number} ({call.call}), turn {number}"
        return f"{len(unanswered)} of {len(numbered)} turns unanswered; first: {first}"
    return "" if numbered else "no turn was spoken"


def most_at_once(calls: Sequence[PlacedCall]) -> int:
    """How many calls were up at the same time."""
    changes = [(call.answered_us, 1) for call in calls if call.answered_us is not None]
    changes += [(call.ended_us, -1) for call in calls if call.answered_us is not None and call.ended_us is not None]
    up = most = 0
    for _, change in sorted(changes):
        up += change
        most = max(most, up)
    return most


def text(found: dict[str, Any]) -> str:
    """The report for people."""
    calls, turns, pacing = found["calls"], found["turns"], found["pacing"]
    lines = [
        ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in found["options"].items()),
        f"speech: {found['speech']}; agents answer on: {', '.join(found['reply_on']) or 'unknown'}",
        f"calls   {calls['placed']} placed, {calls['answered']} answered, {calls['refused']} refused, "
        f"{calls['lost']} lost, {calls['interrupted']} stopped by us; at most {calls['most_at_once']} at once",
        f"turns   {turns['spoken']} spoken, {turns['answered']} answered, {turns['unanswered']} unanswered"
        + (f", {turns['answered_while_speaking']} while the caller spoke" if turns["answered_while_speaking"] else ""),
        "",
        f"{'milliseconds':<22}{'count':>7}{'avg':>9}{'p50':>9}{'p95':>9}{'p99':>9}{'max':>9}",
        _line("Response, agent", found["response"]),
        _line("Response, ear", found["response_heard"]),
        _line("RoundTrip, agent", found["roundtrip"]),
        _line("RoundTrip, ear", found["roundtrip_heard"]),
        *(_line(f"  {name}", values) for name, values in found["stages"].items() if values["count"]),
        _line("dialled to answered", found["setup"]),
        "",
        "Response: from the caller's last sound to the agent's first. RoundTrip: from the caller's first sound,",
        "so with reply_on=final it contains the whole burst; the stages add up to it. Ear: on the caller's clock.",
    ]
    if pacing["ticks"]:
        lines += [
            "",
            f"callers' own clock: {pacing['ticks']} ticks, late p99 {pacing['p99_ms']} ms, max {pacing['max_ms']} ms",
        ]
        lines += [f"{'second':>8}{'ticks':>8}{'p99 ms':>8}{'max ms':>8}"]
        lines += [f"{s['second']:>8}{s['ticks']:>8}{s['p99_ms']:>8}{s['max_ms']:>8}" for s in pacing["by_second"]]
    else:
        lines += ["", "callers' own clock: not measured (the simulated phone keeps its own)"]
    if not found["valid"]:
        lines += ["", f"WARNING, figures invalid: the callers themselves were late (p99 over {MOST_LATE_MS} ms)"]
    if found["reply_on"] == ["final"] and turns["spoken_over"]:
        lines += [
            "",
            f"WARNING: in {turns['spoken_over']} turns the agent spoke before the caller had finished: a pause,",
            "or a gap in the sound, was taken for the end. Ear: the first sound after it. Agents count more turns.",
        ]
    if found["note"]:
        lines += ["", f"note: {found['note']}"]
    lines += ["", f"FAILED: {found['problem']}" if found["problem"] else "passed: every call kept, every turn answered"]
    return "\n".join(lines) + "\n"


def turns_csv(result: LoadResult) -> str:
    """One row for each turn that was begun, with both sides; instants in microseconds, durations in milliseconds."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(TURN_COLUMNS)
    for call, row in result.rows():
        turn = call.turns[row.turn - 1]
        end = result.ends.get(call.call)
        table.writerow(
            [
                call.number,
                call.call,
                row.turn,
                end.worker if end is not None else "",
                turn.speech_start_us,
                turn.speech_end_us,
                turn.heard_start_us,
                int(turn.heard_start_us is not None),
                row.roundtrip_heard_ms,
                row.response_heard_ms,
                row.roundtrip_ms,
                row.response_ms,
                row.outcome,
                row.understood,
            ]
        )
    return out.getvalue()


def write_files(folder: Path, result: LoadResult, found: dict[str, Any]) -> None:
    """turns.csv, summary.json and report.txt."""
    (folder / "turns.csv").write_text(turns_csv(result))
    (folder / "summary.json").write_text(json.dumps(found, indent=1) + "\n")
    (folder / "report.txt").write_text(text(found))


def need_plots() -> None:
    """Raises ConfigError where no plot can be drawn."""
    if importlib.util.find_spec("matplotlib") is None:
        raise ConfigError("--plot needs matplotlib", "pip install matplotlib")


def write_plot(folder: Path, result: LoadResult) -> None:
    """response.png: how much of all turns was answered within which Response."""
    need_plots()
    importlib.import_module("matplotlib").use("Agg")
    plt: Any = importlib.import_module("matplotlib.pyplot")
    figure, axes = plt.subplots(figsize=(8, 4.5))
    rows = [row for _, row in result.rows()]
    for label, values in (
        ("agent", [row.response_ms for row in rows]),
        ("caller's ear", [row.response_heard_ms for row in rows]),
    ):
        known = sorted(value for value in values if value is not None)
        axes.step(known, [(n + 1) / len(known) * 100 for n in range(len(known))], where="post", label=label)
    axes.set_xlabel("Response in ms")
    axes.set_ylabel("% of turns")
    axes.legend()
    axes.grid(visible=True, alpha=0.3)
    figure.savefig(folder / "response.png", dpi=120)
    plt.close(figure)


def _went_unanswered(call: PlacedCall, turn: Any) -> bool:
    """A turn that the end of the test or of the call cut short is none; its call tells of that."""
    cut_short = turn is call.turns[-1] and call.outcome is not Outcome.COMPLETED
    return turn.speech_end_us is not None and turn.heard_start_us is None and not cut_short


def _pacing(pacing: Pacing) -> dict[str, Any]:
    seconds = pacing.by_second()
    first = seconds[0][0] if seconds else 0
    by_second = [{"second": second - first, **_late(late)} for second, late in seconds]
    return {**_late(pacing.total()), "by_second": by_second}


def _late(late: Lateness) -> dict[str, int]:
    return {"ticks": late.ticks, "p99_ms": late.p99_ms, "max_ms": late.max_ms}


def _line(name: str, values: Figures) -> str:
    columns = (values[f"{column}_ms"] for column in ("avg", "p50", "p95", "p99", "max"))
    cells = "".join(f"{'–' if value is None else format(value, '.0f'):>9}" for value in columns)
    return f"{name:<22}{values['count']:>7}{cells}"


def _minus(end_us: int | None, start_us: int | None) -> int | None:
    return None if end_us is None or start_us is None else end_us - start_us
