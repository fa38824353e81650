"""`trunkline report`: a load test's page made again from its figures, and two runs compared."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trunkline.core.errors import ConfigError
from trunkline.loadtest.compare import compare
from trunkline.loadtest.page import write_diff_page, write_page
from trunkline.loadtest.recorded import read_run

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders of load tests.")],
    *,
    diff: Annotated[bool, typer.Option("--diff", help="Compare two runs, A and B.")] = False,
    to: Annotated[Path | None, typer.Option(help="With --diff: a folder for diff.html and its picture, too.")] = None,
) -> None:
    """Make the pages of load tests again, or compare two of them.

    Reads summary.json and turns.csv from each folder and writes report.html and its pictures there. With --diff it
    prints both runs' figures, the differences, and by a bootstrap over the calls whether they could be chance.

    Example: trunkline report --diff runs/monday runs/tuesday
    """
    if not diff:
        if to is not None:
            raise ConfigError("--to is for --diff; a report is written into its run's folder")
        for folder in runs:
            typer.echo(write_page(read_run(folder)))
        return
    if len(runs) != 2:
        raise ConfigError(f"--diff takes two runs, not {len(runs)}")
    comparison = compare(*map(read_run, runs))
    typer.echo(comparison.text())
    if to is not None:
        try:
            to.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"--to {to}: {error.strerror}") from error
        typer.echo(write_diff_page(to, comparison))
