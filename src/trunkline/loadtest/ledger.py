"""Keeps what the callers of a load test told so far, and passes each turn on to the collector."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from trunkline.core.units import us_to_ms
from trunkline.loadtest.callers import Message, Outcome, PlacedCall
from trunkline.loadtest.conversation import CallerTurn
from trunkline.loadtest.ear import HeardCode
from trunkline.loadtest.pacing import Pacing


@dataclass(frozen=True, slots=True)
class Standing:
    """How a run stands.

    Args:
        answered: Turns.
        avg_ms: Of the RoundTrip at the ear; None: no turn was answered yet.
        lost: Calls that failed, and turns that were not answered.
    """

    placed: int
    up: int
    over: int
    answered: int
    avg_ms: float | None
    lost: int

    def __str__(self) -> str:
        average = "–" if self.avg_ms is None else f"{self.avg_ms:.0f} ms"
        return (
            f"{self.up} up of {self.placed} placed, {self.answered} turns answered, RoundTrip avg {average}, "
            f"{self.lost} lost"
        )


class Ledger:
    """What the callers told so far.

    Args:
        heard: Takes each turn that is over: the call's name, the turn's number, the turn.
        say: Takes each failure, in one line; may be replaced.
    """

    def __init__(self, heard: Callable[[str, int, CallerTurn], None], say: Callable[[str], None]) -> None:
        self._heard = heard
        self.say = say
        self.calls: dict[int, PlacedCall] = {}
        self.pacing = Pacing()

    def take(self, message: Message) -> None:
        """Takes one message of `callers.py` or `caller_process.py`."""
        match message:
            case {"ev": "call", "number": int(number), **rest}:
                call = self.calls.setdefault(number, PlacedCall("", number))
                call.call, call.problem, call.outcome = rest["call"], rest["problem"], Outcome(rest["outcome"])
                call.dialled_us, call.joined_us = rest["dialled_us"], rest["joined_us"]
                call.answered_us = rest["answered_us"]
                call.ended_us, call.spoken_over, call.heard_us = rest["ended_us"], rest["spoken_over"], rest["heard_us"]
                if call.outcome in (Outcome.LOST, Outcome.REFUSED):
                    self.say(f"call {number} {call.outcome}: {call.problem}")
            case {"ev": "turn", "number": int(number), "turn": int(turn_number), **rest}:
                turn = CallerTurn(**rest)
                self.calls[number].turns.append(turn)
                self._heard(self.calls[number].call, turn_number, turn)
            case {"ev": "codes", "number": int(number), "codes": codes}:
                self.calls[number].codes = [HeardCode(at_us, code) for at_us, code in codes]
            case {"ev": "pace", "second": int(second), "late_ms": late_ms}:
                self.pacing.add(second, {int(late): count for late, count in late_ms.items()})

    def standing(self) -> Standing:
        """How things stand."""
        calls = self.calls.values()
        spoken = [turn for call in calls for turn in call.turns if turn.speech_end_us is not None]
        heard = [turn for turn in spoken if turn.heard_start_us is not None]
        roundtrips_us = [(turn.heard_start_us or 0) - (turn.speech_start_us or 0) for turn in heard]
        failed = sum(call.outcome in (Outcome.LOST, Outcome.REFUSED) for call in calls)
        return Standing(
            placed=len(calls),
            up=sum(call.answered_us is not None and call.ended_us is None for call in calls),
            over=sum(call.ended_us is not None for call in calls),
            answered=len(heard),
            avg_ms=us_to_ms(sum(roundtrips_us)) / len(heard) if heard else None,
            lost=failed + len(spoken) - len(heard),
        )
