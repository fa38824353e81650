"""One simulated caller: what it says and when, and what it hears; the other side of `agent/conversation.py`.

A caller is a script of utterances. It speaks one, waits for the answer, and speaks the next when the answer is over; an
utterance that interrupts is spoken into the answer to the one before. Instants are taken on the phone's own clock
(`CLOCK_MONOTONIC`), at the caller's mouth and ear.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from trunkline.core.errors import CallError, Reason, Result, Termination
from trunkline.loadtest.phone import CallEnded, HeardStart, HeardStop, PhoneEvent, PlayEnd, PlayStart

ANSWER_TIMEOUT_S = 12.0
"""Longest wait for the agent's first sound after the caller stopped speaking."""
ANSWER_OVER_S = 0.9
"""Quiet for so long, the answer is over: longer than the pause between two sentences."""
LONGEST_ANSWER_S = 20.0
INTERRUPT_AFTER_S = 0.9
"""How long the caller listens before it interrupts."""
BREATH_S = 0.4
"""A person's pause before the next sentence."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """Something the caller says.

    Args:
        text: The words.
        wav: Their sound.
        interrupts: Spoken into the answer to the utterance before.
    """

    text: str
    wav: Path
    interrupts: bool = False


@dataclass(slots=True)
class CallerTurn:
    """One utterance and the answer to it, at the caller's mouth and ear. Instants are monotonic microseconds.

    Args:
        said: The words.
        interrupts: It was spoken into the answer to the turn before.
    """

    said: str
    interrupts: bool = False
    speech_start_us: int | None = None
    speech_end_us: int | None = None
    heard_start_us: int | None = None
    heard_end_us: int | None = None
    silenced_us: int | None = None
    """Only where it interrupts: when the answer to the turn before was silent."""


class Line(Protocol):
    """One call of the simulated phone."""

    async def play(self, name: str, wav: Path) -> None:
        """Speaks a WAV."""
        ...

    async def event(self) -> PhoneEvent:
        """The next event of this call."""
        ...


@dataclass(slots=True)
class Caller:
    """Speaks a script on an answered line.

    Args:
        line: The call.
        script: What to say; the first utterance interrupts nothing.
        turns: What came of it so far, also after an error.
        tell: Takes each step, in a few words.
    """

    line: Line
    script: list[Utterance]
    turns: list[CallerTurn] = field(default_factory=list)
    tell: Callable[[str], None] = lambda _step: None

    async def run(self) -> None:
        """Speaks the whole script. Raises CallError with what went wrong, in one line."""
        for number, utterance in enumerate(self.script):
            following = self.script[number + 1] if number + 1 < len(self.script) else None
            turn = CallerTurn(utterance.text, utterance.interrupts)
            self.turns.append(turn)
            if not utterance.interrupts:
                await asyncio.sleep(BREATH_S)
            await self._speak(utterance, turn, number)
            await self._hear_answer(turn, interrupted_by=following if following and following.interrupts else None)

    async def _speak(self, utterance: Utterance, turn: CallerTurn, number: int) -> None:
        name = f"s{number + 1}"
        heard: list[HeardStart | HeardStop] = []
        await self.line.play(name, utterance.wav)
        while turn.speech_end_us is None:
            match await self._next(LONGEST_ANSWER_S, f"the phone did not finish speaking {turn.said!r}"):
                case PlayStart(id=spoken, at_us=at_us) if spoken == name:
                    turn.speech_start_us = at_us
                    self.tell(f"{'interrupts' if turn.interrupts else 'says'}: {turn.said}")
                case PlayEnd(id=spoken, speech_end_us=speech_end_us) if spoken == name:
                    turn.speech_end_us = speech_end_us
                case HeardStart() | HeardStop() as event:
                    heard.append(event)
        for event in heard:
            if isinstance(event, HeardStart) and event.at_us > turn.speech_end_us:
                # A quick agent answers before the recording's own silent end is played.
                turn.heard_start_us = event.at_us
                return
            if turn.interrupts:
                # The last silence counts: a pause between two sentences is none.
                turn.silenced_us = event.at_us if isinstance(event, HeardStop) else None

    async def _hear_answer(self, turn: CallerTurn, interrupted_by: Utterance | None) -> None:
        while turn.heard_start_us is None:
            match await self._next(ANSWER_TIMEOUT_S, f"no answer to {turn.said!r}"):
                case HeardStop(at_us=at_us) if turn.interrupts and turn.silenced_us is None:
                    turn.silenced_us = at_us
                case HeardStart(at_us=at_us):
                    turn.heard_start_us = at_us
        self.tell("hears the answer")
        if turn.interrupts:
            if turn.silenced_us is None:
                raise CallError(f"the agent went on speaking over {turn.said!r}")
            # It may have been silent between two sentences just then; then nothing had to be silenced.
            turn.silenced_us = max(turn.silenced_us, turn.speech_start_us or 0)
        if interrupted_by is not None:
            await asyncio.sleep(INTERRUPT_AFTER_S)
            return
        await self._hear_out(turn)

    async def _hear_out(self, turn: CallerTurn) -> None:
        """Waits until the answer is over: quiet that no further sentence follows."""
        limit_s = LONGEST_ANSWER_S
        while True:
            try:
                event = await asyncio.wait_for(self.line.event(), limit_s)
            except TimeoutError:
                if turn.heard_end_us is None:
                    raise CallError(
                        f"the answer to {turn.said!r} did not end within {LONGEST_ANSWER_S:.0f} s"
                    ) from None
                return
            match event:
                case HeardStop(at_us=at_us):
                    turn.heard_end_us, limit_s = at_us, ANSWER_OVER_S
                case HeardStart():
                    turn.heard_end_us, limit_s = None, LONGEST_ANSWER_S
                case CallEnded(reason=reason):
                    raise _ended_early(reason)

    async def _next(self, timeout_s: float, otherwise: str) -> PhoneEvent:
        try:
            event = await asyncio.wait_for(self.line.event(), timeout_s)
        except TimeoutError:
            raise CallError(otherwise) from None
        if isinstance(event, CallEnded):
            raise _ended_early(event.reason)
        return event


def _ended_early(reason: str) -> CallError:
    return CallError(
        f"the call ended in the middle: {reason or 'the agent hung up'}",
        Termination(Result.INDETERMINATE, Reason.AGENT_HUNG_UP),
    )
