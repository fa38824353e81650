"""The load test: many simulated callers talk to a running stack at the same time, and what they heard becomes figures.

    run_load_test -> speech (espeak-ng) -> caller processes, 25 callers each -> Ledger -> agents' records -> report

Each caller gets a token, joins its room by the native media engine (or LiveKit's Python SDK), speaks bursts, and
listens. Also runs by itself:
`python load_test.py --concurrency 50`, with ORCH_URL, ORCH_API_KEY and METRICS_ENDPOINT in the environment.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

from trunkline.core.errors import ConfigError, TrunklineError, UpstreamUnavailableError
from trunkline.core.units import Pcm, samples_to_s
from trunkline.loadtest import report
from trunkline.loadtest.caller_pool import CallerPool
from trunkline.loadtest.callers import Order, Outcome, Script, Tell
from trunkline.loadtest.ear import burst, sound_only
from trunkline.loadtest.ledger import Ledger
from trunkline.loadtest.options import DEFAULT_PHRASE, EMULATED, LoadOptions, Target, speech_label
from trunkline.loadtest.records import HeardSender, fetch_records
from trunkline.loadtest.report import LoadResult
from trunkline.loadtest.voice import VOICES, speak, write_wav
from trunkline.media.choice import native_program
from trunkline.settings import ReplyOn, load_settings
from trunkline.testing.voice_code import MAX_SENTENCE_ID, encode

INTERRUPTED = 130
"""Exit code of a run that was ended early."""

Say: TypeAlias = Callable[[str], None]
Speech: TypeAlias = tuple[Script, list[Path]]
PlaceCalls: TypeAlias = Callable[[list[Order], Script, Tell, asyncio.Event], Coroutine[Any, Any, None]]


async def run_load_test(
    options: LoadOptions,
    target: Target,
    folder: Path,
    *,
    speech: str,
    early_answers: bool,
    stop: asyncio.Event,
    say: Say = lambda _: None,
    place: PlaceCalls | None = None,
    engine: str = "",
) -> LoadResult:
    """Places all calls, waits for their end, fetches the agents' records. Writes no report yet.

    Args:
        folder: For the callers' speech and logs; must exist.
        speech: Whose recognizer and voice the agents use, for the report.
        early_answers: See `Script`.
        stop: Once set, all callers hang up, and what was measured so far is returned.
        place: How calls are placed; None: over WebRTC, by processes of their own.
        engine: The native media engine's program, for WebRTC callers; empty: the Python SDK.

    Raises:
        ConfigError: espeak-ng is missing, or the key is wrong.
        UpstreamError: the orchestrator does not answer.
    """
    room = await target.check()
    script, wavs = await _prepare_speech(options, folder, early_answers, coded=speech == EMULATED)
    orders = [Order(n + 1, n / options.ramp, wavs[n % len(wavs)]) for n in range(options.concurrency)]
    say(
        f"{options.concurrency} callers, {options.turns} bursts of up to {script.burst_s:.1f} s; "
        f"the workers have room for {room}"
    )
    interrupted = ""
    async with HeardSender(target.metrics_endpoint) as heard:
        ledger = Ledger(heard.send, say)
        watching = asyncio.create_task(_watch(ledger, say))
        placing = place or CallerPool(options.processes_for(engine), target, folder, engine).place
        try:
            async with asyncio.timeout(options.limit_s):
                await placing(orders, script, ledger.take, stop)
        except TimeoutError:
            interrupted = f"not over within {options.limit_s:.0f} s"
        finally:
            watching.cancel()
    if stop.is_set():
        interrupted = "stopped by a signal"
    calls = [ledger.calls[number] for number in sorted(ledger.calls)]
    for call in calls:
        if call.outcome is Outcome.PLACED or (call.outcome is Outcome.INTERRUPTED and not interrupted):
            # LiveKit's SDK sends its own process SIGTERM when it panics.
            call.outcome, call.problem = Outcome.LOST, f"its callers' process ended; see {folder}/callers-*.log"
    result = LoadResult(asdict(options), speech, calls, ledger.pacing, interrupted=interrupted)
    if heard.lost:
        result.note = f"{heard.lost} turns did not reach the collector"
    try:
        result.ends, result.turns = await fetch_records(target.metrics_url, [call.call for call in calls if call.call])
    except UpstreamUnavailableError as error:
        result.note = f"the agents' figures are missing: {error}"
    return result


async def _prepare_speech(options: LoadOptions, folder: Path, early_answers: bool, coded: bool) -> Speech:
    """What each caller says, as WAV: a burst in each voice; with emulated providers each has its own, with a number."""
    bursts: list[Pcm] = []
    for voice in VOICES[: options.concurrency]:
        samples = burst(sound_only(await speak(options.phrase, voice)), options.burst_seconds)
        if not samples.size:
            raise ConfigError(f"--phrase {options.phrase!r} has no sound")
        bursts.append(samples)
    if coded:
        # An emulated recognizer reads which sentence is spoken from the sound, and knows no other words.
        bursts = [encode(n + 1, bursts[n % len(bursts)]) for n in range(min(options.concurrency, MAX_SENTENCE_ID))]
    wavs = [folder / f"burst-{number}.wav" for number in range(1, len(bursts) + 1)]
    for wav, samples in zip(wavs, bursts, strict=True):
        write_wav(wav, samples)
    longest_s = samples_to_s(max(samples.size for samples in bursts))
    return Script(options.phrase, longest_s, options.turns, early_answers), wavs


async def _watch(ledger: Ledger, say: Say) -> None:
    while True:
        await asyncio.sleep(5.0)
        say(ledger.progress())


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


def finish(folder: Path, result: LoadResult, *, as_json: bool, plot: bool, write: Say) -> int:
    """Writes and shows the report; the exit code: 0 only if every call was kept and every turn answered."""
    found = report.summary(result)
    report.write_files(folder, result, found)
    if plot:
        report.write_plot(folder, result)
    write(json.dumps({"folder": str(folder), **found}) if as_json else f"{report.text(found)}\n{folder}/")
    if result.interrupted:
        return INTERRUPTED
    return 1 if found["problem"] else 0


def main() -> None:
    """The load test without the rest of the command line, for containers."""
    parser = argparse.ArgumentParser(description="Calls a running stack with many simulated callers.")
    parser.add_argument("--concurrency", type=int, default=LoadOptions.concurrency)
    parser.add_argument("--burst-seconds", type=float, default=LoadOptions.burst_seconds)
    parser.add_argument("--phrase", default=DEFAULT_PHRASE)
    parser.add_argument("--turns", type=int, default=LoadOptions.turns)
    parser.add_argument("--ramp", type=float, default=LoadOptions.ramp, help="calls a second")
    parser.add_argument("--processes", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--plot", action="store_true")
    given = vars(parser.parse_args())
    out, as_json, plot = given.pop("out"), given.pop("json"), given.pop("plot")

    async def work(stop: asyncio.Event) -> int:
        settings = load_settings()
        target = Target.of(settings)
        if plot:
            report.need_plots()
        options = LoadOptions(**given)
        folder = new_folder(out, "loadtest-").absolute()
        result = await run_load_test(
            options,
            target,
            folder,
            speech=speech_label(settings),
            early_answers=settings.reply_on is not ReplyOn.FINAL,
            stop=stop,
            say=_to_stderr,
            engine=str(native_program(settings) or ""),
        )
        return finish(folder, result, as_json=as_json, plot=plot, write=_to_stdout)

    try:
        code = asyncio.run(until_signal(work))
    except TrunklineError as error:
        _to_stderr(f"load test: {error}")
        code = 1
    sys.exit(code)


def _to_stderr(line: str) -> None:
    sys.stderr.write(line + "\n")


def _to_stdout(line: str) -> None:
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main()
