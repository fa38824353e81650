"""All that a load test recorded, and each turn from both sides."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from trunkline.core.wire import CallRecord, TurnRecord
from trunkline.loadtest.answers import Answer, Check, check_call
from trunkline.loadtest.callers import PlacedCall
from trunkline.loadtest.options import LoadOptions
from trunkline.loadtest.pacing import Pacing
from trunkline.loadtest.verdict import TurnRow, match_turns


@dataclass
class LoadResult:
    """What was recorded.

    Args:
        options: Of the run.
        speech: Whose recognizer and voice the agents use.
        calls: Those that were placed, by number.
        coded: The answers carry numbers that the callers read.
        early: The agents answer the first words.
        ends: The agents' records of calls, by name.
        turns: The agents' records of turns.
        interrupted: Why the run was ended early; empty where it was not.
        note: What else a reader must know, in one line.
        mcore: CPU by part in thousandths of a core while all calls were up; empty where it can't be known.
        mib: Memory by part.
        machine: See `machine.machine`.
        versions: See `machine.versions`.
        added_ms: Delay that the run itself put on the network, both ways together.
    """

    options: LoadOptions
    speech: str
    calls: list[PlacedCall]
    pacing: Pacing
    coded: bool = False
    early: bool = False
    ends: dict[str, CallRecord] = field(default_factory=dict)
    turns: list[TurnRecord] = field(default_factory=list)
    interrupted: str = ""
    note: str = ""
    mcore: dict[str, float] = field(default_factory=dict)
    mib: dict[str, float] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str | None] = field(default_factory=dict)
    added_ms: float = 0.0

    @cached_property
    def rows(self) -> list[tuple[PlacedCall, TurnRow]]:
        """Each turn that was begun, from both sides; asked once everything is recorded."""
        by_call: dict[str, list[TurnRecord]] = {}
        for record in self.turns:
            by_call.setdefault(record.call, []).append(record)
        return [(call, row) for call in self.calls for row in match_turns(call, by_call.get(call.call, []))]

    @cached_property
    def answers(self) -> list[Answer]:
        """Each turn that was expected."""
        by_call: dict[int, list[TurnRow]] = {}
        for call, row in self.rows:
            by_call.setdefault(call.number, []).append(row)
        turns = 0 if self.options.duration else self.options.turns
        found = []
        for call in self.calls:
            rows = by_call.get(call.number, [])
            found += check_call(call, rows, turns, coded=self.coded, early=self.early)
        placed = {call.number for call in self.calls}
        if turns:
            for number in range(1, self.options.concurrency + 1):
                if number not in placed:
                    reason = "the call was not placed before the test ended"
                    found += [Answer(number, "", turn, Check.UNANSWERED, reason) for turn in range(1, turns + 1)]
        return found
