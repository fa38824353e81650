"""Many callers, each with one call: who calls when, by which door, and what became of it.

What happens is told as small messages, which may cross a process border: "call" (how a call stands), "turn" (one turn
that is decided), "codes" (the numbers that were heard in a call).
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, TypeAlias

import structlog

from trunkline.core.errors import TrunklineError
from trunkline.core.units import s_to_us
from trunkline.loadtest.conversation import CallerTurn, Line
from trunkline.loadtest.ear import HeardCode
from trunkline.loadtest.phone import CallEnded, CallRefusedError
from trunkline.loadtest.talking import Order, Script, Talker
from trunkline.loadtest.verdict import CallResult

log = structlog.get_logger()

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
    joined_us: int | None = None
    """When it was in the room; phone calls have no such instant."""
    ended_us: int | None = None
    spoken_over: int = 0
    """Turns in which the agent was heard before the caller had finished."""
    heard_us: int = 0
    """How long the agent's sounds lasted."""
    codes: list[HeardCode] = field(default_factory=list)


class CallerLine(Line, Protocol):
    """One call that is up."""

    async def hang_up(self) -> CallEnded:
        """Ends it, within a few seconds."""
        ...

    async def codes(self) -> list[HeardCode]:
        """The numbers that were heard, in order; asked once the call is over."""
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
    wait_s = zero_s + order.at_s - time.monotonic()
    ends_at = asyncio.get_running_loop().time() + wait_s - order.at_s + script.duration_s
    await asyncio.sleep(max(0.0, wait_s))
    if script.duration_s and asyncio.get_running_loop().time() >= ends_at:
        return
    line: CallerLine | None = None
    talker: Talker | None = None
    call.dialled_us = s_to_us(time.monotonic())
    tell(call_message(call))
    try:
        line = await door.place(call)
        tell(call_message(call))
        talker = Talker(
            line, order, script, ends_at, lambda number, turn: tell(turn_message(call.number, number, turn))
        )
        await talker.run()
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
        if talker is not None:
            call.spoken_over, call.heard_us = talker.spoken_over, talker.heard_us
            talker.tell_broken_off()
        tell(call_message(call))
        if line is not None:
            await line.hang_up()
            if script.coded:
                tell(codes_message(call.number, await line.codes()))


def call_message(call: PlacedCall) -> Message:
    """How a call stands, without its turns."""
    fields = (
        "call",
        "number",
        "problem",
        "dialled_us",
        "joined_us",
        "answered_us",
        "outcome",
        "ended_us",
        "spoken_over",
        "heard_us",
    )
    return {"ev": "call", **{name: getattr(call, name) for name in fields}}


def turn_message(number: int, turn_number: int, turn: CallerTurn) -> Message:
    """One turn of a call, counted from 1."""
    return {"ev": "turn", "number": number, "turn": turn_number, **dataclasses.asdict(turn)}


def codes_message(number: int, codes: list[HeardCode]) -> Message:
    """The numbers that were heard in a call."""
    return {"ev": "codes", "number": number, "codes": [[code.at_us, code.code] for code in codes]}
