"""trunkline and its peers under the same calls, one after the other, on this machine: `make bench-peers`.

    .venv/bin/python benchmarks/peers/run.py --json runs/peers.json         about 12 minutes, judged
    .venv/bin/python benchmarks/peers/run.py --steps 2 --seconds 10         a quick look

The contestants: trunkline (one worker), a plain Pipecat bot with all calls in one process, the same with a process for
each call, and a LiveKit Agents worker. Calls become more in steps; a contestant that loses one, leaves a burst without
the right answer, or needs more than 2 s on average, stops there.

Equal for all: the callers (one native media engine; each speaks numbered sentences of 2 s for 30 % of the time), the
pace at which calls come, livekit-server and its configuration, the emulated Deepgram and ElevenLabs (first partial
after 150 ms, first audio after 150 ms) at 16 kHz over their own wire protocols, the answer ("You said: 17. Nice!") and
when it is made: at the first partial of a burst. The Silero model decides what speech is, with a probability of 0.7;
the peers need 50 ms of it to begin a burst and 200 ms of silence to end one. Nobody logs more than warnings.

RoundTrip: from the first packet of a caller's burst to the first loud sound that it hears, both on the callers' clock;
an answer must have the number of its burst in it. mcore: CPU time of the contestant's processes and all they started,
per call, in thousandths of a core. MiB: all of their proportional memory (PSS), divided by the calls. Servers, callers
and emulated providers are not counted for anyone. They are on the same machine, though: "calls carried" is what the
machine carries in all, and a contestant that takes all of it slows its callers, too (told where it happened).
trunkline's orchestrator and metrics collector, for which peers have no counterpart, are not compared: a line of their
own has the figures with them.

Not equal:
- trunkline's voice activity has rules of its own around the model (levels, learned pauses of 160 to 800 ms) and shares
  a run of the model between calls. It sends a recognizer only what may be speech, from the first frame that may be,
  with the 0.3 s before at once; peers send everything as it comes. The emulated recognizer counts its 150 ms from the
  arrival of the first sample of speech.
- Media: trunkline has its own engine in Go; the peers have LiveKit's Python SDK, as they come.
- Pipecat: uvloop, no RTVI, and the caller's sound goes no further than the recognizer, which its defaults do not do.
  LiveKit Agents: 16 kHz, no text streams, no interruption (by the burst that is being answered), one process kept
  waiting instead of one a core; its memory is counted. Its worker says that it has no load, since at its default
  load_threshold it would refuse calls on a busy machine. It has its own event loop and versions of packages.
- trunkline's and Pipecat's providers' clients are Pipecat's, LiveKit Agents' are its own plugins.
- Calls come to trunkline by its orchestrator (admission, lease, job), to LiveKit Agents by LiveKit's dispatch, to
  Pipecat by a line on standard input.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import uvloop

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.emulated_stack import emulators
from benchmarks.ending import end_in_order
from benchmarks.peers import table
from benchmarks.peers.contestants import CONTESTANTS, Contestant, Scene
from benchmarks.peers.processes import use
from benchmarks.peers.steps import DECIDED_S, Figures, Heard, Step, Used, plan_steps

from trunkline.core.errors import TrunklineError
from trunkline.loadtest.bursts import Bursts, make_bursts
from trunkline.loadtest.callers import run_callers
from trunkline.loadtest.engine_line import EngineLine
from trunkline.loadtest.machine import machine
from trunkline.loadtest.options import LoadOptions
from trunkline.loadtest.pacing import MOST_LATE_MS, Pacing, lateness
from trunkline.loadtest.talking import Order, Script
from trunkline.logs import configure_logs
from trunkline.media.native import NativeEngine
from trunkline.settings import load_settings
from trunkline.stack.binaries import find_media_engine, find_servers

STEPS = (4, 10, 20)
BURST_S = 2.0
TALK = 0.3
LIMIT_S = 13.5 * 60
END_S = 25.0
"""Longest wait for the callers' last turns."""


async def within_time(options: argparse.Namespace) -> int:
    """Runs all; SIGTERM and Ctrl-C end it with everything stopped."""
    running = asyncio.ensure_future(run(options))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    try:
        async with asyncio.timeout(LIMIT_S):
            return await running
    except TimeoutError:
        print(f"not over within {LIMIT_S:.0f} s", file=sys.stderr)
        return 1
    except asyncio.CancelledError:
        return 130
    except TrunklineError as error:
        print(error, file=sys.stderr)
        return 1


async def run(options: argparse.Namespace) -> int:
    versions = table.versions()
    bursts_options = LoadOptions(concurrency=options.steps[-1], burst_seconds=BURST_S, talk=TALK)
    with tempfile.TemporaryDirectory(prefix="trunkline-peers-") as made:
        folder = options.logs or Path(made)
        folder.mkdir(parents=True, exist_ok=True)
        async with AsyncExitStack() as parts:
            url = (await parts.enter_async_context(emulators())).url
            engine = await callers_engine()
            parts.push_async_callback(engine.close)
            os.environ.update(
                STT_PROVIDER="emulated", TTS_PROVIDER="emulated", STT_URL=url, TTS_URL=url,
                REPLY_ON="first_partial", LOG_LEVEL="WARNING",
            )  # fmt: skip
            programs = await find_servers(folder, lambda *_: None)
            scene = Scene(programs, folder, url, dict(os.environ))
            bursts = await make_bursts(bursts_options, folder, numbered=True)
            found: dict[str, list[Figures]] = {}
            notes: list[str] = []
            for name in options.only or CONTESTANTS:
                found[name] = await contest(name, scene, engine, bursts, options, notes)
        return report(options, versions, found, notes)


async def callers_engine() -> NativeEngine:
    program = await find_media_engine(lambda name, state, _s: print(f"{name}: {state}", file=sys.stderr))
    if program is None:
        raise SystemExit("the callers need trunkline-media: make servers")
    engine = NativeEngine(program, ["--heard-by-all"])
    await engine.start()
    return engine


async def contest(
    name: str, scene: Scene, engine: NativeEngine, bursts: Bursts, options: argparse.Namespace, notes: list[str]
) -> list[Figures]:
    """All steps of one contestant, up to the first that it does not carry."""
    steps, placed_s = plan_steps(options.steps, options.seconds, options.apart)
    orders = [Order(n + 1, at_s, bursts.wavs[n]) for n, at_s in enumerate(placed_s)]
    script = Script(
        bursts.words, bursts.longest_s, 0, early_answers=True, duration_s=steps[-1].ends_s, talk=TALK, coded=True
    )
    pacing = Pacing()
    print(f"{name}: starting", flush=True)
    async with CONTESTANTS[name](scene, lambda _number: EngineLine(engine, pacing, coded=True), orders) as contestant:
        heard = Heard(time.monotonic())
        calling = asyncio.create_task(run_callers(orders, heard.zero_s, contestant.door, script, heard.take))
        used: list[tuple[Step, Used]] = []
        try:
            for step in steps:
                used.append((step, await measure(contestant, heard.zero_s, step, pacing)))
                await _until(heard.zero_s + step.ends_s + DECIDED_S - 0.5)
                figures = heard.figures(*used[-1])
                print(f"  {table.line(figures)}", flush=True)
                if not figures.carried:
                    break
            else:
                await asyncio.wait({calling}, timeout=END_S)
        finally:
            calling.cancel()
            await asyncio.gather(calling, return_exceptions=True)
    notes += [f"{name}: {problem}" for problem in heard.problems()]
    notes += [
        f"{name}, {step.calls} calls: the callers' own clock was late (p99 {what.callers_late_ms} ms): "
        "too little of the machine was left to them"
        for step, what in used
        if what.callers_late_ms > MOST_LATE_MS
    ]
    return [heard.figures(step, what) for step, what in used]


async def measure(contestant: Contestant, zero_s: float, step: Step, pacing: Pacing) -> Used:
    """What the contestant uses in a step."""
    await _until(zero_s + step.begins_s)
    at, before, beside = time.monotonic(), use(contestant.pids), use(contestant.beside)
    await _until(zero_s + step.ends_s)
    after, beside_after = use(contestant.pids), use(contestant.beside)
    elapsed = time.monotonic() - at
    memory = await asyncio.to_thread(use, contestant.pids, memory=True)
    memory_beside = await asyncio.to_thread(use, contestant.beside, memory=True)
    ticks = sum((count for second, count in pacing.seconds.items() if second >= at), Counter[int]())
    return Used(
        mcore=1000 * (after.cpu_s - before.cpu_s) / elapsed,
        mib=memory.mib,
        processes=after.processes,
        beside_mcore=1000 * (beside_after.cpu_s - beside.cpu_s) / elapsed,
        beside_mib=memory_beside.mib,
        callers_late_ms=lateness(ticks).p99_ms,
    )


async def _until(at_s: float) -> None:
    await asyncio.sleep(max(0.0, at_s - time.monotonic()))


def report(
    options: argparse.Namespace, versions: dict[str, str], found: dict[str, list[Figures]], notes: list[str]
) -> int:
    """Shows and writes all; the exit code."""
    table.show(found)
    print(f"providers emulated; {', '.join(f'{name} {version}' for name, version in versions.items())}")
    print(", ".join(f"{name}: {value}" for name, value in machine().items()))
    for note in notes:
        print(f"note: {note}")
    code = table.judge_all(found, options.steps[-1])
    if options.json is not None:
        told: dict[str, Any] = {
            "providers": "emulated", "machine": machine(), "versions": versions, "steps": options.steps,
            "seconds": options.seconds, "talk": TALK, "burst_s": BURST_S, "notes": notes, "limits_kept": code == 0,
            "contestants": {
                name: [_plain({**asdict(each), "carried": each.carried, "mcore_a_call": each.mcore_a_call,
                               "mib_a_call": each.mib_a_call}) for each in figures]
                for name, figures in found.items()
            },
        }  # fmt: skip
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(told, indent=2) + "\n")
    return code


def _plain(figures: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN."""
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in figures.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, nargs="+", default=list(STEPS), help="calls at once, rising")
    parser.add_argument("--seconds", type=float, default=30.0, help="measured in each step")
    parser.add_argument("--apart", type=float, default=1.5, help="seconds from one call to the next")
    parser.add_argument("--only", nargs="+", choices=list(CONTESTANTS), help="some contestants; judged only with ours")
    parser.add_argument("--logs", type=Path, help="keep the processes' logs there")
    parser.add_argument("--json", type=Path, help="write all figures there")
    options = parser.parse_args()
    if options.steps != sorted(set(options.steps)) or options.steps[0] < 1:
        parser.error("--steps must rise")
    end_in_order()
    configure_logs(load_settings(log_level="WARNING", log_format="text"), "callers")
    sys.exit(uvloop.run(within_time(options)))


if __name__ == "__main__":
    main()
