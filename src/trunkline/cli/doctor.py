"""`trunkline doctor`: checks what a stack needs, and says for each failed check what to do."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from trunkline.cli import checks
from trunkline.cli.checks import Check, Status
from trunkline.core.errors import ConfigError
from trunkline.logs import configure_logs
from trunkline.settings import Settings, load_settings
from trunkline.stack.state import StackState, read_state

app = typer.Typer(add_completion=False, rich_markup_mode=None)

SIGNS = {Status.OK: "[green]✓[/green]", Status.WARNING: "[yellow]![/yellow]", Status.FAILED: "[red]✗[/red]"}
LOOPBACK = "127.0.0.1"
RTP_PORTS = (10000, 20000)


@app.command()
def doctor(
    remote: Annotated[
        bool, typer.Option("--remote", help="Check the servers that the environment or .env names, not `trunkline up`.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print the checks as JSON.")] = False,
) -> None:
    """Check programs, keys, ports, Redis, LiveKit, the orchestrator, SIP, NAT and RTP; say what to do.

    Looks at the stack that `trunkline up` keeps running here, if there is one; with --remote at the servers that the
    settings name. Exit code 0 only if no check failed; warnings don't count.

    Example: trunkline doctor --json
    """
    configure_logs(load_settings(log_level="ERROR", log_format="text"), "doctor")
    found = asyncio.run(_all_checks(remote))
    if json_:
        typer.echo(json.dumps({"ok": not _failures(found), "checks": [asdict(check) for check in found]}))
    else:
        _print(found)
    raise typer.Exit(1 if _failures(found) else 0)


async def _all_checks(remote: bool) -> list[Check]:
    found = await checks.programs(os.environ)
    settings = load_settings()
    found += checks.providers(settings)
    state = None if remote else _running_stack()
    found.append(await checks.media_engine(settings if state is None else _settings_of(state), os.environ))
    if state is not None:
        found.append(checks.ok("stack", f"trunkline up runs, pid {state.up.pid}, logs in {state.log_dir}"))
        found += await checks.running(_settings_of(state), state.host, (state.ports.rtp_from, state.ports.rtp_to))
    elif remote:
        found += checks.keys(settings)
        found += await checks.running(settings, LOOPBACK, RTP_PORTS)
    else:
        found.append(checks.ok("stack", "none runs here; its ports and sound were checked"))
        found += checks.standard_ports(LOOPBACK)
        found += await checks.bounded("rtp", checks.rtp(LOOPBACK, RTP_PORTS))
    return found


def _running_stack() -> StackState | None:
    try:
        return read_state()
    except ConfigError:
        return None


def _settings_of(state: StackState) -> Settings:
    return load_settings(**{name.lower(): value for name, value in state.env.items()})


def _failures(found: list[Check]) -> int:
    return sum(check.status is Status.FAILED for check in found)


def _print(found: list[Check]) -> None:
    show = Console(highlight=False)
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in found:
        detail = _relative(check.detail) + (f"\n[bold]→ {check.fix}[/bold]" if check.fix else "")
        table.add_row(SIGNS[check.status], check.name, detail)
    show.print(table)
    failures, warnings = _failures(found), sum(check.status is Status.WARNING for check in found)
    show.print(f"\n{len(found)} checks, {failures} failed, {warnings} to be looked at")


def _relative(detail: str) -> str:
    return detail.replace(f"{Path.cwd()}/", "")
