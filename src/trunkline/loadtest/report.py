"""What a load test leaves behind: a text for people, a table of turns, and the files of a run's folder."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from trunkline.loadtest.figures import PERCENTILES, Figures
from trunkline.loadtest.pacing import MOST_LATE_MS
from trunkline.loadtest.result import LoadResult

SUMMARY, TURNS, TEXT = "summary.json", "turns.csv", "report.txt"

TURN_COLUMNS = (
    "call",
    "name",
    "turn",
    "worker",
    "speech_start_us",
    "speech_end_us",
    "heard_us",
    "answered",
    "check",
    "roundtrip_ear_ms",
    "response_ear_ms",
    "barge_in_ear_ms",
    "roundtrip_ms",
    "response_ms",
    "road_up_ms",
    "road_down_ms",
    "outcome",
    "understood",
    "reason",
)
MOST_LISTED = 10


def text(found: dict[str, Any]) -> str:
    """The report for people."""
    options = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in found["options"].items() if value)
    calls, checks = found["calls_by_outcome"], found["answers"]
    lines = [
        options,
        f"speech: {found['speech']}; agents answer on: {', '.join(found['reply_on']) or 'unknown'}",
        f"calls   {found['calls']} placed, {found['calls_failed']} failed ({calls['refused']} refused, "
        f"{calls['lost']} lost), {calls['interrupted']} stopped by us; at most {found['calls_at_once']} at once",
        f"turns   {found['turns_expected']} expected, {found['turns_answered']} answered; right {checks['right']}, "
        f"wrong {checks['wrong']}, unreadable {checks['unreadable']}, unchecked {checks['unchecked']} "
        f"(by {checks['checked_by']})",
        *_listed(found["not_right"], "        {call:>4} turn {turn}: {reason}"),
        *_talk_lines(found),
        "",
        f"{'milliseconds':<22}{'count':>7}" + "".join(f"{name:>9}" for name in PERCENTILES),
        _line("RoundTrip, ear", found["roundtrip_ms"]),
        _line("RoundTrip, agent", found["agents"]["roundtrip_ms"]),
        *(_line(f"  {name}", values) for name, values in found["agents"]["stages_ms"].items()),
        _line("Response, ear", found["response_ms"]),
        _line("Response, agent", found["agents"]["response_ms"]),
        _line("barge-in, ear", found["barge_in_ms"]),
        _line("dialled to answered", found["setup_ms"]),
        _line("joined to answered", found["connect_ms"]),
        "",
        "RoundTrip: from the caller's first sound to the agent's first, so with reply_on=final it contains the burst.",
        "Response: from the caller's last sound. Ear: on the caller's clock. The stages add up to RoundTrip, agent.",
        *_road_lines(found["road"]),
        *_usage_lines(found),
        *_pacing_lines(found),
    ]
    if found["reply_on"] == ["final"] and found["turns_spoken_over"]:
        lines += [
            "",
            f"WARNING: in {found['turns_spoken_over']} turns the agent spoke before the caller had finished: a pause,",
            "or a gap in the sound, was taken for the end. Ear: the first sound after it. Agents count more turns.",
        ]
    if found["note"]:
        lines += ["", f"note: {found['note']}"]
    lines += ["", *(f"FAILED: {failure}" for failure in found["failures"])]
    if found["ok"]:
        lines.append("passed: all limits kept")
    return "\n".join(lines) + "\n"


def turns_csv(result: LoadResult) -> str:
    """One row for each turn that was expected, with both sides; instants in microseconds, durations in milliseconds."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(TURN_COLUMNS)
    rows = {(call.number, row.turn): (call, row) for call, row in result.rows}
    for answer in result.answers:
        if (answer.call, answer.turn) not in rows:
            cells: dict[str, Any] = {"call": answer.call, "name": answer.name, "turn": answer.turn, "answered": 0}
        else:
            call, row = rows[answer.call, answer.turn]
            turn = call.turns[row.turn - 1]
            end = result.ends.get(call.call)
            cells = {
                "call": call.number,
                "name": call.call,
                "turn": row.turn,
                "worker": end.worker if end is not None else "",
                "speech_start_us": turn.speech_start_us,
                "speech_end_us": turn.speech_end_us,
                "heard_us": turn.heard_start_us,
                "answered": int(turn.heard_start_us is not None),
                "roundtrip_ear_ms": row.roundtrip_heard_ms,
                "response_ear_ms": row.response_heard_ms,
                "barge_in_ear_ms": row.barge_in_ms,
                "roundtrip_ms": row.roundtrip_ms,
                "response_ms": row.response_ms,
                "road_up_ms": row.road_up_ms,
                "road_down_ms": row.road_down_ms,
                "outcome": row.outcome,
                "understood": row.understood,
            }
        cells |= {"check": answer.check.value, "reason": answer.reason}
        table.writerow([cells.get(column, "") for column in TURN_COLUMNS])
    return out.getvalue()


def write_files(folder: Path, result: LoadResult, found: dict[str, Any]) -> None:
    """The run's text, its figures and its turns; `page.py` makes the pictures from the latter two."""
    (folder / TURNS).write_text(turns_csv(result))
    (folder / SUMMARY).write_text(json.dumps(found, indent=1) + "\n")
    (folder / TEXT).write_text(text(found))


def _listed(items: list[dict[str, Any]], form: str) -> list[str]:
    lines = [form.format(**item) for item in items[:MOST_LISTED]]
    return [*lines, f"        and {len(items) - MOST_LISTED} more"] if len(items) > MOST_LISTED else lines


def _talk_lines(found: dict[str, Any]) -> list[str]:
    talk, barge_in = found["talk"], found["barge_in"]
    lines = []
    if talk["callers"] is not None:
        lines.append(f"talk    callers {talk['callers']:.0%} of the calls' time, agents {talk['agents']:.0%}")
    if found["options"]["interrupt"] and not barge_in["tried"]:
        lines.append("barged  never: the answers were over before the callers could interrupt them")
    elif barge_in["tried"]:
        lines.append(f"barged  {barge_in['tried']} times; {barge_in['silenced']} silenced the agent")
    return lines


def _road_lines(road: dict[str, Any]) -> list[str]:
    if not road["compared"]:
        return ["", "ear and agent: not compared (the agents' records are missing, or of another machine's clock)"]
    return [
        "",
        f"ear and agent: {road['compared']} turns compared; road to the agent avg {road['up_ms']['avg']:.0f} ms, "
        f"to the ear {road['down_ms']['avg']:.0f} ms",
        f"  explained by network and buffers: {road['explained']}; flagged: {len(road['flagged'])}",
        *_listed(road["flagged"], "  call {call} turn {turn}: {reason}"),
    ]


def _usage_lines(found: dict[str, Any]) -> list[str]:
    if not found["cpu_mcore"]:
        return ["", "CPU and memory: unknown (the stack is not on this machine, or was not started by `trunkline up`)"]
    lines = [
        "",
        f"{found['measured_calls']:.0f} calls for {found['measured_s']:.0f} s{'mcore':>14}{'a call':>9}{'MiB':>9}",
    ]
    a_call = found["cpu_mcore_a_call"] or {}
    for part, used in sorted(found["cpu_mcore"].items(), key=lambda pair: -pair[1]):
        lines.append(f"  {part:<21}{used:>9.0f}{a_call.get(part, 0.0):>9.1f}{found['rss_mib'].get(part, 0.0):>9.0f}")
    return lines


def _pacing_lines(found: dict[str, Any]) -> list[str]:
    pacing = found["pacing"]
    if not pacing["ticks"]:
        return ["", "callers' own clock: not measured (the simulated phone keeps its own)"]
    lines = [
        "",
        f"callers' own clock: {pacing['ticks']} ticks, late p99 {pacing['p99_ms']} ms, max {pacing['max_ms']} ms",
    ]
    if not found["valid"]:
        lines += ["", f"WARNING, figures invalid: the callers themselves were late (p99 over {MOST_LATE_MS} ms)"]
    return lines


def _line(name: str, values: Figures) -> str:
    cells = "".join(f"{'–' if values[column] is None else format(values[column], '.0f'):>9}" for column in PERCENTILES)
    return f"{name:<22}{values['count']:>7}{cells}"
