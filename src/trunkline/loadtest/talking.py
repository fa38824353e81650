"""What one caller of a load test does while its call is up: speak, listen, sometimes interrupt, and speak again.

In: a line, and the script that all callers follow. Out: a `CallerTurn` for each burst. What is drawn by lot is drawn
from the run's seed and the caller's number, so that a run can be made again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trunkline.core.errors import CallError
from trunkline.loadtest.conversation import ANSWER_OVER_S, LONGEST_ANSWER_S, CallerTurn, Line
from trunkline.loadtest.phone import CallEnded, HeardStart, HeardStop, PhoneEvent, PlayEnd, PlayStart

ANSWER_TIMEOUT_S = 10.0
"""A turn without a sound for so long after the caller stopped speaking is unanswered."""
BREATH_S = (0.4, 1.1)
"""Callers who all take the same breath would speak in step."""
INTERRUPT_AFTER_S = (0.5, 1.2)
"""How long an answer is listened to before it is interrupted; longer than the silence that ends a turn."""
UNEVEN = (0.8, 1.2)
"""With a share of talk: how much longer or shorter one turn is than another."""
PLAY_SLACK_S = 5.0


@dataclass(frozen=True, slots=True)
class Order:
    """One call to be placed.

    Args:
        number: Which call of the run, from 1 on.
        at_s: When: seconds after the run's start.
        wavs: What is said, in turn: mono, 16-bit, 16000 Hz.
        room: Name of a room that is shared; empty: one of its own.
    """

    number: int
    at_s: float
    wavs: tuple[Path, ...]
    room: str = ""


@dataclass(frozen=True, slots=True)
class Script:
    """What all callers do.

    Args:
        phrase: The words that their bursts repeat.
        burst_s: Length of a burst, at most.
        turns: How often each speaks; 0: as often as there is time for.
        early_answers: The agents answer before a burst is over, so the first sound in its middle is the answer. Else it
            is the answer to a part of the burst, and the caller waits for the one after its end.
        duration_s: Seconds after the run's start in which turns are begun; 0: until all are spoken.
        talk: Share of the time that each talks; 0: a breath after each answer.
        interrupt: Share of the answers that are interrupted.
        coded: The sound carries numbers; what is heard is to be read.
        impair: What is wrong with the callers and their network, such as "loss=2%".
        noise: What is heard behind them, such as "babble/-45dBov".
        seed: Decides what is drawn.
    """

    phrase: str
    burst_s: float
    turns: int
    early_answers: bool = False
    duration_s: float = 0.0
    talk: float = 0.0
    interrupt: float = 0.0
    coded: bool = False
    impair: str = ""
    noise: str = ""
    seed: int = 0


class Talker:
    """Speaks the turns of one call that is up.

    Args:
        line: The call.
        order: What this caller says.
        ends_at: Loop time from which on no turn is begun.
        told: Takes each turn once it is decided: answered, or not.

    Attributes:
        turns: What came of them so far, also after an error.
        spoken_over: Turns in which the agent was heard before the caller had finished.
        heard_us: How long the agent's sounds lasted.
    """

    def __init__(
        self, line: Line, order: Order, script: Script, ends_at: float, told: Callable[[int, CallerTurn], None]
    ) -> None:
        self._line = line
        self._order = order
        self._script = script
        self._ends_at = ends_at
        self._told = told
        self._rng = random.Random(f"{script.seed} {order.number}")  # noqa: S311 (made to be repeated)
        self._loop = asyncio.get_running_loop()
        self._sound_began_us: int | None = None
        self._next_at = 0.0
        self._last_told = False
        self.turns: list[CallerTurn] = []
        self.spoken_over = 0
        self.heard_us = 0

    async def run(self) -> None:
        """Speaks all turns. Raises CallError where the call ends before."""
        if self._script.talk:
            self._next_at = self._loop.time() + self._rng.uniform(0.0, self._cycle_s())
        interrupting = False
        while self._goes_on():
            if not interrupting:
                await self._take_breath()
            turn = CallerTurn(self._script.phrase, interrupting)
            self.turns.append(turn)
            self._last_told = False
            if self._script.talk:
                self._next_at = self._loop.time() + self._cycle_s() * self._rng.uniform(*UNEVEN)
            early_us = await self._speak(turn)
            self.spoken_over += early_us is not None
            turn.heard_start_us = early_us if self._script.early_answers else None
            if turn.heard_start_us is None:
                turn.heard_start_us = await self._first_sound(turn)
            if turn.heard_start_us is None:
                turn.heard_start_us = early_us  # the agents seem to answer early after all
            self._decided(turn)
            interrupting = turn.heard_start_us is not None and await self._hear_out()

    def tell_broken_off(self) -> None:
        """Tells the turn in whose middle the call ended, if any."""
        if self.turns and not self._last_told:
            self._decided(self.turns[-1])

    def _decided(self, turn: CallerTurn) -> None:
        self._last_told = True
        self._told(len(self.turns), turn)

    def _goes_on(self) -> bool:
        if self._script.duration_s:
            return self._loop.time() < self._ends_at
        return len(self.turns) < self._script.turns

    def _cycle_s(self) -> float:
        return self._script.burst_s / self._script.talk

    async def _take_breath(self) -> None:
        breath_s = self._rng.uniform(*BREATH_S)
        await asyncio.sleep(max(breath_s, self._next_at - self._loop.time()))

    async def _speak(self, turn: CallerTurn) -> int | None:
        """Speaks a burst; returns when an answer was first heard in its middle, in microseconds. Raises CallError."""
        number = len(self.turns)
        name = f"t{number}"
        early_us: int | None = None
        await self._line.play(name, self._order.wavs[(number - 1) % len(self._order.wavs)])
        try:
            async with asyncio.timeout(self._script.burst_s + PLAY_SLACK_S):
                while turn.speech_end_us is None:
                    match await self._next():
                        case PlayStart(id=spoken, at_us=at_us) if spoken == name:
                            turn.speech_start_us = at_us
                        case PlayEnd(id=spoken, speech_end_us=end_us) if spoken == name:
                            turn.speech_end_us = end_us
                        case HeardStop(at_us=at_us):
                            _silenced(turn, at_us)
                        case HeardStart(at_us=at_us) if at_us > (turn.speech_start_us or at_us):
                            if turn.interrupts and not self._script.early_answers:
                                turn.silenced_us = None  # it was a pause between two sentences
                            elif early_us is None:
                                early_us = at_us
        except TimeoutError:
            raise CallError("the caller itself was too slow to finish speaking") from None
        return early_us

    async def _first_sound(self, turn: CallerTurn) -> int | None:
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                while True:
                    match await self._next():
                        case HeardStart(at_us=at_us):
                            return at_us
                        case HeardStop(at_us=at_us):
                            _silenced(turn, at_us)
        except TimeoutError:
            return None

    async def _hear_out(self) -> bool:
        """Waits for quiet that no further sentence follows; returns True where the answer is to be interrupted now."""
        now = self._loop.time()
        over_at = now + LONGEST_ANSWER_S
        interrupt_at = float("inf")
        if self._goes_on() and self._rng.random() < self._script.interrupt:
            interrupt_at = now + self._rng.uniform(*INTERRUPT_AFTER_S)
        quiet_at = now
        while True:
            sounding = self._sound_began_us is not None
            due = min(over_at, interrupt_at) if sounding else min(over_at, quiet_at + ANSWER_OVER_S)
            try:
                async with asyncio.timeout_at(due):
                    await self._next()
            except TimeoutError:
                return due == interrupt_at  # uvloop's timers may fire a moment before their time
            quiet_at = self._loop.time()

    async def _next(self) -> PhoneEvent:
        event = await self._line.event()
        match event:
            case CallEnded(reason=reason):
                raise CallError(f"the call ended in the middle: {reason or 'the agent hung up'}")
            case HeardStart(at_us=at_us):
                self._sound_began_us = at_us
            case HeardStop(at_us=at_us) if self._sound_began_us is not None:
                self.heard_us += at_us - self._sound_began_us
                self._sound_began_us = None
        return event


def _silenced(turn: CallerTurn, at_us: int) -> None:
    """Notes when the answer before was silent; one that was over already was not interrupted."""
    if not turn.interrupts or turn.silenced_us is not None:
        return
    if at_us < (turn.speech_start_us or 0):
        turn.interrupts = False
    else:
        turn.silenced_us = at_us
