"""Calls that become more in steps, and what was heard and used in each; figures of one contestant."""

from __future__ import annotations

import statistics
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from trunkline.loadtest.answers import codes_of
from trunkline.loadtest.callers import Message

MOST_S = 2.0
"""With a longer RoundTrip on average, calls are not counted as carried."""
FIRST_S = 2.0
"""The first call: a worker that has just started may still have something to do."""
SETTLE_S = 7.0
"""From the last call's start to the figures: long enough for a process to start, and for a second one to stand by."""
DECIDED_S = 4.0
"""After so long every turn of a step is decided that can be carried."""


@dataclass(frozen=True, slots=True)
class Step:
    """Some calls at once, in seconds since the callers began.

    Attributes:
        calls: How many.
        begins_s: From here on is measured.
        ends_s: Up to here.
    """

    calls: int
    begins_s: float
    ends_s: float


def plan_steps(numbers: Sequence[int], seconds: float, apart_s: float) -> tuple[list[Step], list[float]]:
    """The steps, and when each call is placed: one every `apart_s`, and those of a step after the step before."""
    steps: list[Step] = []
    placed_s: list[float] = []
    at_s = FIRST_S
    for calls in numbers:
        while len(placed_s) < calls:
            placed_s.append(at_s)
            at_s += apart_s
        begins_s = at_s - apart_s + SETTLE_S
        steps.append(Step(calls, begins_s, begins_s + seconds))
        at_s = begins_s + seconds + DECIDED_S
    return steps, placed_s


@dataclass(frozen=True, slots=True)
class Used:
    """By a contestant's processes during a step."""

    mcore: float
    mib: float
    processes: int
    beside_mcore: float = 0.0
    beside_mib: float = 0.0
    callers_late_ms: int = 0
    """p99 of how late the callers' own clock ticked: nobody left them enough of the machine."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one contestant at one step. RoundTrips in milliseconds, at the callers' clock and ear.

    Attributes:
        bursts: Spoken while it was measured.
        unanswered: Of these.
        wrong: Of these, those whose answer had another sentence's number, or none that can be read.
        lost: Calls that did not come up, or ended by themselves.
        silent: Calls without any answer.
    """

    calls: int
    bursts: int
    unanswered: int
    wrong: int
    lost: int
    silent: int
    average_ms: float
    p50_ms: float
    p95_ms: float
    used: Used

    @property
    def carried(self) -> bool:
        """Whether all calls were answered, all the time, within 2 s on average."""
        failed = self.unanswered + self.wrong + self.lost + self.silent
        return not failed and self.average_ms <= MOST_S * 1000

    @property
    def mcore_a_call(self) -> float:
        """Thousandths of a core."""
        return self.used.mcore / self.calls

    @property
    def mib_a_call(self) -> float:
        """All memory of its processes, divided by the calls."""
        return self.used.mib / self.calls


@dataclass(slots=True)
class Heard:
    """Collects what the callers tell."""

    zero_s: float
    turns: dict[tuple[int, int], Message] = field(default_factory=dict)
    calls: dict[int, Message] = field(default_factory=dict)
    codes: dict[int, list[list[int]]] = field(default_factory=dict)

    def take(self, message: Message) -> None:
        """One message of `trunkline.loadtest.callers`."""
        match message["ev"]:
            case "turn":
                self.turns[message["number"], message["turn"]] = message
            case "call":
                self.calls[message["number"]] = message
            case "codes":
                self.codes[message["number"]] = message["codes"]

    def figures(self, step: Step, used: Used) -> Figures:
        """Of one step, as far as it is known: numbers in answers are, once the callers have hung up."""
        from_us, to_us = ((self.zero_s + at_s) * 1e6 for at_s in (step.begins_s, step.ends_s))
        wrong = self._wrong()
        bursts: dict[tuple[int, int], float | None] = {}
        for key, turn in self.turns.items():
            start_us, heard_us = turn["speech_start_us"], turn["heard_start_us"]
            if start_us is not None and key[0] <= step.calls and from_us <= start_us < to_us:
                bursts[key] = None if heard_us is None else (heard_us - start_us) / 1000
        answered = sorted(ms for ms in bursts.values() if ms is not None)
        heard = {number for (number, _), ms in bursts.items() if ms is not None}
        numbers = range(1, step.calls + 1)
        return Figures(
            calls=step.calls,
            bursts=len(bursts),
            unanswered=len(bursts) - len(answered),
            wrong=len(wrong & {key for key, ms in bursts.items() if ms is not None}),
            lost=sum(self._lost(number, to_us) for number in numbers),
            silent=sum(number not in heard for number in numbers),
            average_ms=statistics.fmean(answered) if answered else float("nan"),
            p50_ms=statistics.median(answered) if answered else float("nan"),
            p95_ms=answered[int(0.95 * len(answered))] if answered else float("nan"),
            used=used,
        )

    def problems(self) -> list[str]:
        """Why calls were lost, each once."""
        return sorted({call["problem"] for call in self.calls.values() if call["outcome"] in ("lost", "refused")})

    def _lost(self, number: int, to_us: float) -> bool:
        call: Message = self.calls.get(number, {"outcome": "lost", "ended_us": 0})
        return call["outcome"] in ("lost", "refused") and (call["ended_us"] or 0) < to_us

    def _wrong(self) -> set[tuple[int, int]]:
        """Turns in which another number than the caller's was heard, or none."""
        by_call: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
        for (number, turn), message in sorted(self.turns.items()):
            by_call[number].append((turn, message["speech_start_us"] or 0))
        wrong = set()
        for number, codes in self.codes.items():
            turns = by_call[number]
            said: dict[int, set[int]] = {turn: set() for turn, _ in turns}
            for at_us, code in codes:
                place = bisect_right([start_us for _, start_us in turns], at_us) - 1
                if place >= 0:
                    said[turns[place][0]].add(code)
            own: Any = codes_of(number)
            wrong |= {(number, turn) for turn, heard in said.items() if heard != {own[(turn - 1) % len(own)]}}
        return wrong
