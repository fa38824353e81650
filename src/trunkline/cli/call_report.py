"""What a run of phone calls looks like: a table for people, files for later, one JSON for programs."""

from __future__ import annotations

import dataclasses
import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from trunkline.core.wire import CallRecord, Mark, TurnRecord
from trunkline.loadtest.verdict import CallResult, TurnRow

STAGE_NAMES = {
    Mark.STT_FINAL: "words",
    Mark.AGENT_DECISION: "decide",
    Mark.TTS_FIRST_BYTE: "voice",
    Mark.PLAYBACK_START: "send",
}
"""Columns of the stages, by the mark that ends each."""


@dataclass(frozen=True, slots=True)
class CallReport:
    """One call from both sides.

    Args:
        result: As the caller lived it.
        record: As the agent recorded it; None where that never arrived.
        turns: The agent's turns.
        rows: Both sides of each utterance.
    """

    result: CallResult
    record: CallRecord | None
    turns: list[TurnRecord]
    rows: list[TurnRow]


def print_call(console: Console, report: CallReport) -> None:
    """What was said, understood and answered."""
    result = report.result
    worker = report.record.worker if report.record is not None else "no agent"
    answered = "not answered"
    if result.answered_us is not None and result.dialled_us is not None:
        answered = f"answered after {(result.answered_us - result.dialled_us) / 1e6:.2f} s"
    console.print(f"\n[bold]Call {result.number}[/bold]  {answered} by {worker}", highlight=False)
    for row in report.rows:
        said = escape(row.said) + ("  [dim](interrupting)[/dim]" if row.interrupts else "")
        mark = "[green]✓[/green]" if row.was_understood else "[yellow]≠[/yellow]"
        console.print(f"  {row.turn}  caller says      {said}", highlight=False)
        console.print(f"     agent hears  {mark}   {escape(row.understood) or '(nothing)'}", highlight=False)
        cut = "  [dim](cut off)[/dim]" if row.outcome == "interrupted" else ""
        console.print(f"     agent says       {escape(row.answered) or '(nothing)'}{cut}", highlight=False)
    if result.problem:
        console.print(f"  [red]{escape(result.problem)}[/red]", highlight=False)


def times_table(rows: list[TurnRow]) -> Table:
    """Each turn's stages in milliseconds; `words` to `send` add up to Response."""
    table = Table(box=None, pad_edge=False, header_style="bold", title_justify="left", padding=(0, 1))
    for name in ("turn", *STAGE_NAMES.values(), "Response", "ear", "RoundTrip", "ear", "barge-in"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            f"{row.call}.{row.turn}",
            *(_ms(row.stages_ms.get(mark)) for mark in STAGE_NAMES),
            _ms(row.response_ms),
            _ms(row.response_heard_ms),
            _ms(row.roundtrip_ms),
            _ms(row.roundtrip_heard_ms),
            _ms(row.barge_in_ms),
        )
    if len(rows) > 1:
        table.add_section()
        table.add_row(
            "median",
            *(_median([row.stages_ms.get(mark) for row in rows]) for mark in STAGE_NAMES),
            _median([row.response_ms for row in rows]),
            _median([row.response_heard_ms for row in rows]),
            _median([row.roundtrip_ms for row in rows]),
            _median([row.roundtrip_heard_ms for row in rows]),
            _median([row.barge_in_ms for row in rows]),
            style="bold",
        )
    return table


LEGEND = (
    "Milliseconds. Response: from the caller's last sound to the agent's first.\n"
    "  words (end of speech noticed, words understood) + decide + voice + send\n"
    "RoundTrip: from the caller's first sound, so it contains the whole sentence.\n"
    "ear: the same, heard by the caller, on its own clock.\n"
    "barge-in: from the caller's first sound to silence at its ear."
)


def counts(rows: list[TurnRow]) -> dict[str, int]:
    """How many turns were answered and understood, and how many interruptions there were and worked."""
    interruptions = [i for i, row in enumerate(rows) if row.interrupts]
    return {
        "turns": len(rows),
        "answered": sum(row.roundtrip_heard_ms is not None for row in rows),
        "understood": sum(row.was_understood for row in rows),
        "interruptions": len(interruptions),
        "silenced": sum(rows[i - 1].outcome == "interrupted" for i in interruptions),
    }


def as_json(reports: list[CallReport], problem: str) -> dict[str, Any]:
    """The whole run for programs."""
    rows = [row for report in reports for row in report.rows]
    return {
        "ok": not problem,
        "problem": problem,
        **counts(rows),
        "calls": [call_as_json(report) for report in reports],
    }


def call_as_json(report: CallReport) -> dict[str, Any]:
    """One call: every mark of both sides; instants in microseconds of one monotonic clock."""
    result = report.result
    return {
        "call": result.call,
        "number": result.number,
        "problem": result.problem,
        "recording": result.recording.name if result.recording is not None else None,
        "dialled_us": result.dialled_us,
        "answered_us": result.answered_us,
        "caller": [dataclasses.asdict(turn) for turn in result.turns],
        "agent": [dataclasses.asdict(turn) for turn in report.turns],
        "record": dataclasses.asdict(report.record) if report.record is not None else None,
        "turns": [dataclasses.asdict(row) for row in report.rows],
        "phone": result.phone,
    }


def write_files(folder: Path, reports: list[CallReport], problem: str) -> None:
    """A transcript and the marks of each call beside its recording, and the whole run in `summary.json`."""
    for report in reports:
        name = f"call-{report.result.number}"
        (folder / f"{name}.txt").write_text(transcript(report))
        (folder / f"{name}.json").write_text(json.dumps(call_as_json(report), indent=1) + "\n")
    (folder / "summary.json").write_text(json.dumps(as_json(reports, problem), indent=1) + "\n")


def transcript(report: CallReport) -> str:
    """Who said what and when, in seconds since the call was answered."""
    zero_us = report.result.answered_us or 0
    lines = []
    for turn, row in zip(report.result.turns, report.rows, strict=True):
        lines.append(_line(turn.speech_start_us, zero_us, "caller", turn.said))
        lines.append(_line(turn.heard_start_us, zero_us, "agent ", row.answered or "(nothing)"))
    return "\n".join(lines) + "\n"


def _line(at_us: int | None, zero_us: int, who: str, words: str) -> str:
    at = f"{(at_us - zero_us) / 1e6:6.2f} s" if at_us is not None else "      — "
    return f"{at}  {who}  {words}"


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}"


def _median(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    return _ms(statistics.median(known)) if known else "–"
