"""`trunkline loadtest`: many simulated callers talk to a running stack, and their latency becomes a report."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from trunkline.cli.phone_door import phone_placer
from trunkline.cli.placing import Exchange
from trunkline.core.errors import ConfigError
from trunkline.loadtest.load_test import PlaceCalls, finish, new_folder, run_load_test, until_signal
from trunkline.loadtest.options import DEFAULT_PHRASE, Limits, LoadOptions, Rooms, Target, Via, speech_label
from trunkline.logs import configure_logs
from trunkline.settings import ReplyOn, Settings, load_settings

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_LIMIT = "Most RoundTrip at the ear, in ms."


@app.command()
def loadtest(
    *,
    concurrency: Annotated[int, typer.Option(help="Callers.")] = 100,
    burst_seconds: Annotated[float, typer.Option(help="Each turn: the phrase, repeated up to this length.")] = 8.0,
    phrase: Annotated[
        str, typer.Option(help="What callers say; local speech knows twelve sentences.")
    ] = DEFAULT_PHRASE,
    wav: Annotated[Path | None, typer.Option(help="A recording to speak instead; --phrase may tell its words.")] = None,
    turns: Annotated[int, typer.Option(help="How often each caller speaks.")] = 3,
    duration: Annotated[float, typer.Option(help="Seconds; callers go on until then, however many turns.")] = 0.0,
    talk: Annotated[float, typer.Option(help="Share of the time that each caller talks, such as 0.3; 0: all.")] = 0.0,
    ramp: Annotated[float, typer.Option(help="Calls placed a second.")] = 10.0,
    via: Annotated[
        Via, typer.Option(help="webrtc: by the media engine; sip: phone calls; sdk: LiveKit's Python client.")
    ] = Via.WEBRTC,
    rooms: Annotated[Rooms, typer.Option(help="own: one for each call; shared: up to 25 callers in one.")] = Rooms.OWN,
    reply_on: Annotated[
        ReplyOn | None, typer.Option(help="The agents' policy; fails where they have another (default: REPLY_ON).")
    ] = None,
    interrupt: Annotated[float, typer.Option(help="Share of the answers that are interrupted.")] = 0.0,
    impair: Annotated[str, typer.Option(help="A bad line, such as loss=2%,jitter=30ms,delay=40ms.")] = "",
    noise: Annotated[
        str, typer.Option(help="Behind the callers: white, pink, hum, babble or a WAV, and a level: babble/-45dBov.")
    ] = "",
    seed: Annotated[int, typer.Option(help="Decides all that is drawn by lot.")] = 0,
    processes: Annotated[int, typer.Option(help="For WebRTC callers; 0: as many as are needed.")] = 0,
    url: Annotated[str, typer.Option(help="The orchestrator (default: ORCH_URL, or the running `trunkline up`).")] = "",
    api_key: Annotated[str, typer.Option(help="Its key; better in ORCH_API_KEY, where no other user sees it.")] = "",
    part: Annotated[
        list[str] | None, typer.Option(help="NAME=PID of a process to measure; those of `trunkline up` are known.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Folder for the report (default: one of its own in runs/).")
    ] = None,
    json_: Annotated[Path | None, typer.Option("--json", help="File for the figures; -: standard output.")] = None,
    max_avg_ms: Annotated[float | None, typer.Option(help=_LIMIT)] = None,
    max_p50_ms: Annotated[float | None, typer.Option(help=_LIMIT)] = None,
    max_p95_ms: Annotated[float | None, typer.Option(help=_LIMIT)] = None,
    max_p99_ms: Annotated[float | None, typer.Option(help=_LIMIT)] = None,
    max_barge_in_p95_ms: Annotated[float | None, typer.Option(help="From interruption to silence, in ms.")] = None,
    max_lost: Annotated[int, typer.Option(min=0, help="Failed calls and unanswered turns.")] = 0,
    max_wrong: Annotated[int, typer.Option(min=0, help="Answers to other words than the caller's last.")] = 0,
) -> None:
    """Call a running stack with many simulated callers, and report how long they wait for answers.

    Every caller speaks bursts and listens; an answer is timed at its ear, on its own clock. report.html, its pictures,
    turns.csv, summary.json and report.txt are left in a folder. The report says when the callers themselves could not
    keep pace: then run them on another machine, or fewer.

    Exit code 0 if all limits were kept, 1 if not, 130 after Ctrl-C, which hangs up and reports what was measured.

    Example: trunkline loadtest --concurrency 20 --turns 3 --burst-seconds 4 --max-avg-ms 600
    """
    options = LoadOptions(
        concurrency=concurrency,
        burst_seconds=burst_seconds,
        phrase=phrase,
        wav=wav,
        turns=turns,
        duration=duration,
        talk=talk,
        ramp=ramp,
        via=via,
        rooms=rooms,
        reply_on=reply_on.value if reply_on else "",
        interrupt=interrupt,
        impair=impair,
        noise=noise,
        seed=seed,
        processes=processes,
    )
    limits = Limits(
        max_avg_ms=max_avg_ms,
        max_p50_ms=max_p50_ms,
        max_p95_ms=max_p95_ms,
        max_p99_ms=max_p99_ms,
        max_barge_in_p95_ms=max_barge_in_p95_ms,
        max_lost=max_lost,
        max_wrong=max_wrong,
    )
    settings = _settings_of(url, api_key)
    measured = {**_stack_processes(settings), **_named(part or [])}
    configure_logs(load_settings(log_level="WARNING", log_format="text"), "loadtest")

    async def work(stop: asyncio.Event) -> int:
        target = Target.of(settings)
        place = await _over_sip(settings) if via is Via.SIP else None
        engine = await _engine() if via is Via.WEBRTC else ""
        folder = (_wanted_folder(report) if report else new_folder(Path("runs"), "loadtest-")).absolute()
        result = await run_load_test(
            options,
            target,
            folder,
            speech=speech_label(settings),
            early_answers=(reply_on or settings.reply_on) is not ReplyOn.FINAL,
            stop=stop,
            echo=settings.brain == "echo",
            say=_say,
            place=place,
            engine=engine,
            processes=measured,
        )
        return finish(folder, result, limits, json_file=json_, write=typer.echo)

    raise typer.Exit(asyncio.run(until_signal(work)))


def _wanted_folder(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--report {folder}: {error.strerror}") from error
    return folder


def _settings_of(url: str, api_key: str) -> Settings:
    """Settings that name the stack: options, else the environment, else those of the running `trunkline up`.

    Raises:
        ConfigError: no key, and no stack is running here.
    """
    given = {name: value for name, value in (("orch_url", url), ("orch_api_key", api_key)) if value}
    settings = load_settings(**given)
    if settings.orch_api_key.get_secret_value():
        return settings
    if url:
        raise ConfigError("ORCH_API_KEY not set", "--url names a stack, whose key is needed")
    from trunkline.stack.state import read_state

    return load_settings(**{name.lower(): value for name, value in read_state().env.items()})


def _stack_processes(settings: Settings) -> Mapping[str, int]:
    """Process ids of `trunkline up` by name, where that is the stack that is called."""
    from trunkline.stack.state import read_state

    try:
        state = read_state()
    except ConfigError:
        return {}
    if state.env.get("ORCH_URL") != settings.orch_url:
        return {}
    return {name: identity.pid for name, identity in state.processes.items() if identity.alive()}


def _named(parts: list[str]) -> dict[str, int]:
    """Process ids from texts such as "emulators=123". Raises ConfigError."""
    found = {}
    for text in parts:
        name, _, pid = text.partition("=")
        if not name or not pid.isdigit():
            raise ConfigError(f"--part {text!r} is not NAME=PID")
        found[name] = int(pid)
    return found


async def _engine() -> str:
    """The native media engine's program, for the callers; empty where it can't be had, which is told."""
    from trunkline.stack.binaries import find_media_engine

    return str(await find_media_engine(lambda name, state, _seconds: _say(f"{name}: {state}")) or "")


async def _over_sip(settings: Settings) -> PlaceCalls:
    """Places calls as phone calls through Twilio's emulator. Raises ConfigError."""
    from trunkline.stack.binaries import find_phone

    settings.require("twilio_auth_token")
    program = await find_phone(lambda name, state, _seconds: _say(f"{name}: {state}"))
    exchange = Exchange(
        settings.orch_url,
        settings.public_url,
        settings.twilio_auth_token.get_secret_value(),
        settings.metrics_endpoint.removesuffix("/ingest"),
    )
    return phone_placer(exchange, program)


def _say(line: str) -> None:
    typer.echo(line, err=True)
