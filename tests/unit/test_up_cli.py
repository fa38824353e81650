"""What `trunkline up` shows fits a terminal."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from trunkline.cli.up import _Status
from trunkline.stack.process import State

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("state", list(State))
async def test_the_table_is_whole_on_80_columns(state: State) -> None:
    folder = Path.cwd() / "a folder with a long name" / "logs"
    processes = {
        name: SimpleNamespace(state=state, pid=4_194_304, restarts=1_000, log_file=folder / f"{name}.log")
        for name in ("redis", "livekit-server", "livekit-sip", "orchestrator", "agent-16")
    }
    status = _Status()
    status._health = dict.fromkeys(processes, False)
    console = Console(file=io.StringIO(), width=80)
    console.print(status._table(cast(Any, SimpleNamespace(processes=processes))))
    printed = cast(io.StringIO, console.file).getvalue()
    assert "…" not in printed
    assert all(f"{name}.log" in printed for name in processes)
