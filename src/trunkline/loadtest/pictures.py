"""A run's pictures: how long answers took, how that changed over time, what it is made of, and who used the CPU.

Each is drawn once and saved twice: as PNG on white, and as SVG whose colours are the page's, so that it is readable on
a light and on a dark page.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from trunkline.loadtest.recorded import RecordedRun

INK, FAINT, GRID = "#20242c", "#6a7280", "#d8dce4"
BLUE, ORANGE, GREEN, PURPLE = "#3a78c9", "#d9752b", "#2f9468", "#8a5fc7"
_OF_PAGE = {INK: "var(--ink)", FAINT: "var(--faint)", GRID: "var(--grid)"}
BINS = 40
WINDOWS = 30
LEAST_A_WINDOW = 20
"""Percentiles of fewer turns say nothing."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture.

    Args:
        name: Of its PNG, without the ending.
        title: What it shows, in one line.
    """

    name: str
    title: str
    png: bytes
    svg: str


def pictures_of(run: RecordedRun) -> list[Picture]:
    """All that can be drawn of a run."""
    drawn: list[tuple[str, str, Callable[[Any], None]]] = []
    if run.turns:
        drawn.append(("roundtrip", "RoundTrip at the caller's ear", lambda axes: _histogram(axes, [run])))
    if len(run.turns) >= 2 * LEAST_A_WINDOW:
        drawn.append(("over_time", "RoundTrip over the run", lambda axes: _over_time(axes, run)))
    if waterfall := run.found["waterfall_ms"]:
        drawn.append(("waterfall", "What a RoundTrip is made of, on average", lambda axes: _waterfall(axes, waterfall)))
    if run.found["cpu_mcore"]:
        drawn.append(("cpu", "CPU and memory by part", lambda axes: _cpu(axes, run.found)))
    return [_picture(name, title, draw) for name, title, draw in drawn]


def comparison_of(before: RecordedRun, after: RecordedRun) -> list[Picture]:
    """Two runs in one picture."""
    if not (before.turns and after.turns):
        return []
    title = "RoundTrip at the caller's ear: A and B"
    return [_picture("compared", title, lambda axes: _histogram(axes, [before, after]))]


def _picture(name: str, title: str, draw: Callable[[Any], None]) -> Picture:
    import matplotlib as mpl  # slow to import, and only needed for a report

    mpl.use("Agg")
    from matplotlib import pyplot

    style: dict[Any, Any] = {
        "font.size": 10,
        "font.family": "sans-serif",
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "text.color": INK,
        "axes.edgecolor": GRID,
        "axes.labelcolor": FAINT,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "grid.color": GRID,
        "xtick.color": FAINT,
        "ytick.color": FAINT,
        "legend.frameon": False,
    }
    with mpl.rc_context(style):
        figure, axes = pyplot.subplots(figsize=(7.2, 3.6), layout="constrained")
        draw(axes)
        png, svg = io.BytesIO(), io.StringIO()
        figure.savefig(svg, format="svg", transparent=True, metadata={"Date": None})
        axes.set_title(title, loc="left", fontsize=11)
        figure.savefig(png, format="png", dpi=144, facecolor="white")
        pyplot.close(figure)
    return Picture(name, title, png.getvalue(), _for_page(svg.getvalue(), name))


def _for_page(svg: str, name: str) -> str:
    """The drawing alone, in the page's colours, with ids that no other picture of the page has."""
    svg = svg[svg.index("<svg") :]
    for colour, of_page in _OF_PAGE.items():
        svg = svg.replace(colour, of_page)
    return re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", svg)


def _histogram(axes: Any, runs: list[RecordedRun]) -> None:
    every = np.concatenate([[turn.roundtrip_ms for turn in run.turns] for run in runs])
    # The few slowest would squeeze all others into one bar: they are counted in the last one.
    most = max(float(np.percentile(every, 99.5)) * 1.05, float(every.min()) + 1.0)
    edges = np.linspace(max(0.0, float(every.min()) * 0.95), most, BINS + 1)
    for run, colour, label in zip(runs, (BLUE, ORANGE), ("A", "B"), strict=False):
        values = np.minimum([turn.roundtrip_ms for turn in run.turns], edges[-1])
        weights = np.full(values.size, 100 / values.size)
        alone = len(runs) == 1
        axes.hist(values, edges, weights=weights, color=colour, alpha=0.85 if alone else 0.55, label=label)
        figures = run.found["roundtrip_ms"]
        if alone:
            for name, place in (("p50", 0.97), ("p95", 0.88), ("p99", 0.79)):
                axes.axvline(min(figures[name], edges[-1]), color=INK, linewidth=1, linestyle=(0, (3, 2)))
                axes.annotate(
                    f"  {name} {figures[name]:.0f} ms  ",
                    (min(figures[name], edges[-1]), place),
                    xycoords=("data", "axes fraction"),
                    ha="right" if figures[name] > edges[0] + 0.7 * (edges[-1] - edges[0]) else "left",
                    va="top",
                )
    if len(runs) > 1:
        axes.legend()
    axes.set_xlabel("ms")
    axes.set_ylabel("% of turns")
    axes.grid(visible=False, axis="x")


def _over_time(axes: Any, run: RecordedRun) -> None:
    at_s = np.array([turn.at_s for turn in run.turns])
    values = np.array([turn.roundtrip_ms for turn in run.turns])
    windows = max(2, min(WINDOWS, values.size // LEAST_A_WINDOW))
    # Windows of as many turns each, so that no percentile is made of fewer than the others.
    groups = np.array_split(np.argsort(at_s, kind="stable"), windows)
    middles = [float(at_s[group].mean()) for group in groups]
    axes.scatter(at_s, values, s=7, color=FAINT, alpha=0.4, linewidths=0)
    for percent, colour in ((50, BLUE), (95, ORANGE), (99, PURPLE)):
        line = [float(np.percentile(values[group], percent, method="inverted_cdf")) for group in groups]
        axes.plot(middles, line, color=colour, linewidth=2, label=f"p{percent}")
    axes.set_ylim(bottom=0)
    axes.set_xlabel(f"seconds since the first answer; each point is {len(groups[-1])} turns or more")
    axes.set_ylabel("ms")
    axes.legend(ncols=3, loc="lower right")


def _waterfall(axes: Any, waterfall: dict[str, float]) -> None:
    names, left, total = list(waterfall), 0.0, sum(waterfall.values())
    for row, name in enumerate(names):
        length = waterfall[name]
        colour = ORANGE if name.startswith("road") else BLUE
        axes.barh(row, abs(length), left=min(left, left + length), height=0.62, color=colour)
        left += length
        axes.annotate(
            f"{length:.0f} ms",
            (max(left, left - length), row),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
        )
    axes.barh(len(names), total, height=0.62, color=GREEN)
    axes.annotate(f"{total:.0f} ms", (total, len(names)), xytext=(5, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(names) + 1), [*names, "at the ear"])
    axes.invert_yaxis()
    axes.set_xlim(right=total * 1.12)
    axes.set_xlabel("ms since the caller's first sound")
    axes.grid(visible=False, axis="y")


def _cpu(axes: Any, found: dict[str, Any]) -> None:
    a_call = found["cpu_mcore_a_call"] or found["cpu_mcore"]
    parts = sorted(a_call, key=lambda part: a_call[part], reverse=True)
    axes.barh(range(len(parts)), [a_call[part] for part in parts], height=0.62, color=BLUE)
    for row, part in enumerate(parts):
        memory = (found["rss_mib"] or {}).get(part, 0.0)
        axes.annotate(
            f"{a_call[part]:.1f}   ({memory:.0f} MiB in all)",
            (a_call[part], row),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
        )
    axes.set_yticks(range(len(parts)), parts)
    axes.invert_yaxis()
    axes.set_xlim(right=max(a_call.values()) * 1.4)
    axes.set_xlabel(f"thousandths of a core a call, with {found['measured_calls']:.0f} calls up")
    axes.grid(visible=False, axis="y")
