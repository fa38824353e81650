"""How long a caller waits, how fast the agent falls silent, whom it takes for an interruption, and what a failure adds.

    .venv/bin/python -m benchmarks.conversation                      `make bench-conversation`: all of it, judged
    .venv/bin/python -m benchmarks.conversation policies --turns 8   one part, shorter

Stacks of their own, WebRTC callers on the native engine (barge-in: phone calls, too), emulated providers: at the
brief's delays (150 ms to the first partial, 150 ms to the first audio) and at those measured of vendors
(`src/trunkline/emulators/profiles.toml`). docs/conversation.md tells what each figure is. Exits with 1 where a limit is
missed.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop
from benchmarks import conversation_failover, conversation_policies
from benchmarks.emulated_stack import emulated_stack
from benchmarks.ending import end_in_order, ended
from benchmarks.limits import Limit, judge
from loguru import logger

from trunkline.core.errors import TrunklineError
from trunkline.core.latency import barge_in_us
from trunkline.loadtest.figures import figures, figures_of_ms
from trunkline.loadtest.options import LoadOptions, Via
from trunkline.loadtest.result import LoadResult
from trunkline.logs import configure_logs
from trunkline.settings import load_settings

BARGE_IN_P95_MS = 150.0
CONFUSION_LIMIT_S = 400.0


async def policies(options: argparse.Namespace, folder: Path) -> list[Limit]:
    """Calls under each policy at each set of delays."""
    return await conversation_policies.measure(folder, options.turns, options.at_once, options.seed)


async def barge_in(options: argparse.Namespace, folder: Path) -> list[Limit]:
    """Callers who interrupt every answer, over WebRTC and then over SIP."""
    limits = []
    print("\nBarge-in: from the caller's first sound to silence at the caller's ear")
    async with emulated_stack(folder, {"REPLY_ON": "final"}) as stack:
        for via, limit_ms in ((Via.WEBRTC, BARGE_IN_P95_MS), (Via.SIP, None)):
            wanted = LoadOptions(
                concurrency=options.calls,
                turns=max(2, -(-options.turns // options.calls)),
                burst_seconds=2.0,
                ramp=2.0,
                via=via,
                interrupt=1.0,
                seed=options.seed,
            )
            result = await stack.load(wanted)
            limits += _barge_in_limits(via.value, limit_ms, result)
    return limits


def _barge_in_limits(via: str, limit_ms: float | None, result: LoadResult) -> list[Limit]:
    tried = [turn for call in result.calls for turn in call.turns if turn.interrupts]
    silenced = sum(turn.silenced_us is not None for turn in tried)
    ms = figures_of_ms(row.barge_in_ms for _, row in result.rows)
    at_agent = figures(barge_in_us(turn) for turn in result.turns)
    shown = ", ".join(f"{name} {_ms(ms[name])}" for name in ("p50", "p95", "max"))
    sent = f"of it up to the agent's last packet: p50 {_ms(at_agent['p50'])}, p95 {_ms(at_agent['p95'])}"
    print(f"  {via:8}{ms['count']:4} interruptions: {shown} ms; {sent}", flush=True)
    if not result.pacing.valid:
        print("          the callers themselves were late")
    p95 = float("nan") if ms["p95"] is None else ms["p95"]
    title = f"barge-in over {via}, p95"
    return [
        Limit(title, p95, most=limit_ms, unit="ms"),
        Limit(f"interruptions over {via} that silenced the agent", silenced, least=max(1, len(tried))),
    ]


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}"


async def confusion(options: argparse.Namespace, folder: Path) -> list[Limit]:
    """The labelled set, in made-up time: `benchmarks/barge_in.py`, which judges by itself."""
    del folder
    small = ["--small"] if options.turns < conversation_policies.TURNS else []
    print("\nWho is taken for an interruption", flush=True)
    command = (sys.executable, "-m", "benchmarks.barge_in", *small)
    async with ended(await asyncio.create_subprocess_exec(*command)) as process:
        try:
            code = await asyncio.wait_for(process.wait(), CONFUSION_LIMIT_S)
        except TimeoutError:
            code = -1
    return [Limit("confusion tables: exit code", code, most=0, least=0)]


async def failover(options: argparse.Namespace, folder: Path) -> list[Limit]:
    """A first provider that stalls and is cut off, and another that stands by."""
    return await conversation_failover.measure(folder, 2 * options.calls, options.turns, options.seed)


Part = Callable[[argparse.Namespace, Path], Awaitable[list[Limit]]]
PARTS: dict[str, Part] = {
    "policies": policies,
    "barge-in": barge_in,
    "failover": failover,
    "confusion": confusion,
}


async def run(options: argparse.Namespace) -> int:
    began, limits = time.monotonic(), []
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in options.parts or PARTS:
        part_began = time.monotonic()
        try:
            limits += await PARTS[name](options, options.folder / name)
        except TrunklineError as error:
            print(f"{name}: {error}")
            limits.append(Limit(f"{name}: {error}", float("nan"), most=0))
        print(f"  ({name}: {time.monotonic() - part_began:.0f} s)", flush=True)
    print(f"\nEmulated providers; {time.monotonic() - began:.0f} s in all\n")
    return judge("Conversations", limits)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--turns", type=int, default=conversation_policies.TURNS, help="of each figure, at least")
    parser.add_argument("--at-once", type=int, default=4, help="stacks with one call each that run at the same time")
    parser.add_argument(
        "--calls", type=int, default=4, help="at once, where barge-in is measured; twice as many for failover"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, dest="folder", help="folder in which logs and figures stay")
    options = parser.parse_args()
    end_in_order()
    logger.remove()
    configure_logs(load_settings(log_level="ERROR", log_format="text"), "bench")
    if options.folder is not None:
        sys.exit(uvloop.run(run(options)))
    with tempfile.TemporaryDirectory() as folder:
        options.folder = Path(folder)
        sys.exit(uvloop.run(run(options)))


if __name__ == "__main__":
    main()
