"""The load test: many simulated callers talk to a running stack at the same time, and what they heard becomes figures.

    run_load_test -> speech (espeak-ng) -> caller processes -> Ledger -> agents' records -> LoadResult -> finish

Each caller gets a token, joins its room by the native media engine (or LiveKit's Python SDK), speaks bursts, and
listens. Run as a program (`python load_test.py --concurrency 50`, in Compose) it is `trunkline loadtest`.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import sys
import tempfile
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from trunkline.core.errors import ConfigError, UpstreamUnavailableError
from trunkline.loadtest import report
from trunkline.loadtest.bursts import make_bursts
from trunkline.loadtest.caller_pool import CallerPool
from trunkline.loadtest.callers import Outcome, Tell
from trunkline.loadtest.figures import all_up
from trunkline.loadtest.impairing import added_ms, impairment_of
from trunkline.loadtest.ledger import Ledger
from trunkline.loadtest.machine import machine, versions
from trunkline.loadtest.options import CALLERS_A_ROOM, EMULATED, Limits, LoadOptions, Rooms, Target
from trunkline.loadtest.page import write_page
from trunkline.loadtest.progress import Say, shown
from trunkline.loadtest.recorded import read_run
from trunkline.loadtest.records import HeardSender, fetch_records
from trunkline.loadtest.result import LoadResult
from trunkline.loadtest.summary import summary
from trunkline.loadtest.talking import Order, Script
from trunkline.loadtest.usage import CALLERS, Sampler

INTERRUPTED = 130
"""Exit code of a run that was ended early."""

PlaceCalls: TypeAlias = Callable[[list[Order], Script, Tell, asyncio.Event], Coroutine[Any, Any, None]]


async def run_load_test(
    options: LoadOptions,
    target: Target,
    folder: Path,
    *,
    speech: str,
    early_answers: bool,
    stop: asyncio.Event,
    echo: bool = True,
    say: Say = lambda _: None,
    place: PlaceCalls | None = None,
    engine: str = "",
    processes: Mapping[str, int] | None = None,
) -> LoadResult:
    """Places all calls, waits for their end, fetches the agents' records. Writes no report yet.

    Args:
        folder: For the callers' logs; must exist.
        speech: Whose recognizer and voice the agents use, for the report.
        early_answers: See `Script`.
        echo: The agents repeat what they understood, so that answers can be told from each other.
        stop: Once set, all callers hang up, and what was measured so far is returned.
        place: How calls are placed; None: over WebRTC, by processes of their own.
        engine: The native media engine's program, for WebRTC callers; empty: the Python SDK.
        processes: The stack's process ids by name, where it runs on this machine.

    Raises:
        ConfigError: espeak-ng is missing, the key is wrong, or an option can't be read.
        UpstreamError: the orchestrator does not answer.
    """
    impairment = impairment_of(options.impair, options.noise, options.seed)
    room = await target.check()
    numbered = speech == EMULATED
    coded = numbered and echo
    with tempfile.TemporaryDirectory(prefix="trunkline-loadtest-") as sounds:
        bursts = await make_bursts(options, Path(sounds), numbered)
        script = Script(
            phrase="" if numbered and not echo else bursts.words,
            burst_s=bursts.longest_s,
            turns=options.turns,
            early_answers=early_answers,
            duration_s=options.duration,
            talk=options.talk,
            interrupt=options.interrupt,
            coded=coded,
            impair=options.impair,
            noise=options.noise,
            seed=options.seed,
        )
        orders = place_orders(options, bursts.wavs)
        length = f"for {options.duration:.0f} s" if options.duration else f"{options.turns} times"
        say(f"{options.concurrency} callers speak for {script.burst_s:.1f} s, {length}; room for {room} calls")
        sampler = Sampler({**(processes or {}), CALLERS: os.getpid()})
        placing = place or CallerPool(options.processes_for(engine), target, folder, engine).place
        result = await _call(options, target, partial(placing, orders, script), sampler=sampler, stop=stop, say=say)
    result.added_ms = added_ms(impairment)
    result.speech, result.coded, result.early = speech, coded, early_answers
    result.machine, result.versions = machine(), await versions(processes or {}, engine)
    for call in result.calls:
        if call.outcome is Outcome.PLACED or (call.outcome is Outcome.INTERRUPTED and not result.interrupted):
            # LiveKit's SDK sends its own process SIGTERM when it panics.
            call.outcome, call.problem = Outcome.LOST, f"its callers' process ended; see {folder}/callers-*.log"
    if (span := all_up(result.calls)) is not None:
        result.mcore, result.mib = sampler.between(*span)
    try:
        names = [call.call for call in result.calls if call.call]
        result.ends, result.turns = await fetch_records(target.metrics_url, names)
    except UpstreamUnavailableError as error:
        result.note = f"the agents' figures are missing: {error}"
    return result


def place_orders(options: LoadOptions, wavs: list[tuple[Path, ...]]) -> list[Order]:
    """Who calls when, and into which room."""
    if options.rooms is Rooms.OWN:
        return [Order(n + 1, n / options.ramp, wavs[n]) for n in range(options.concurrency)]
    run, rooms = secrets.token_hex(4), -(-options.concurrency // CALLERS_A_ROOM)
    return [Order(n + 1, n / options.ramp, wavs[n], f"{run}-{n % rooms + 1}") for n in range(options.concurrency)]


async def _call(
    options: LoadOptions,
    target: Target,
    placing: Callable[[Tell, asyncio.Event], Coroutine[Any, Any, None]],
    *,
    sampler: Sampler,
    stop: asyncio.Event,
    say: Say,
) -> LoadResult:
    """Places all calls and returns when the last is over, when `stop` is set, or after the time limit."""
    interrupted = ""
    expected = options.concurrency * options.turns
    async with HeardSender(target.metrics_endpoint) as heard:
        ledger = Ledger(heard.send, say)
        looking = asyncio.create_task(sampler.run())
        try:
            async with shown(ledger.standing, expected, options.duration, say) as tell:
                ledger.say = tell
                async with asyncio.timeout(options.limit_s):
                    await placing(ledger.take, stop)
        except TimeoutError:
            interrupted = f"not over within {options.limit_s:.0f} s"
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
    if stop.is_set():
        interrupted = "stopped by a signal"
    calls = [ledger.calls[number] for number in sorted(ledger.calls)]
    result = LoadResult(options, "", calls, ledger.pacing, interrupted=interrupted)
    if heard.lost:
        result.note = f"{heard.lost} turns did not reach the collector"
    return result


def new_folder(out: Path, prefix: str = "") -> Path:
    """A folder of its own for one run, named after the time, in `out`. Raises ConfigError where it can't be made."""
    name = datetime.now().strftime(f"{prefix}%Y-%m-%dT%H-%M-%S")
    folder, number = out / name, 1
    while folder.exists():
        number += 1
        folder = out / f"{name}-{number}"
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise ConfigError(f"--out {out}: {error.strerror}") from error
    return folder


async def until_signal(work: Callable[[asyncio.Event], Coroutine[Any, Any, int]]) -> int:
    """Runs `work(stop)`: the first SIGTERM or Ctrl-C sets `stop`, the second one cancels."""
    stop = asyncio.Event()
    task = asyncio.ensure_future(work(stop))

    def on_signal() -> None:
        if stop.is_set():
            task.cancel()
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    try:
        return await task
    except asyncio.CancelledError:
        return INTERRUPTED


def finish(folder: Path, result: LoadResult, limits: Limits, *, write: Say, json_file: Path | None = None) -> int:
    """Writes and shows the report, with its page and pictures; the exit code: 0 only if all limits were kept.

    Args:
        json_file: Where the figures go, too; "-": to `write`, in place of the text.

    Raises:
        ConfigError: the file can't be written; the folder has the figures.
    """
    found = summary(result, limits)
    report.write_files(folder, result, found)
    write_page(read_run(folder))
    figures = json.dumps({"folder": str(folder), **found})
    to_stdout = json_file is not None and str(json_file) == "-"
    write(figures if to_stdout else f"{report.text(found)}\n{folder}/")
    if json_file is not None and not to_stdout:
        try:
            json_file.write_text(figures + "\n")
        except OSError as error:
            raise ConfigError(f"--json {json_file}: {error.strerror}; the figures are in {folder}/") from error
    if result.interrupted:
        return INTERRUPTED
    return 0 if found["ok"] else 1


def main() -> None:
    """Becomes `trunkline loadtest`, with the same options."""
    program = "from trunkline.cli.main import main; main()"
    os.execv(sys.executable, [sys.executable, "-c", program, "loadtest", *sys.argv[1:]])  # noqa: S606


if __name__ == "__main__":
    main()
