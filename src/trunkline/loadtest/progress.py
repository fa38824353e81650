"""How a run stands, while it goes on: a bar that is drawn again on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from trunkline.loadtest.ledger import Standing

LINE_EVERY_S = 5.0
DRAWN_EVERY_S = 0.5

Say = Callable[[str], None]


@asynccontextmanager
async def shown(
    standing: Callable[[], Standing], turns: int, duration_s: float, say: Say, console: Console | None = None
) -> AsyncIterator[Say]:
    """Shows how things stand until it is left; gives what to tell other lines with.

    Args:
        turns: How many are expected; with a duration the bar shows the time instead.
        say: Takes lines where there is no terminal.
        console: Where a bar may be drawn; None: standard error.
    """
    console = console or Console(file=sys.stderr, highlight=False)
    work = _draw(standing, turns, duration_s, console) if console.is_terminal else _tell(standing, say)
    showing = asyncio.create_task(work)
    try:
        yield (lambda line: console.print(line, markup=False, soft_wrap=True)) if console.is_terminal else say
    finally:
        showing.cancel()
        await asyncio.gather(showing, return_exceptions=True)


async def _tell(standing: Callable[[], Standing], say: Say) -> None:
    while True:
        await asyncio.sleep(LINE_EVERY_S)
        say(str(standing()))


async def _draw(standing: Callable[[], Standing], turns: int, duration_s: float, console: Console) -> None:
    columns = (BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    began = time.monotonic()
    with Progress(*columns, console=console, auto_refresh=False) as bar:
        task = bar.add_task("", total=duration_s or turns)
        while True:
            now = standing()
            done = time.monotonic() - began if duration_s else now.answered
            bar.update(task, completed=done, description=str(now), refresh=True)
            await asyncio.sleep(DRAWN_EVERY_S)
