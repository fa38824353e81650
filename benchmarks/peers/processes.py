"""What a contestant's processes use of the machine, from /proc: all descendants, whichever thread started them."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from trunkline.loadtest.usage import TICKS_PER_S, memory_kib


@dataclass(frozen=True, slots=True)
class Use:
    """Of some processes and their descendants.

    Attributes:
        cpu_s: Seconds of one core so far, those of descendants that have ended included.
        mib: Proportional memory (PSS); NaN where it was not asked for.
        processes: How many there are.
    """

    cpu_s: float
    mib: float
    processes: int


def use(pids: Iterable[int], *, memory: bool = False) -> Use:
    """Looks once. Reading memory makes the kernel walk all pages, so it is not done while time is measured."""
    stats = _stats()
    children = defaultdict(list)
    for pid, fields in stats.items():
        children[int(fields[1])].append(pid)
    family: set[int] = set()
    waiting = [pid for pid in pids if pid in stats]
    while waiting:
        pid = waiting.pop()
        family.add(pid)
        waiting += [child for child in children[pid] if child not in family]
    # Own time in user and system mode, and that of children which were waited for.
    ticks = sum(int(field) for pid in family for field in stats[pid][11:15])
    mib = sum(map(memory_kib, family)) / 1024 if memory else float("nan")
    return Use(ticks / TICKS_PER_S, mib, len(family))


def _stats() -> dict[int, list[str]]:
    """The fields of /proc/PID/stat after the program's name, by process."""
    found = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                # The name, in parentheses, may contain anything.
                found[int(entry.name)] = Path(entry.path, "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
    return found
