"""The whole run in figures for programs: what `--json` writes, and what the report and its pictures are made from."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import chain
from typing import Any

from trunkline.core.latency import STAGES, barge_in_us, response_us, roundtrip_us, stages_us
from trunkline.core.wire import TurnOutcome
from trunkline.loadtest.answers import Check
from trunkline.loadtest.callers import Outcome
from trunkline.loadtest.figures import (
    Figures,
    all_up,
    calls_between,
    figures,
    figures_of_ms,
    most_at_once,
    road_problem,
)
from trunkline.loadtest.options import EMULATED, Limits
from trunkline.loadtest.pacing import Lateness, Pacing
from trunkline.loadtest.result import LoadResult

FAILED = (Outcome.LOST, Outcome.REFUSED, Outcome.PLACED)


def summary(result: LoadResult, limits: Limits | None = None) -> dict[str, Any]:
    """All figures; times in milliseconds, on the caller's clock where nothing else is said."""
    rows = [row for _, row in result.rows]
    checks = Counter(answer.check for answer in result.answers)
    outcomes = Counter(call.outcome for call in result.calls)
    answered = [turn for turn in result.turns if turn.outcome is not TurnOutcome.UNANSWERED]
    found: dict[str, Any] = {
        "interrupted": result.interrupted,
        "valid": result.pacing.valid,
        "note": result.note,
        "speech": result.speech,
        "reply_on": sorted({turn.policy for turn in result.turns}),
        "seed": result.options.seed,
        "options": result.options.as_json(),
        "calls": len(result.calls),
        "calls_wanted": result.options.concurrency,
        "calls_failed": sum(outcomes[outcome] for outcome in FAILED),
        "calls_by_outcome": {outcome.value: outcomes[outcome] for outcome in Outcome if outcome is not Outcome.PLACED},
        "calls_at_once": most_at_once(result.calls),
        "calls_recorded_by_agents": sum(call.call in result.ends for call in result.calls),
        "turns_expected": len(result.answers),
        "turns_answered": len(result.answers) - checks[Check.UNANSWERED],
        "turns_spoken_over": sum(call.spoken_over for call in result.calls),
        "wrong_answer": checks[Check.WRONG],
        "answers": {"checked_by": _checked_by(result), **{check.value: checks[check] for check in Check}},
        "roundtrip_ms": figures_of_ms(row.roundtrip_heard_ms for row in rows),
        "response_ms": figures_of_ms(row.response_heard_ms for row in rows),
        "barge_in_ms": figures_of_ms(row.barge_in_ms for row in rows),
        "setup_ms": figures(_minus(call.answered_us, call.dialled_us) for call in result.calls),
        "connect_ms": figures(_minus(call.answered_us, call.joined_us) for call in result.calls),
        "agents": {
            "turns": len(result.turns),
            "roundtrip_ms": figures(roundtrip_us(turn) for turn in answered),
            "response_ms": figures(response_us(turn) for turn in answered),
            "barge_in_ms": figures(barge_in_us(turn) for turn in answered),
            "stages_ms": _stages(result),
        },
        "road": _road(result),
        "waterfall_ms": _waterfall(result),
        "barge_in": _barge_in(result),
        "talk": _talk(result),
        **_usage(result),
        "versions": result.versions,
        "machine": result.machine,
        "pacing": _pacing(result.pacing),
        "not_right": [
            {"call": a.call, "name": a.name, "turn": a.turn, "check": a.check.value, "reason": a.reason}
            for a in result.answers
            if a.check not in (Check.RIGHT, Check.UNCHECKED)
        ],
    }
    failures = _failures(found, limits or Limits())
    if not result.pacing.valid and not result.interrupted:
        failures = [f"{failure} (the callers themselves were late)" for failure in failures]
    return {"ok": not failures, "failures": failures, **found}


def _failures(found: dict[str, Any], limits: Limits) -> list[str]:
    """One line for each limit that was missed."""
    failures = []
    if found["interrupted"]:
        failures.append(f"ended early: {found['interrupted']}")
    if not found["turns_expected"]:
        failures.append("no turn was spoken")
    unanswered = [turn for turn in found["not_right"] if turn["check"] == Check.UNANSWERED]
    lost = found["calls_failed"] + len(unanswered)
    if lost > limits.max_lost and not found["interrupted"]:
        first = "".join(f"; first: call {t['call']}, turn {t['turn']}: {t['reason']}" for t in unanswered[:1])
        failures.append(
            f"{found['calls_failed']} of {found['calls']} calls failed and {len(unanswered)} of "
            f"{found['turns_expected']} turns unanswered, more than --max-lost {limits.max_lost}{first}"
        )
    if found["wrong_answer"] > limits.max_wrong:
        wrong = next(turn for turn in found["not_right"] if turn["check"] == Check.WRONG)
        failures.append(
            f"{found['wrong_answer']} wrong answers, more than --max-wrong {limits.max_wrong}; "
            f"first: call {wrong['call']}, turn {wrong['turn']}: {wrong['reason']}"
        )
    expected = found["options"]["reply_on"]
    if expected and found["reply_on"] not in ([], [expected]):
        failures.append(f"the agents answer on {', '.join(found['reply_on'])}, not on --reply-on {expected}")
    for name, metric, limit in (
        ("avg", "roundtrip_ms", limits.max_avg_ms),
        ("p50", "roundtrip_ms", limits.max_p50_ms),
        ("p95", "roundtrip_ms", limits.max_p95_ms),
        ("p99", "roundtrip_ms", limits.max_p99_ms),
        ("p95", "barge_in_ms", limits.max_barge_in_p95_ms),
    ):
        option = f"--max-{'barge-in-' if metric == 'barge_in_ms' else ''}{name}-ms"
        measured = found[metric][name]
        if limit is not None and measured is None:
            failures.append(f"nothing was measured for {option} {limit:g}")
        elif limit is not None and measured > limit:
            title = "barge-in" if metric == "barge_in_ms" else "RoundTrip"
            failures.append(f"{title} {name} {measured:.0f} ms, more than {option} {limit:g}")
    return failures


def _checked_by(result: LoadResult) -> str:
    if result.coded:
        return "numbers in the sound, at the ear"
    return "nothing" if result.speech == EMULATED else "words in the agents' records"


def _stages(result: LoadResult) -> dict[str, Figures]:
    stages = [stages_us(turn) for turn in result.turns if turn.outcome is not TurnOutcome.UNANSWERED]
    every = {stage.value: figures(durations.get(stage) for durations in stages) for stage in STAGES}
    return {name: values for name, values in every.items() if values["count"]}


def _road(result: LoadResult) -> dict[str, Any]:
    """What lies between ear and agent: explained by network and buffers, or flagged."""
    both = [(call, row) for call, row in result.rows if row.road_up_ms is not None and row.road_down_ms is not None]
    flagged = []
    for call, row in both:
        why = road_problem(row.road_up_ms or 0.0, row.road_down_ms or 0.0, result.options.via, result.added_ms)
        if why:
            flagged.append({"call": call.number, "name": call.call, "turn": row.turn, "reason": why})
    return {
        "compared": len(both),
        "up_ms": figures_of_ms(row.road_up_ms for _, row in both),
        "down_ms": figures_of_ms(row.road_down_ms for _, row in both),
        "explained": len(both) - len(flagged),
        "flagged": flagged,
    }


def _waterfall(result: LoadResult) -> dict[str, float]:
    """What a RoundTrip at the ear is made of, in order, on average over turns that both sides know; it adds up."""
    sums: defaultdict[str, float] = defaultdict(float)
    count = 0
    for _, row in result.rows:
        if row.record is None or row.road_up_ms is None or row.road_down_ms is None:
            continue
        count += 1
        sums["road to the agent"] += row.road_up_ms
        for stage, duration_us in stages_us(row.record).items():
            sums[stage.value] += duration_us / 1000
        sums["road to the ear"] += row.road_down_ms
    order = ["road to the agent", *(stage.value for stage in STAGES), "road to the ear"]
    return {name: round(sums[name] / count, 2) for name in order if count and name in sums}


def _barge_in(result: LoadResult) -> dict[str, int]:
    """Interruptions at the ear; an answer that ended by itself just before was not interrupted."""
    tried = [turn for turn in chain.from_iterable(call.turns for call in result.calls) if turn.interrupts]
    silenced = sum(turn.silenced_us is not None for turn in tried)
    return {"tried": len(tried), "silenced": silenced, "not_silenced": len(tried) - silenced}


def _talk(result: LoadResult) -> dict[str, float | None]:
    """Share of the calls' time in which callers and agents talked."""
    up_us = sum(_minus(call.ended_us, call.answered_us) or 0 for call in result.calls)
    spoken_us = sum(
        _minus(turn.speech_end_us, turn.speech_start_us) or 0 for call in result.calls for turn in call.turns
    )
    heard_us = sum(call.heard_us for call in result.calls)
    return {
        "callers": round(spoken_us / up_us, 3) if up_us else None,
        "agents": round(heard_us / up_us, 3) if up_us else None,
    }


def _usage(result: LoadResult) -> dict[str, Any]:
    """By part, in thousandths of a core and MiB; null where it can't be known."""
    span = all_up(result.calls)
    calls = calls_between(result.calls, *span) if span else 0.0
    a_call = {part: round(used / calls, 2) for part, used in result.mcore.items()} if calls else {}
    return {
        "cpu_mcore": result.mcore or None,
        "cpu_mcore_a_call": a_call or None,
        "rss_mib": result.mib or None,
        "measured_calls": round(calls, 1),
        "measured_s": round(span[1] - span[0], 1) if span else 0.0,
    }


def _pacing(pacing: Pacing) -> dict[str, Any]:
    seconds = pacing.by_second()
    first = seconds[0][0] if seconds else 0
    by_second = [{"second": second - first, **_late(late)} for second, late in seconds]
    return {**_late(pacing.total()), "by_second": by_second}


def _late(late: Lateness) -> dict[str, int]:
    return {"ticks": late.ticks, "p99_ms": late.p99_ms, "max_ms": late.max_ms}


def _minus(end_us: int | None, start_us: int | None) -> int | None:
    return None if end_us is None or start_us is None else end_us - start_us
