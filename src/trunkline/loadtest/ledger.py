"""Keeps what the callers of a load test told so far, and passes each turn on to the collector."""

from __future__ import annotations

from collections.abc import Callable

from trunkline.loadtest.callers import Message, Outcome, PlacedCall
from trunkline.loadtest.conversation import CallerTurn
from trunkline.loadtest.pacing import Pacing


class Ledger:
    """What the callers told so far.

    Args:
        heard: Takes each turn that is over: the call's name, the turn's number, the turn.
        say: Takes progress, in a few words.
    """

    def __init__(self, heard: Callable[[str, int, CallerTurn], None], say: Callable[[str], None]) -> None:
        self._heard = heard
        self._say = say
        self.calls: dict[int, PlacedCall] = {}
        self.pacing = Pacing()

    def take(self, message: Message) -> None:
        """Takes one message of `callers.py` or `caller_process.py`."""
        match message:
            case {"ev": "call", "number": int(number), **rest}:
                call = self.calls.setdefault(number, PlacedCall("", number))
                call.call, call.problem, call.outcome = rest["call"], rest["problem"], Outcome(rest["outcome"])
                call.dialled_us, call.answered_us = rest["dialled_us"], rest["answered_us"]
                call.ended_us, call.spoken_over = rest["ended_us"], rest["spoken_over"]
                if call.outcome in (Outcome.LOST, Outcome.REFUSED):
                    self._say(f"call {number} {call.outcome}: {call.problem}")
            case {"ev": "turn", "number": int(number), "turn": int(turn_number), **rest}:
                turn = CallerTurn(**rest)
                self.calls[number].turns.append(turn)
                self._heard(self.calls[number].call, turn_number, turn)
            case {"ev": "pace", "second": int(second), "late_ms": late_ms}:
                self.pacing.add(second, {int(late): count for late, count in late_ms.items()})

    def progress(self) -> str:
        """How things stand, in one line."""
        calls = self.calls.values()
        up = sum(call.answered_us is not None and call.ended_us is None for call in calls)
        turns = [turn for call in calls for turn in call.turns]
        answered = sum(turn.heard_start_us is not None for turn in turns)
        return f"{len(calls)} calls placed, {up} up, {answered} of {len(turns)} turns answered"
