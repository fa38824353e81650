"""`trunkline up`: keep a whole stack running in the foreground, with a live status."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trunkline.cli.running import run

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from trunkline.stack.plan import Plan
    from trunkline.stack.stack import Stack

app = typer.Typer(add_completion=False, rich_markup_mode=None)

HEALTH_PAUSE_S = 3.0


class PortChoice(StrEnum):
    """Which ports are used."""

    STANDARD = "standard"
    FREE = "free"


@app.command()
def up(
    workers: Annotated[int, typer.Option(min=1, max=16, help="Agent workers.")] = 2,
    host: Annotated[
        str, typer.Option(help="IPv4 address for webhooks and phone calls; 0.0.0.0 for all of this machine's.")
    ] = "127.0.0.1",
    ports: Annotated[
        PortChoice, typer.Option(help="standard: 8000, 9100, 7880, 5060; free: any, shown in the table.")
    ] = PortChoice.STANDARD,
    log_dir: Annotated[Path | None, typer.Option(help="Folder for log files (default: .trunkline/logs).")] = None,
) -> None:
    """Keep Redis, livekit-server, livekit-sip, orchestrator, agents and metrics running; Ctrl-C stops all of it.

    Servers that are missing are built first. What ends by itself is started again. Only --host is reachable from
    outside, and there only the orchestrator, SIP and RTP. `trunkline call` and `trunkline doctor` find the stack by
    themselves.

    Example: trunkline up --workers 4
    """
    raise typer.Exit(run(_run(workers, host, ports, log_dir)) or 0)


async def _run(workers: int, host: str, ports: PortChoice, log_dir: Path | None) -> int:
    """Until a signal comes: the first stops the stack in order, the second one cancels the stopping, which kills.

    Returns the exit code. Raises ConfigError or UpstreamError: it did not start."""
    from trunkline.stack.stack import Stack
    from trunkline.stack.state import forget

    status = _Status()
    try:
        plan = await _plan(workers, host, ports, log_dir, status)
        async with Stack(plan, status.progress, restart=True) as stack:
            await status.show(stack)
    except asyncio.CancelledError:
        status.say("stopped")
    finally:
        forget()
    return 0


async def _plan(workers: int, host: str, choice: PortChoice, log_dir: Path | None, status: _Status) -> Plan:
    from trunkline.agent.pipeline.stt import check_providers
    from trunkline.settings import load_settings
    from trunkline.stack.binaries import find_servers
    from trunkline.stack.plan import make_plan
    from trunkline.stack.ports import free_ports, standard_ports
    from trunkline.stack.state import clean_leftovers, make_private_folder, state_file

    settings = load_settings()
    check_providers(settings)
    for name in clean_leftovers():
        status.say(f"{name}: left over from a stack that crashed; ended")
    ports = free_ports(host) if choice is PortChoice.FREE else standard_ports(host)
    folder = state_file().parent
    make_private_folder(folder)
    programs = await find_servers(folder / "run", status.progress)
    return make_plan(
        programs, ports, settings, folder / "run", workers=workers, host=host, log_dir=log_dir or folder / "logs"
    )


class _Status:
    """A table that is drawn again on a terminal; one line a change elsewhere."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console: Console = Console(highlight=False)
        self._drawing = False
        self._health: dict[str, bool] = {}
        self._said: dict[str, str] = {}
        self._changed = asyncio.Event()

    def say(self, line: str) -> None:
        self._console.print(line, markup=False, soft_wrap=True)

    def progress(self, name: str, state: str, seconds: float) -> None:
        """A change of state is a line, unless the table shows it; that something goes on, one every ten seconds."""
        from trunkline.stack.process import State

        self._changed.set()
        if self._drawing and state in list(State):
            return
        if self._said.get(name) != state or int(seconds) % 10 == 0:
            self._said[name] = state
            self.say(f"{name:<15} {state} ({seconds:.1f} s)")

    async def show(self, stack: Stack) -> None:
        """Shows health and restarts for as long as the stack runs."""
        from rich.live import Live

        self.say(_invitation(stack.plan))
        self.say(await _browser_link(stack.plan))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch_health(stack))
            tasks.create_task(self._keep_state(stack))
            if not self._console.is_terminal:
                return
            self._drawing = True
            try:
                with Live(self._table(stack), console=self._console, auto_refresh=False) as live:
                    while True:
                        live.update(self._table(stack), refresh=True)
                        await asyncio.sleep(1.0)
            finally:
                self._drawing = False

    async def _watch_health(self, stack: Stack) -> None:
        while True:
            names = list(stack.processes)
            answers = await asyncio.gather(*(stack.processes[name].healthy() for name in names))
            for name, healthy in zip(names, answers, strict=True):
                if healthy != self._health.get(name, True) and not self._console.is_terminal:
                    self.say(f"{name:<15} {'answers again' if healthy else 'does not answer'}")
                self._health[name] = healthy
            await asyncio.sleep(HEALTH_PAUSE_S)

    async def _keep_state(self, stack: Stack) -> None:
        """Writes the state file again whenever a process was started again."""
        from trunkline.stack.state import write_state

        while True:
            self._changed.clear()
            write_state(stack.plan, {name: process.pid for name, process in stack.processes.items() if process.pid})
            await self._changed.wait()

    def _table(self, stack: Stack) -> Table:
        from rich.table import Table

        table = Table(box=None, pad_edge=False)
        for column in ("process", "state", "pid", "restarts", "health", "log"):
            table.add_column(column, no_wrap=True)
        for name, process in stack.processes.items():
            health = {True: "[green]ok", False: "[red]no answer", None: ""}[self._health.get(name)]
            restarts, pid = str(process.restarts), str(process.pid or "")
            # The folder stands above: with it the table would be wider than a terminal.
            table.add_row(name, process.state.value, pid, restarts, health, process.log_file.name)
        return table


async def _browser_link(plan: Plan) -> str:
    """A line with a link for one call; that there is none is no reason to stop."""
    from trunkline.cli.link import make_link
    from trunkline.core.errors import UpstreamError

    try:
        return f"from the browser, once, within 15 minutes: {await make_link(plan.env)} (another: trunkline link)"
    except UpstreamError as error:
        return f"no link for the browser: {error}"


def _invitation(plan: Plan) -> str:
    env, ports = plan.env, plan.ports
    logs = plan.log_dir.absolute()
    shown = logs.relative_to(Path.cwd()) if logs.is_relative_to(Path.cwd()) else logs
    return (
        f"running: webhook {env['ORCH_URL']}/twilio/voice, phone calls sip:{env['TWILIO_SIP_INGRESS_HOST']}, "
        f"metrics http://127.0.0.1:{ports.metrics}/summary, "
        f"logs in {shown}/\n"
        f'try: trunkline call --say "where is my order"; stop with Ctrl-C'
    )
