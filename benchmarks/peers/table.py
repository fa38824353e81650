"""The peers' figures beside trunkline's, and the limits."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib import metadata

from benchmarks.limits import Limit, judge
from benchmarks.peers.contestants import PYTHON
from benchmarks.peers.steps import Figures
from rich.console import Console
from rich.table import Table

OURS = "trunkline"
BESIDE = "  with orchestrator, collector"
PACKAGES = {
    "pipecat": ("pipecat-ai", "livekit"),
    "livekit-agents": (
        *("livekit-agents", "livekit-plugins-silero", "livekit-plugins-deepgram", "livekit-plugins-elevenlabs"),
        "livekit",
    ),
}
"""Whose versions are told, by virtual environment."""

Found = Mapping[str, Sequence[Figures]]


def line(each: Figures) -> str:
    """One step of one contestant."""
    failed = {"unanswered": each.unanswered, "wrong": each.wrong, "lost": each.lost, "silent": each.silent}
    return (
        f"{each.calls} calls, {each.bursts} bursts, RoundTrip {each.average_ms:.0f} ms, "
        f"{each.mcore_a_call:.1f} mcore and {each.mib_a_call:.1f} MiB a call, {each.used.processes} processes"
        + "".join(f", {count} {what}" for what, count in failed.items() if count)
    )


def show(found: Found) -> None:
    """Prints the table: every step, with ratios to trunkline's figure at as many calls."""
    table = Table(title="Under the same calls (× trunkline)", title_justify="left", box=None, pad_edge=False)
    table.add_column("")
    for column in ("calls", "answered", "RoundTrip avg", "p50", "p95", "mcore a call", "MiB a call"):
        table.add_column(column, justify="right")
    ours = {each.calls: each for each in found.get(OURS, ())}
    for name, steps in found.items():
        for number, each in enumerate(steps):
            base = ours.get(each.calls) if name != OURS else None
            table.add_row(
                name if number == 0 else "",
                str(each.calls) if each.carried else f"{each.calls} not carried",
                f"{each.bursts - each.unanswered - each.wrong}/{each.bursts}",
                _beside(each.average_ms, base.average_ms if base else None, "ms"),
                f"{each.p50_ms:.0f} ms",
                f"{each.p95_ms:.0f} ms",
                _beside(each.mcore_a_call, base.mcore_a_call if base else None),
                _beside(each.mib_a_call, base.mib_a_call if base else None),
            )
        if name == OURS:
            for each in steps:
                table.add_row(
                    BESIDE if each is steps[0] else "", str(each.calls), "", "", "", "",
                    f"{(each.used.mcore + each.used.beside_mcore) / each.calls:.1f}",
                    f"{(each.used.mib + each.used.beside_mib) / each.calls:.1f}",
                )  # fmt: skip
    print()
    Console(width=132).print(table)
    print("calls carried: " + ", ".join(f"{name} {carried(steps)}" for name, steps in found.items()))


def carried(steps: Sequence[Figures]) -> int:
    """The most calls at which all were answered; 0 where it never happened."""
    return max((each.calls for each in steps if each.carried), default=0)


def judge_all(found: Found, most: int) -> int:
    """trunkline against each peer, at each number of calls that both carried. Returns 0 where it is better everywhere.

    Args:
        most: Calls of the last step, all of which trunkline must carry.
    """
    if OURS not in found:
        print("not judged: trunkline was not measured")
        return 0
    ours = {each.calls: each for each in found[OURS] if each.carried}
    limits = [Limit("calls carried by trunkline", carried(found[OURS]), least=most)]
    for name, steps in found.items():
        if name == OURS:
            continue
        both = [(ours[each.calls], each) for each in steps if each.carried and each.calls in ours]
        # A peer that could not be compared at all was not set up right: that is no victory.
        limits.append(Limit(f"{name}: steps compared", len(both), least=1))
        for own, peer in both:
            limits += [
                Limit(
                    f"{name}, {peer.calls} calls: RoundTrip average", own.average_ms, most=peer.average_ms, unit="ms"
                ),
                Limit(
                    f"{name}, {peer.calls} calls: CPU", own.mcore_a_call, most=peer.mcore_a_call, unit="mcore a call"
                ),
                Limit(f"{name}, {peer.calls} calls: memory", own.mib_a_call, most=peer.mib_a_call, unit="MiB a call"),
            ]
    return judge("trunkline, against the peer's figure as the limit", limits)


def versions() -> dict[str, str]:
    """Of the contestants, by package."""
    found = {"python": platform.python_version(), "trunkline": metadata.version("trunkline")}
    for peer, packages in PACKAGES.items():
        code = f"import json, importlib.metadata as m; print(json.dumps({{p: m.version(p) for p in {packages!r}}}))"
        try:
            done = subprocess.run([str(PYTHON[peer]), "-c", code], capture_output=True, check=True, timeout=20)
            theirs = json.loads(done.stdout)
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            raise SystemExit(
                f"{peer} is not installed in {PYTHON[peer].parents[1]}: make bench-peers ({error})"
            ) from error
        found |= {name if name != "livekit" else f"livekit for {peer}": theirs[name] for name in packages}
    return found


def _beside(value: float, base: float | None, unit: str = "") -> str:
    digits = 0 if unit else 1
    return f"{value:.{digits}f} {unit}".strip() + (f" (×{value / base:.2f})" if base else "")
