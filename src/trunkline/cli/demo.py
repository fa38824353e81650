"""`trunkline demo`: a stack of its own, five phone calls at once, and what happened, turn by turn."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated

import httpx
import typer
from rich.console import Console
from rich.markup import escape

from trunkline.agent.pipeline.phrases import load_phrases
from trunkline.agent.pipeline.stt import check_providers
from trunkline.cli import call_report
from trunkline.cli.call_report import CallReport
from trunkline.cli.placing import Exchange, Order, collect_reports, place_call
from trunkline.cli.running import INTERRUPTED, run
from trunkline.loadtest.conversation import Utterance
from trunkline.loadtest.load_test import new_folder
from trunkline.loadtest.phone import Phone
from trunkline.loadtest.verdict import judge
from trunkline.loadtest.voice import VOICES, speak_to_wav
from trunkline.logs import configure_logs
from trunkline.settings import load_settings
from trunkline.stack.binaries import find_phone, find_servers
from trunkline.stack.plan import make_plan
from trunkline.stack.ports import free_ports
from trunkline.stack.process import State
from trunkline.stack.stack import Stack

app = typer.Typer(add_completion=False, rich_markup_mode=None)

HOST = "127.0.0.1"
SENTENCES_A_CALL = 3
"""Two that are answered, and one that interrupts the answer to the second."""


@app.command()
def demo(
    calls: Annotated[int, typer.Option(min=1, max=20, help="Phone calls placed at the same time.")] = 5,
    workers: Annotated[int, typer.Option(min=1, max=8, help="Agent workers.")] = 2,
    out: Annotated[Path, typer.Option(help="Folder for recordings, transcripts and marks.")] = Path("runs"),
    json_: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON; progress goes to standard error.")
    ] = False,
) -> None:
    """Start a whole stack on free ports, place phone calls to it, print what happened, stop everything.

    Each call is a real SIP dialog with digest authentication and G.711 sound both ways: the caller speaks two
    sentences, and interrupts the agent once. Recordings, transcripts and all marks are left in runs/.

    Exit code 0 only if every turn was answered and every interruption silenced the agent.

    Example: trunkline demo --calls 5
    """
    configure_logs(load_settings(log_level="WARNING", log_format="text"), "demo")
    show = Console(stderr=json_, highlight=False)
    code = run(_Demo(show, calls, workers, out, json_).run())
    if code is None:
        show.print("demo interrupted; everything it started is stopped")
    raise typer.Exit(INTERRUPTED if code is None else code)


class _Demo:
    def __init__(self, show: Console, calls: int, workers: int, out: Path, as_json: bool) -> None:
        self._show = show
        self._calls = calls
        self._workers = workers
        self._folder = new_folder(out)
        self._as_json = as_json
        self._began = time.monotonic()
        self._said: dict[str, str] = {}

    async def run(self) -> int:
        """The whole demo; the exit code."""
        async with AsyncExitStack() as cleanup:
            run_dir = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="trunkline-")))
            settings = load_settings()
            check_providers(settings)
            self._step(f"what a stack needs, and {self._calls} phone calls")
            programs = await find_servers(run_dir, self._progress)
            phone_program = await find_phone(self._progress)
            scripts = await self._scripts(run_dir)
            plan = make_plan(
                programs,
                free_ports(HOST),
                settings,
                run_dir,
                workers=self._workers,
                host=HOST,
                log_dir=self._folder.absolute() / "logs",
                environment={**os.environ, "METRICS_CSV_DIR": str(self._folder.absolute())},
            )
            self._step("starting the stack")
            await cleanup.enter_async_context(Stack(plan, self._progress))
            phone = await cleanup.enter_async_context(Phone(phone_program, HOST))
            http = await cleanup.enter_async_context(httpx.AsyncClient(trust_env=False))
            self._step(f"placing {self._calls} phone calls at the same time")
            reports = await self._place(Exchange.of(plan.env), phone, http, scripts)
            self._step("stopping the stack")
        problem = judge([report.result for report in reports], [row for report in reports for row in report.rows])
        call_report.write_files(self._folder, reports, problem)
        self._print(reports, problem)
        return 1 if problem else 0

    async def _scripts(self, folder: Path) -> list[list[Utterance]]:
        """What each caller says: the recognizer's own sentences in turn, each caller in another voice."""
        sentences = list(load_phrases().sentences)
        scripts: list[list[Utterance]] = []
        async with asyncio.TaskGroup() as speaking:
            for caller in range(self._calls):
                script: list[Utterance] = []
                for place in range(SENTENCES_A_CALL):
                    text = sentences[(caller * SENTENCES_A_CALL + place) % len(sentences)]
                    wav = folder / f"caller-{caller + 1}-{place + 1}.wav"
                    speaking.create_task(speak_to_wav(text, wav, VOICES[caller % len(VOICES)]))
                    script.append(Utterance(text, wav, interrupts=place == SENTENCES_A_CALL - 1))
                scripts.append(script)
        return scripts

    async def _place(
        self, exchange: Exchange, phone: Phone, http: httpx.AsyncClient, scripts: list[list[Utterance]]
    ) -> list[CallReport]:
        orders = [
            Order(number, script, self._folder.absolute() / f"call-{number}.wav", self._teller(number))
            for number, script in enumerate(scripts, start=1)
        ]
        results = await asyncio.gather(*(place_call(exchange, phone, http, order) for order in orders))
        return await collect_reports(exchange, results)

    def _print(self, reports: list[CallReport], problem: str) -> None:
        rows = [row for report in reports for row in report.rows]
        for report in reports:
            call_report.print_call(self._show, report)
        self._show.print()
        self._show.print(call_report.times_table(rows))
        self._show.print(f"\n[dim]{call_report.LEGEND}[/dim]")
        count = call_report.counts(rows)
        known = len(load_phrases().sentences)
        self._show.print(
            f"\n{count['answered']} of {count['turns']} turns answered\n"
            f"{count['silenced']} of {count['interruptions']} interruptions silenced the agent\n"
            f"{count['understood']} of {count['turns']} sentences understood "
            f"[dim](local recognizer, a demonstrator: it knows {known})[/dim]\n"
            f"Recordings (caller left, agent right), transcripts, marks, CSV, logs:\n  {escape(str(self._folder))}/",
            soft_wrap=True,
        )
        if problem:
            self._show.print(f"[red]demo failed[/red]: {escape(problem)}", soft_wrap=True)
        else:
            self._show.print(f"[green]demo passed[/green] in {time.monotonic() - self._began:.0f} s")
        if self._as_json:
            typer.echo(json.dumps({"folder": str(self._folder), **call_report.as_json(reports, problem)}))

    def _step(self, what: str) -> None:
        self._show.print(f"[bold]{time.monotonic() - self._began:6.1f} s  {what}[/bold]")

    def _progress(self, name: str, state: str, seconds: float) -> None:
        """A line for what is ready or has news; something that goes on has one every ten seconds."""
        quiet = {State.STARTING, State.STOPPING, State.STOPPED}
        if state in quiet or (self._said.get(name) == state and int(seconds) % 10):
            return
        self._said[name] = state
        self._show.print(f"{time.monotonic() - self._began:6.1f} s    {name}: {state}", markup=False, soft_wrap=True)

    def _teller(self, number: int) -> Callable[[str], None]:
        def tell(step: str) -> None:
            elapsed_s = time.monotonic() - self._began
            self._show.print(f"{elapsed_s:6.1f} s    call {number}: {step}", markup=False, soft_wrap=True)

        return tell
