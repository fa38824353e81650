"""`trunkline call`: one phone call to a running stack, and what was said."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from pathlib import Path
from typing import Annotated

import httpx
import typer
from rich.console import Console
from rich.markup import escape

from trunkline.agent.pipeline.phrases import load_phrases
from trunkline.cli import call_report
from trunkline.cli.placing import Exchange, Order, collect_reports, place_call
from trunkline.cli.running import INTERRUPTED, run
from trunkline.core.errors import ConfigError
from trunkline.loadtest.conversation import Utterance
from trunkline.loadtest.load_test import new_folder
from trunkline.loadtest.phone import Phone
from trunkline.loadtest.verdict import judge
from trunkline.loadtest.voice import speak_to_wav
from trunkline.logs import configure_logs
from trunkline.settings import load_settings
from trunkline.stack.binaries import find_phone
from trunkline.stack.state import read_state

app = typer.Typer(add_completion=False, rich_markup_mode=None)

MAX_SENTENCES = 20
MAX_SENTENCE_CHARS = 300


@app.command()
def call(
    say: Annotated[list[str] | None, typer.Option(help="A sentence; may be given several times.")] = None,
    interrupt: Annotated[str, typer.Option(help="A sentence spoken into the answer to the last --say.")] = "",
    out: Annotated[Path, typer.Option(help="Folder for the recording, the transcript and the marks.")] = Path("runs"),
    json_: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON; progress goes to standard error.")
    ] = False,
) -> None:
    """Place one phone call to the stack that `trunkline up` keeps running here.

    The call is a real one: signed webhook, SIP with digest authentication, G.711 sound both ways. The local recognizer
    understands only its list of sentences; with another STT_PROVIDER say what you like.

    Exit code 0 only if every sentence was answered and the interruption silenced the agent.

    Example: trunkline call --say "where is my order" --say "how much does it cost"
    """
    configure_logs(load_settings(log_level="WARNING", log_format="text"), "call")
    sentences = [*(say or [next(iter(load_phrases().sentences.values()))]), *([interrupt] if interrupt else [])]
    if len(sentences) > MAX_SENTENCES or not all(map(_can_be_said, sentences)):
        raise ConfigError(f"give 1 to {MAX_SENTENCES} sentences with words, of up to {MAX_SENTENCE_CHARS} characters")
    show = Console(stderr=json_, highlight=False)
    code = run(_place(show, sentences, bool(interrupt), out, json_))
    raise typer.Exit(INTERRUPTED if code is None else code)


def _can_be_said(text: str) -> bool:
    return len(text) <= MAX_SENTENCE_CHARS and any(map(str.isalnum, text))


async def _place(show: Console, sentences: list[str], interrupts: bool, out: Path, as_json: bool) -> int:
    exchange = Exchange.of(read_state().env)
    began = time.monotonic()

    def tell(step: str) -> None:
        show.print(f"{time.monotonic() - began:6.1f} s  {step}", markup=False, soft_wrap=True)

    program = await find_phone(lambda name, state, _: tell(f"{name}: {state}"))
    folder = new_folder(out)
    with tempfile.TemporaryDirectory(prefix="trunkline-") as wavs:
        script = [
            Utterance(text, Path(wavs) / f"{number}.wav", interrupts=interrupts and number == len(sentences))
            for number, text in enumerate(sentences, start=1)
        ]
        await asyncio.gather(*(speak_to_wav(utterance.text, utterance.wav) for utterance in script))
        async with Phone(program) as phone, httpx.AsyncClient(trust_env=False) as http:
            order = Order(1, script, folder.absolute() / "call-1.wav", tell)
            result = await place_call(exchange, phone, http, order)
        [report] = await collect_reports(exchange, [result])
    problem = judge([result], report.rows)
    call_report.write_files(folder, [report], problem)
    call_report.print_call(show, report)
    show.print()
    show.print(call_report.times_table(report.rows))
    show.print(
        f"\n[dim]{call_report.LEGEND}[/dim]\nRecording, transcript, marks: {escape(str(folder))}/", soft_wrap=True
    )
    if problem:
        show.print(f"[red]call failed[/red]: {escape(problem)}", soft_wrap=True)
    if as_json:
        typer.echo(json.dumps({"folder": str(folder), **call_report.as_json([report], problem)}))
    return 1 if problem else 0
