"""Many callers, each with one call and a few turns: who calls when, what is said, and what is heard.

A caller speaks its burst, waits for the answer, listens to its end, and speaks again. What happens is told as small
messages, which may cross a process border: "call" (how a call stands), "turn" (one turn that is over).
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import structlog

from trunkline.core.errors import CallError, TrunklineError
from trunkline.core.units import s_to_us
from trunkline.loadtest.conversation import ANSWER_OVER_S, LONGEST_ANSWER_S, CallerTurn, Line
from trunkline.loadtest.phone import CallEnded, CallRefusedError, HeardStart, HeardStop, PhoneEvent, PlayEnd, PlayStart
from trunkline.loadtest.verdict import CallResult

log = structlog.get_logger()

ANSWER_TIMEOUT_S = 10.0
"""A turn without a sound for so long after the caller stopped speaking is unanswered."""
BREATH_S = 0.4
PLAY_SLACK_S = 5.0

Message: TypeAlias = dict[str, Any]
Tell: TypeAlias = Callable[[Message], None]


class Outcome(StrEnum):
    """What became of a call."""

    PLACED = "placed"
    COMPLETED = "completed"
    REFUSED = "refused"
    LOST = "lost"
    INTERRUPTED = "interrupted"
    """We ended the test before its script was over."""


@dataclass(slots=True)
class PlacedCall(CallResult):
    """One call of a load test."""

    outcome: Outcome = Outcome.PLACED
    ended_us: int | None = None
    spoken_over: int = 0
    """Turns in which the agent was heard before the caller had finished."""


@dataclass(frozen=True, slots=True)
class Order:
    """One call to be placed.

    Args:
        number: Which call of the run, from 1 on.
        at_s: When: seconds after the run's start.
        wav: What is said in each turn.
    """

    number: int
    at_s: float
    wav: Path


@dataclass(frozen=True, slots=True)
class Script:
    """What all callers do.

    Args:
        phrase: The words that their bursts repeat.
        burst_s: Length of a burst, at most.
        turns: How often each speaks.
        early_answers: The agents answer before a burst is over, so the first sound in its middle is the answer. Else it
            is the answer to a part of the burst, and the caller waits for the one after its end.
    """

    phrase: str
    burst_s: float
    turns: int
    early_answers: bool = False


class CallerLine(Line, Protocol):
    """One call that is up."""

    async def hang_up(self) -> CallEnded:
        """Ends it, within a few seconds."""
        ...


class Door(Protocol):
    """The way by which calls come in."""

    async def place(self, call: PlacedCall) -> CallerLine:
        """Places a call and returns when it is answered; fills in its name and instants.

        Raises:
            CallRefusedError: the stack does not take it.
            TrunklineError: it is lost.
        """
        ...


async def run_callers(orders: Sequence[Order], zero_s: float, door: Door, script: Script, tell: Tell) -> None:
    """Places all calls, each at its time, and returns when the last is over. Cancelled, it hangs up all of them.

    Args:
        zero_s: The run's start, monotonic seconds.
    """
    async with asyncio.TaskGroup() as callers:
        for order in orders:
            callers.create_task(_run_caller(order, zero_s, door, script, tell))


async def _run_caller(order: Order, zero_s: float, door: Door, script: Script, tell: Tell) -> None:
    call = PlacedCall("", order.number)
    await asyncio.sleep(max(0.0, zero_s + order.at_s - time.monotonic()))
    line: CallerLine | None = None
    call.dialled_us = s_to_us(time.monotonic())
    tell(call_message(call))
    try:
        line = await door.place(call)
        tell(call_message(call))
        await converse(line, order, script, call, tell)
        call.outcome = Outcome.COMPLETED
    except CallRefusedError as error:
        call.outcome, call.problem = Outcome.REFUSED, str(error)
    except TrunklineError as error:
        call.outcome, call.problem = Outcome.LOST, str(error)
    except asyncio.CancelledError:
        call.outcome, call.problem = Outcome.INTERRUPTED, "the load test was stopped"
        raise
    except Exception as error:
        # One call must not end the others.
        log.exception("caller_failed", number=order.number)
        call.outcome, call.problem = Outcome.LOST, repr(error)
    finally:
        call.ended_us = s_to_us(time.monotonic())
        tell(call_message(call))
        if line is not None:
            await line.hang_up()


async def converse(line: Line, order: Order, script: Script, call: PlacedCall, tell: Tell) -> None:
    """Speaks all turns of a call that is up. Raises CallError where it ends before."""
    for number in range(1, script.turns + 1):
        # Callers who all take the same breath would speak in step.
        await asyncio.sleep(BREATH_S + 0.1 * ((order.number * 3 + number) % 8))
        turn = CallerTurn(script.phrase)
        call.turns.append(turn)
        early_us = await _speak(line, f"t{number}", order.wav, turn, script.burst_s)
        call.spoken_over += early_us is not None
        turn.heard_start_us = early_us if script.early_answers else None
        if turn.heard_start_us is None:
            turn.heard_start_us = await _first_sound(line)
        if turn.heard_start_us is None:
            turn.heard_start_us = early_us  # the agents seem to answer early after all
        tell(turn_message(call, number))
        if turn.heard_start_us is not None:
            await _hear_out(line)


async def _speak(line: Line, name: str, wav: Path, turn: CallerTurn, burst_s: float) -> int | None:
    """Speaks a burst; returns when the agent was first heard in its middle, in microseconds. Raises CallError."""
    early_us: int | None = None
    await line.play(name, wav)
    try:
        async with asyncio.timeout(burst_s + PLAY_SLACK_S):
            while turn.speech_end_us is None:
                match await _next(line):
                    case PlayStart(id=spoken, at_us=at_us) if spoken == name:
                        turn.speech_start_us = at_us
                    case PlayEnd(id=spoken, speech_end_us=end_us) if spoken == name:
                        turn.speech_end_us = end_us
                    case HeardStart(at_us=at_us) if early_us is None and at_us > (turn.speech_start_us or at_us):
                        early_us = at_us
    except TimeoutError:
        raise CallError("the caller itself was too slow to finish speaking") from None
    return early_us


async def _first_sound(line: Line) -> int | None:
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            while True:
                if isinstance(event := await _next(line), HeardStart):
                    return event.at_us
    except TimeoutError:
        return None


async def _hear_out(line: Line) -> None:
    """Waits for quiet that no further sentence follows, but not longer than an answer may last."""
    limit_s = LONGEST_ANSWER_S
    try:
        async with asyncio.timeout(LONGEST_ANSWER_S):
            while True:
                match await asyncio.wait_for(_next(line), limit_s):
                    case HeardStop():
                        limit_s = ANSWER_OVER_S
                    case HeardStart():
                        limit_s = LONGEST_ANSWER_S
    except TimeoutError:
        return


async def _next(line: Line) -> PhoneEvent:
    event = await line.event()
    if isinstance(event, CallEnded):
        raise CallError(f"the call ended in the middle: {event.reason or 'the agent hung up'}")
    return event


def call_message(call: PlacedCall) -> Message:
    """How a call stands, without its turns."""
    fields = ("call", "number", "problem", "dialled_us", "answered_us", "outcome", "ended_us", "spoken_over")
    return {"ev": "call", **{name: getattr(call, name) for name in fields}}


def turn_message(call: PlacedCall, number: int) -> Message:
    """One turn of a call, counted from 1."""
    return {"ev": "turn", "number": call.number, "turn": number, **dataclasses.asdict(call.turns[number - 1])}
