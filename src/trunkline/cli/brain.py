"""`trunkline brain`: checks a flow or a model's tools, and says where they are wrong."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None)


class What(StrEnum):
    """What can be done."""

    CHECK = "check"


@app.command()
def brain(
    what: Annotated[What, typer.Argument(help="check")],
    file: Annotated[Path, typer.Argument(help="A flow (BRAIN_SCRIPT) or tools of a model (LLM_TOOLS), as YAML.")],
) -> None:
    """Check a flow or a model's tools; a mistake is told with its line. Exit code 0 only if there is none.

    Example: trunkline brain check examples/opening_hours.yaml
    """
    from trunkline.agent.brains.flow_file import check_flow
    from trunkline.agent.brains.tools import load_tools
    from trunkline.agent.brains.yaml_reader import read_yaml

    if "tools" in read_yaml(file, "file").pairs():
        typer.echo(f"{file}: good, tools: {', '.join(load_tools(file))}")
    else:
        typer.echo(f"{file}: good, {check_flow(file)}")
