"""What each part of the stack and the callers themselves use of this machine, from /proc while the calls are up.

Memory is each process's proportional share (PSS), so that pages which several share are counted once.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

CALLERS = "callers"
PERIOD_S = 1.0
MEMORY_EVERY = 10
"""Reading it makes the kernel walk all pages, so it is read in every tenth period only."""
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024
PROGRAMS = {"trunkline-media": "media engine", "trunkline-phon": "simulated phone"}
"""Children that are a part of their own."""
_NUMBERED = re.compile(r"-\d+$")
_PSS = re.compile(r"^Pss:\s+(\d+) kB", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at all parts: CPU seconds so far, and memory in KiB where it was read."""

    at: float
    cpu_s: Mapping[str, float]
    kib: Mapping[str, int] = field(default_factory=dict)


class Sampler:
    """Looks once a second until it is cancelled.

    Args:
        parts: Process ids by name; their children belong to them. Names that end in a number are one part.
    """

    def __init__(self, parts: Mapping[str, int]) -> None:
        self._parts = parts
        self.samples: list[Sample] = []

    async def run(self) -> None:
        while True:
            await asyncio.to_thread(self.look, len(self.samples) % MEMORY_EVERY == 0)
            await asyncio.sleep(PERIOD_S)

    def look(self, memory: bool) -> None:
        """Takes a sample."""
        cpu_s: defaultdict[str, float] = defaultdict(float)
        kib: Counter[str] = Counter()
        now = time.monotonic()
        for name, pid in self._parts.items():
            for part, process in _family(_NUMBERED.sub("", name), pid):
                cpu_s[part] += processor_s(process)
                if memory:
                    kib[part] += memory_kib(process)
        self.samples.append(Sample(now, cpu_s, kib))

    def between(self, start_s: float, end_s: float) -> tuple[dict[str, float], dict[str, float]]:
        """CPU in thousandths of a core and most memory in MiB, by part, between two monotonic instants.

        Both are empty where there were not two looks between them.
        """
        seen = [sample for sample in self.samples if start_s - PERIOD_S / 2 <= sample.at <= end_s + PERIOD_S / 2]
        if len(seen) < 2:
            return {}, {}
        first, last = seen[0], seen[-1]
        mcore = {
            part: round((last.cpu_s[part] - first.cpu_s.get(part, 0.0)) / (last.at - first.at) * 1000, 1)
            for part in last.cpu_s
        }
        memory = [sample.kib for sample in seen if sample.kib] or [s.kib for s in self.samples if s.kib]
        mib = {part: round(max(kib.get(part, 0) for kib in memory) / 1024, 1) for part in last.cpu_s}
        return {part: max(0.0, used) for part, used in mcore.items()}, mib


def _family(part: str, pid: int) -> list[tuple[str, int]]:
    """A process and all its descendants, each with the part that it belongs to."""
    found = [(part, pid)]
    try:
        for child in _read(f"{pid}/task/{pid}/children").split():
            program = _read(f"{child}/comm").strip()
            # The callers' media engine is part of the callers.
            own = part if part == CALLERS else PROGRAMS.get(program[:15], part)
            found += _family(own, int(child))
    except OSError:
        pass
    return found


def processor_s(pid: int) -> float:
    """Processor time of a process so far, without its children; 0 where it is gone."""
    try:
        # The command's name, in parentheses, may contain anything.
        fields = _read(f"{pid}/stat").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def memory_kib(pid: int) -> int:
    """Proportional memory of a process; all that it has in memory where that is another user's, 0 where it is gone."""
    try:
        found = _PSS.search(_read(f"{pid}/smaps_rollup"))
        if found:
            return int(found[1])
    except OSError:
        pass
    try:  # another user's process
        return int(_read(f"{pid}/statm").split()[1]) * PAGE_KIB
    except OSError:
        return 0


def _read(path: str) -> str:
    """A small file of /proc: read once a second for each process, so without a path's and a text file's expense."""
    file = os.open(f"/proc/{path}", os.O_RDONLY)
    try:
        whole = b""
        while part := os.read(file, 65_536):
            whole += part
    finally:
        os.close(file)
    return whole.decode(errors="replace")
