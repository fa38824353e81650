"""Two runs side by side: what differs, and whether the difference could be chance.

The interval is a bootstrap's: calls are drawn again and again with replacement, whole, since the turns of one call are
alike. Where it contains nothing, chance alone explains the difference between these two runs. It knows nothing of what
was different between the runs as a whole, such as a busier machine: compare several.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trunkline.loadtest.recorded import RecordedRun, TurnTimes

DRAWS = 1_000
SEED = 1

_STATISTICS: dict[str, Callable[[npt.NDArray[np.float64]], float]] = {
    "avg": lambda values: float(values.mean()),
    **{
        f"p{percent}": lambda values, percent=percent: float(np.percentile(values, percent, method="inverted_cdf"))  # type: ignore[misc]
        for percent in (50, 95, 99)
    },
}
_COUNTS = ("calls", "calls_failed", "turns_expected", "turns_answered", "wrong_answer")


@dataclass(frozen=True, slots=True)
class Line:
    """One figure of both runs.

    Args:
        interval: Of the difference, with 95 % confidence; empty where there is none.
        verdict: In a word or two.
        judged_as: good, bad, faint: the colour of the verdict.
    """

    name: str
    before: float | None
    after: float | None
    interval: str = ""
    verdict: str = ""
    judged_as: str = "faint"

    @property
    def difference(self) -> float | None:
        """After minus before."""
        return None if self.before is None or self.after is None else self.after - self.before


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs.

    Args:
        told: What else differs: machine, versions, options; one line each.
    """

    before: RecordedRun
    after: RecordedRun
    lines: list[Line]
    told: list[str]

    def text(self) -> str:
        """For a terminal."""
        rows = [f"{'':<26}{'A':>10}{'B':>10}{'B − A':>10}  {'95 % interval':<20}"]
        for line in self.lines:
            cells = "".join(f"{_short(value):>10}" for value in (line.before, line.after, line.difference))
            rows.append(f"{line.name:<26}{cells}  {line.interval:<20}{line.verdict}".rstrip())
        others = [f"  {text}" for text in self.told] or ["  none"]
        return "\n".join(
            [f"A: {self.before.folder}", f"B: {self.after.folder}", "", *rows, "", "other differences:", *others]
        )


def compare(before: RecordedRun, after: RecordedRun) -> Comparison:
    """Compares two runs."""
    lines = [Line(name.replace("_", " "), before.found[name], after.found[name]) for name in _COUNTS]
    for title, key, value_of in (
        ("RoundTrip, ear", "roundtrip_ms", lambda turn: turn.roundtrip_ms),
        ("Response, ear", "response_ms", lambda turn: turn.response_ms),
    ):
        lines += _timed(title, key, before, after, value_of)
    barge_ins = [
        (f"barge-in {name}", before.found["barge_in_ms"][name], after.found["barge_in_ms"][name])
        for name in ("avg", "p95")
    ]
    lines += [Line(*figures) for figures in barge_ins if figures[1] is not None or figures[2] is not None]
    parts = [run.found["cpu_mcore_a_call"] or {} for run in (before, after)]
    lines += [
        Line(f"mcore a call, {part}", parts[0].get(part), parts[1].get(part)) for part in {**parts[0], **parts[1]}
    ]
    return Comparison(before, after, lines, _told(before.found, after.found))


def _timed(
    title: str, key: str, before: RecordedRun, after: RecordedRun, value_of: Callable[[TurnTimes], float]
) -> list[Line]:
    lines = []
    intervals = _intervals(_by_call(before, value_of), _by_call(after, value_of))
    for name in (*_STATISTICS, "max"):
        interval, verdict, judged_as = "", "", "faint"
        if name in intervals:
            low, high = intervals[name]
            interval = f"{low:+.0f} to {high:+.0f} ms"
            verdict, judged_as = (
                ("slower", "bad") if low > 0 else ("faster", "good") if high < 0 else ("noise", "faint")
            )
        lines.append(
            Line(f"{title} {name}", before.found[key][name], after.found[key][name], interval, verdict, judged_as)
        )
    return lines


def _by_call(run: RecordedRun, value_of: Callable[[TurnTimes], float]) -> list[npt.NDArray[np.float64]]:
    calls: dict[int, list[float]] = {}
    for turn in run.turns:
        calls.setdefault(turn.call, []).append(value_of(turn))
    return [np.array(values) for values in calls.values()]


def _intervals(
    before: list[npt.NDArray[np.float64]], after: list[npt.NDArray[np.float64]]
) -> dict[str, tuple[float, float]]:
    """Of the difference of each statistic; empty where a run has too few calls to draw from."""
    if min(len(before), len(after)) < 2:
        return {}
    rng = np.random.default_rng(SEED)
    drawn: dict[str, list[float]] = {name: [] for name in _STATISTICS}
    for _ in range(DRAWS):
        a, b = (
            np.concatenate([calls[n] for n in rng.integers(len(calls), size=len(calls))]) for calls in (before, after)
        )
        for name, statistic in _STATISTICS.items():
            drawn[name].append(statistic(b) - statistic(a))
    return {name: (float(np.percentile(d, 2.5)), float(np.percentile(d, 97.5))) for name, d in drawn.items()}


def _told(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Machine, versions and options that differ."""
    told = []
    for group in ("machine", "versions", "options"):
        for name in {**before[group], **after[group]}:
            a, b = before[group].get(name), after[group].get(name)
            if a != b:
                told.append(f"{group}, {name.replace('_', ' ')}: {a or 'none'} → {b or 'none'}")
    for name in ("speech", "reply_on", "valid"):
        if before[name] != after[name]:
            told.append(f"{name.replace('_', ' ')}: {before[name]} → {after[name]}")
    return told


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}" if isinstance(value, float) and abs(value) < 100 else f"{value:.0f}"
