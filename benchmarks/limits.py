"""Measured figures against their limits: a table, and an exit code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Limit:
    """One figure and what it may be.

    Args:
        name: What was measured.
        value: The figure; NaN misses every limit.
        most: It may not exceed this, where set.
        least: It may not be below this, where set.
        aim: What is aimed at beyond the limit; shown, but no reason to fail.
        unit: Printed after figure and limit.
    """

    name: str
    value: float
    most: float | None = None
    least: float | None = None
    aim: float | None = None
    unit: str = ""

    @property
    def kept(self) -> bool:
        """True where the figure is within its limits."""
        return (self.most is None or self.value <= self.most) and (self.least is None or self.value >= self.least)

    @property
    def verdict(self) -> str:
        """In a word; nothing for a figure that has an aim and no limit."""
        if self.most is None and self.least is None:
            return ""
        return "ok" if self.kept else "MISSED"

    @property
    def wanted(self) -> str:
        """The limit in words."""
        parts = [f"at most {self.most:g}"] if self.most is not None else []
        parts += [f"at least {self.least:g}"] if self.least is not None else []
        return " and ".join(parts) + (f" (aim {self.aim:g})" if self.aim is not None else "")


def judge(title: str, limits: Sequence[Limit]) -> int:
    """Prints the table. Returns 0 where all limits are kept, else 1."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column, justify in (("figure", "left"), ("measured", "right"), ("limit", "left"), ("", "left")):
        table.add_column(column, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for limit in limits:
        measured = f"{limit.value:,.2f}".rstrip("0").rstrip(".")
        table.add_row(limit.name, f"{measured} {limit.unit}".strip(), limit.wanted.strip(), limit.verdict)
    Console(width=120).print(table)
    missed = [limit.name for limit in limits if not limit.kept]
    print(f"missed: {', '.join(missed)}" if missed else "every limit kept")
    return 1 if missed or not limits else 0
