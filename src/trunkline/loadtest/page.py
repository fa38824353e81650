"""The report as one HTML file that needs no other: verdict, figures, pictures, what was not right, what it ran on."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

from trunkline.loadtest.compare import Comparison
from trunkline.loadtest.figures import PERCENTILES
from trunkline.loadtest.pictures import Picture, comparison_of, pictures_of
from trunkline.loadtest.recorded import RecordedRun

PAGE = "report.html"
DIFF_PAGE = "diff.html"
MOST_LISTED = 200

_STYLE = Path(__file__).with_name("report.css")


def write_page(run: RecordedRun) -> Path:
    """Writes report.html and the pictures into a run's folder; returns the page's path."""
    pictures = pictures_of(run)
    _write_pngs(run.folder, pictures)
    found = run.found
    parts = [
        "<h1>Load test</h1>",
        f'<p class="faint">{_e(_what(found))}</p>',
        _verdict(found),
        _tiles(found),
        _pictures(pictures),
        _figures(found),
        _not_right(found),
        _road(found["road"]),
        _origin(found),
    ]
    return _write(run.folder / PAGE, "Load test", parts)


def write_diff_page(folder: Path, comparison: Comparison) -> Path:
    """Writes diff.html and its picture into a folder; returns the page's path."""
    pictures = comparison_of(comparison.before, comparison.after)
    _write_pngs(folder, pictures)
    rows = [
        [_e(line.name), *(_number(value) for value in (line.before, line.after, line.difference)), _e(line.interval),
         f'<span class="{line.judged_as}">{_e(line.verdict)}</span>']
        for line in comparison.lines
    ]  # fmt: skip
    told = [f"<p>{_e(text)}</p>" for text in comparison.told] or ["<p>none</p>"]
    parts = [
        "<h1>Two load tests compared</h1>",
        f'<p class="faint">A: {_e(str(comparison.before.folder))}</p>',
        f'<p class="faint">B: {_e(str(comparison.after.folder))}</p>',
        _pictures(pictures),
        _card("Figures", _table(["", "n:A", "n:B", "n:B − A", "95 % interval", ""], rows)),
        _card("Other differences", "".join(told)),
    ]
    return _write(folder / DIFF_PAGE, "Two load tests compared", parts)


def _write(path: Path, title: str, parts: list[str]) -> Path:
    head = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_e(title)}</title><style>{_STYLE.read_text()}</style></head><body><main>\n"
    )
    path.write_text(head + "\n".join(part for part in parts if part) + "\n</main></body></html>\n")
    return path


def _write_pngs(folder: Path, pictures: list[Picture]) -> None:
    for picture in pictures:
        (folder / f"{picture.name}.png").write_bytes(picture.png)


def _what(found: dict[str, Any]) -> str:
    options = found["options"]
    length = f"for {options['duration']:g} s" if options["duration"] else f"{options['turns']} turns each"
    return (
        f"{found['calls_wanted']} callers via {options['via']}, {length}; {found['speech']}; "
        f"agents answer on {', '.join(found['reply_on']) or 'unknown'}; seed {found['seed']}"
    )


def _verdict(found: dict[str, Any]) -> str:
    if found["ok"]:
        lines = ['<p class="good"><b>Passed</b>: all limits kept.</p>']
    else:
        lines = [f'<p><b class="bad">Failed</b>: {_e(failure)}</p>' for failure in found["failures"]]
    if not found["valid"]:
        lines.append('<p class="warn">The callers themselves were late: the figures say more about them.</p>')
    if found["note"]:
        lines.append(f'<p class="warn">{_e(found["note"])}</p>')
    return f'<div class="card verdict{"" if found["ok"] else " failed"}">{"".join(lines)}</div>'


def _tiles(found: dict[str, Any]) -> str:
    roundtrip, response = found["roundtrip_ms"], found["response_ms"]
    tiles = [
        ("RoundTrip, average", _ms(roundtrip["avg"])),
        ("RoundTrip, p95", _ms(roundtrip["p95"])),
        ("RoundTrip, p99", _ms(roundtrip["p99"])),
        ("Response, average", _ms(response["avg"])),
        ("calls kept", f"{found['calls'] - found['calls_failed']} of {found['calls_wanted']}"),
        ("turns answered", f"{found['turns_answered']} of {found['turns_expected']}"),
        ("wrong answers", str(found["wrong_answer"])),
    ]
    if found["barge_in_ms"]["count"]:
        tiles.append(("barge-in, p95", _ms(found["barge_in_ms"]["p95"])))
    cells = [f'<div class="tile"><b>{_e(value)}</b><span>{_e(name)}</span></div>' for name, value in tiles]
    return f'<div class="tiles">{"".join(cells)}</div>'


def _pictures(pictures: list[Picture]) -> str:
    cards = [_card(picture.title, picture.svg) for picture in pictures]
    return f'<div class="pictures">{"".join(cards)}</div>' if cards else ""


def _figures(found: dict[str, Any]) -> str:
    agents = found["agents"]
    named = [
        ("RoundTrip, ear", found["roundtrip_ms"]),
        ("RoundTrip, agent", agents["roundtrip_ms"]),
        *((f"— {stage}", values) for stage, values in agents["stages_ms"].items()),
        ("Response, ear", found["response_ms"]),
        ("Response, agent", agents["response_ms"]),
        ("barge-in to silence, ear", found["barge_in_ms"]),
        ("dialled to answered", found["setup_ms"]),
        # Runs of before have none.
        *([("joined to answered", found["connect_ms"])] if "connect_ms" in found else []),
    ]
    rows = [
        [_e(name), str(values["count"]), *(_number(values[column]) for column in PERCENTILES)]
        for name, values in named
        if values["count"]
    ]
    head = ["milliseconds", "n:count", *(f"n:{column}" for column in PERCENTILES)]
    note = (
        '<p class="faint">RoundTrip counts from the caller’s first sound, Response from the last. '
        "Ear: on the caller’s clock. Answers were checked by "
        f"{_e(found['answers']['checked_by'])}: {found['answers']['right']} right, {found['answers']['wrong']} wrong, "
        f"{found['answers']['unreadable']} unreadable, {found['answers']['unchecked']} unchecked.</p>"
    )
    return _card("Figures", _table(head, rows) + note)


def _not_right(found: dict[str, Any]) -> str:
    listed = found["not_right"]
    if not listed:
        return ""
    rows = [[str(t["call"]), str(t["turn"]), _e(t["check"]), _e(t["reason"])] for t in listed[:MOST_LISTED]]
    more = f'<p class="faint">and {len(listed) - MOST_LISTED} more</p>' if len(listed) > MOST_LISTED else ""
    return _card("Turns that were not right", _table(["call", "turn", "", "reason"], rows) + more)


def _road(road: dict[str, Any]) -> str:
    if not road["compared"]:
        return _card("Ear and agent", '<p class="faint">Not compared: no records of agents on this clock.</p>')
    text = (
        f"<p>{road['compared']} turns compared: {road['explained']} explained by network and buffers (to the agent "
        f"{road['up_ms']['avg']:.0f} ms, to the ear {road['down_ms']['avg']:.0f} ms on average), "
        f"{len(road['flagged'])} flagged.</p>"
    )
    rows = [[str(t["call"]), str(t["turn"]), _e(t["reason"])] for t in road["flagged"][:MOST_LISTED]]
    return _card("Ear and agent", text + (_table(["call", "turn", "why"], rows) if rows else ""))


def _origin(found: dict[str, Any]) -> str:
    pacing, talk = found["pacing"], found["talk"]
    pairs = [(name.replace("_gib", ", GiB"), value) for name, value in found["machine"].items()]
    pairs += [(name, value or "unknown") for name, value in found["versions"].items()]
    pairs += [(name.replace("_", " "), value) for name, value in found["options"].items() if value]
    if talk["callers"] is not None:
        pairs.append(("share of talk", f"callers {talk['callers']:.0%}, agents {talk['agents']:.0%}"))
    if pacing["ticks"]:
        pairs.append(("callers’ clock late", f"p99 {pacing['p99_ms']} ms, max {pacing['max_ms']} ms"))
    cells = "".join(f"<div><dt>{_e(name)}</dt><dd>{_e(str(value))}</dd></div>" for name, value in pairs)
    return _card("Machine, versions, options", f'<div class="origin"><dl>{cells}</dl></div>')


def _card(title: str, inside: str) -> str:
    return f'<section class="card"><h2>{_e(title)}</h2>{inside}</section>'


def _table(head: list[str], rows: list[list[str]]) -> str:
    """Columns whose heads begin with "n:" are numbers. Cells are HTML."""
    kinds = [' class="n"' if name.startswith("n:") else "" for name in head]
    heads = "".join(f"<th{kind}>{_e(name.removeprefix('n:'))}</th>" for name, kind in zip(head, kinds, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{kind}>{cell}</td>" for cell, kind in zip(row, kinds, strict=True)) + "</tr>"
        for row in rows
    )
    top = f"<thead><tr>{heads}</tr></thead>" if any(head) else ""
    return f'<div class="wide"><table>{top}<tbody>{body}</tbody></table></div>'


def _number(value: float | int | None) -> str:
    if value is None:
        return "–"
    return (f"{value:,.1f}" if isinstance(value, float) and abs(value) < 100 else f"{value:,.0f}").replace("-", "−")


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f} ms".replace("-", "−")


def _e(text: str) -> str:
    return escape(text)
