"""The `trunkline` command: one file a subcommand, each loaded only when it is asked for."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from trunkline.core.errors import TrunklineError

COMMANDS = {
    "up": "keep a whole stack running in the foreground",
    "demo": "place five phone calls to a stack of its own and print what happened",
    "call": "place one phone call to a running stack",
    "link": "print a link to call from a browser, once",
    "doctor": "check what a stack needs, and say what to do",
    "loadtest": "call with many simulated callers and report latency",
    "report": "make a load test's page again, or compare two",
    "brain": "check a flow or a model's tools",
    "tokens": "mint LiveKit tokens",
    "orchestrator": "run the orchestrator (webhooks, tokens, admission)",
    "agent": "run one agent worker",
    "metrics": "run the metrics collector",
}


class LazyGroup(TyperGroup):
    """Loads `trunkline.cli.NAME` when NAME is run, so that `--help` and errors are instant.

    Each such module has `app`, a `typer.Typer` with exactly one command.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"trunkline.cli.{cmd_name}")
        command = typer.main.get_command(module.app)
        command.name = cmd_name
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="trunkline answers phone calls with a voice agent, on LiveKit and Pipecat.",
)


@app.callback()
def _root() -> None:
    """trunkline answers phone calls with a voice agent, on LiveKit and Pipecat."""


def main() -> None:
    """Runs a subcommand; an error raised on purpose becomes one line and exit code 1."""
    try:
        app()
    except (TrunklineError, BaseExceptionGroup) as error:
        sys.stderr.write(f"trunkline: {_on_purpose(error)}\n")
        sys.exit(1)


def _on_purpose(error: BaseException) -> BaseException:
    """The first error of what tasks that ran side by side raised; a group with a bug in it is raised again."""
    while isinstance(error, BaseExceptionGroup):
        _, bugs = error.split(TrunklineError)
        if bugs is not None:
            raise error
        error = error.exceptions[0]
    return error
