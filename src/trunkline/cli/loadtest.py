"""`trunkline loadtest`: many simulated callers talk to a running stack, and their latency becomes a report."""

from __future__ import annotations

import asyncio
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import httpx
import typer

from trunkline.cli.placing import CALLED, Exchange
from trunkline.core.errors import ConfigError, TrunklineError
from trunkline.emulators.twilio import DialSip, Speak, TwilioEmulator, new_call_sid
from trunkline.loadtest.callers import Order, Outcome, PlacedCall, Script, Tell, run_callers
from trunkline.loadtest.load_test import PlaceCalls, finish, new_folder, run_load_test, until_signal
from trunkline.loadtest.options import DEFAULT_PHRASE, LoadOptions, Target, speech_label
from trunkline.loadtest.phone import CallEnded, CallRefusedError, Phone, PhoneEvent, PhoneLine
from trunkline.loadtest.report import need_plots
from trunkline.logs import configure_logs
from trunkline.settings import ReplyOn, Settings, load_settings

app = typer.Typer(add_completion=False, rich_markup_mode=None)


class Over(StrEnum):
    """The door by which calls come in."""

    WEBRTC = "webrtc"
    SDK = "sdk"
    SIP = "sip"


@app.command()
def loadtest(
    *,
    concurrency: Annotated[int, typer.Option(help="Callers.")] = 100,
    burst_seconds: Annotated[float, typer.Option(help="Each turn: the phrase, repeated up to this length.")] = 8.0,
    phrase: Annotated[
        str, typer.Option(help="What callers say; local speech knows twelve sentences.")
    ] = DEFAULT_PHRASE,
    turns: Annotated[int, typer.Option(help="How often each caller speaks.")] = 3,
    ramp: Annotated[float, typer.Option(help="Calls placed a second.")] = 10.0,
    over: Annotated[
        Over, typer.Option(help="webrtc: LiveKit participants; sdk: those on the Python SDK; sip: phone calls.")
    ] = Over.WEBRTC,
    processes: Annotated[int, typer.Option(help="For WebRTC callers; 0: one for 25, up to the cores.")] = 0,
    url: Annotated[str, typer.Option(help="The orchestrator (default: ORCH_URL, or the running `trunkline up`).")] = "",
    api_key: Annotated[str, typer.Option(help="Its key; better in ORCH_API_KEY, where no other user sees it.")] = "",
    out: Annotated[Path, typer.Option(help="Folder for reports.")] = Path("runs"),
    json_: Annotated[bool, typer.Option("--json", help="Print the summary as JSON; progress: standard error.")] = False,
    plot: Annotated[bool, typer.Option("--plot", help="Draw response.png; needs matplotlib.")] = False,
) -> None:
    """Call a running stack with many simulated callers, and report how long they wait for answers.

    Every caller speaks bursts and listens; an answer is timed at its ear, on its own clock. turns.csv, summary.json and
    report.txt are left in a folder under runs/. The report says when the callers themselves could not keep pace: then
    run them on another machine, or fewer.

    Exit code 0 only if every call was kept and every turn answered. Ctrl-C hangs up and reports what was measured.

    Example: trunkline loadtest --concurrency 20 --turns 3 --burst-seconds 4
    """
    settings = _settings_of(url, api_key)
    configure_logs(load_settings(log_level="WARNING", log_format="text"), "loadtest")
    options = LoadOptions(
        concurrency=concurrency,
        burst_seconds=burst_seconds,
        phrase=phrase,
        turns=turns,
        ramp=ramp,
        processes=processes,
    )
    if plot:
        need_plots()

    async def work(stop: asyncio.Event) -> int:
        target = Target.of(settings)
        place = await _over_sip(settings) if over is Over.SIP else None
        folder = new_folder(out, "loadtest-").absolute()
        result = await run_load_test(
            options,
            target,
            folder,
            speech=speech_label(settings),
            early_answers=settings.reply_on is not ReplyOn.FINAL,
            stop=stop,
            say=_say,
            place=place,
            engine=await _engine() if over is Over.WEBRTC else "",
        )
        result.options["over"] = over.value
        return finish(folder, result, as_json=json_, plot=plot, write=typer.echo)

    raise typer.Exit(asyncio.run(until_signal(work)))


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

    async def place(orders: list[Order], script: Script, tell: Tell, stop: asyncio.Event) -> None:
        async with Phone(program) as phone, httpx.AsyncClient(trust_env=False) as http:
            door = _PhoneDoor(exchange, phone, http)
            calling = asyncio.create_task(run_callers(orders, time.monotonic(), door, script, tell))
            stopping = asyncio.create_task(stop.wait())
            try:
                await asyncio.wait([calling, stopping], return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (calling, stopping):
                    task.cancel()
                await asyncio.gather(calling, stopping, return_exceptions=True)

    return place


class _PhoneDoor:
    """Calls that come in as phone calls: webhook, TwiML, SIP. See `Door`."""

    def __init__(self, exchange: Exchange, phone: Phone, http: httpx.AsyncClient) -> None:
        self._exchange = exchange
        self._phone = phone
        self._http = http

    async def place(self, call: PlacedCall) -> _PhoneCall:
        twilio = self._exchange.twilio(self._http)
        call.call = new_call_sid()
        number = f"+1555010{call.number % 100:02d}"
        instruction = await twilio.incoming_call(call.call, number, CALLED)
        if not isinstance(instruction, DialSip):
            raise CallRefusedError(instruction.words if isinstance(instruction, Speak) else "hung up", 0)
        line = await self._phone.dial(
            call.call, instruction.uri, (instruction.username, instruction.password), caller=number
        )
        up = _PhoneCall(line, twilio, call)
        try:
            call.answered_us = (await line.answered()).at_us
        except BaseException:
            await up.hang_up()
            raise
        return up


class _PhoneCall:
    """One phone call whose end Twilio tells the orchestrator. See `CallerLine`."""

    def __init__(self, line: PhoneLine, twilio: TwilioEmulator, call: PlacedCall) -> None:
        self._line = line
        self._twilio = twilio
        self._call = call

    async def play(self, name: str, wav: Path) -> None:
        await self._line.play(name, wav)

    async def event(self) -> PhoneEvent:
        return await self._line.event()

    async def hang_up(self) -> CallEnded:
        ended = await self._line.hang_up()
        status = "completed" if self._call.outcome is Outcome.COMPLETED else "failed"
        try:
            await self._twilio.dial_ended(self._call.call, status)
        except TrunklineError as error:
            _say(f"call {self._call.number}: {error}")
        return ended


def _say(line: str) -> None:
    typer.echo(line, err=True)
