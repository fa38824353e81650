"""What the collector tells of a window, as JSON; all durations in milliseconds."""

from __future__ import annotations

from typing import Any, TypeAlias

from trunkline.core import wire
from trunkline.core.latency import STAGES
from trunkline.core.window import Look, Summary

CALL = "call"
"""The name under which the window counts calls; turns are counted under their outcomes."""

Duration: TypeAlias = dict[str, float | int | None]


def metric(look: Look, name: str) -> Duration:
    """One of `METRICS`."""
    return {"window_sec": _whole(look.window_s), **_in_ms(look.summary(name))}


def summary(look: Look) -> dict[str, Any]:
    """RoundTrip first, then everything else."""
    return {
        **metric(look, "roundtrip"),
        **{name: _in_ms(look.summary(name)) for name in ("response", "roundtrip_heard", "response_heard")},
        "stages": {stage.value: _in_ms(look.summary(f"stage:{stage}")) for stage in STAGES},
        **counts(look),
    }


def counts(look: Look) -> dict[str, int]:
    """How much happened."""
    return {
        "turns": sum(look.count(outcome) for outcome in wire.TurnOutcome),
        "unanswered": look.count(wire.TurnOutcome.UNANSWERED),
        "barge_ins": look.count("barge_in"),
        "calls": look.count(CALL),
    }


def stages(look: Look) -> dict[str, Any]:
    """What the RoundTrips are made of.

    The shares are of the sum of all RoundTrips, so they add up to 1. A stage that only some turns have counts by the
    time that it took in all, which its average alone does not tell.
    """
    found = {stage.value: look.summary(f"stage:{stage}") for stage in STAGES}
    sums = {name: each.count * (each.avg or 0.0) for name, each in found.items()}
    total = sum(sums.values())
    return {
        "window_sec": _whole(look.window_s),
        "roundtrip": _in_ms(look.summary("roundtrip")),
        "stages": {
            name: {**_in_ms(each), "share": round(sums[name] / total, 4) if total else None}
            for name, each in found.items()
        },
    }


def _whole(seconds: float) -> float | int:
    return int(seconds) if seconds == int(seconds) else seconds


def _in_ms(found: Summary) -> Duration:
    microseconds = {"avg_ms": found.avg, "p50_ms": found.p50, "p95_ms": found.p95, "p99_ms": found.p99}
    return {
        "count": found.count,
        **{name: None if value is None else round(value / 1_000, 3) for name, value in microseconds.items()},
    }
