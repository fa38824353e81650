"""Which recognizer hears a burst of the caller, and when another one must hear it instead.

The first one that is ready and whose breaker is closed hears a burst. Where it breaks off, or neither words nor any
other sign of life come in the usual time, what it heard since its last final goes to the next one. A stall is held
against a provider only if another one understood words in the same sound: a cough is nobody's failure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import get_args

from trunkline.core.breaker import Breaker
from trunkline.core.errors import LocalProtocolError
from trunkline.core.hearing_events import (
    BurstBegan,
    BurstOver,
    BurstSure,
    BurstTakenBack,
    Hear,
    HearingEffect,
    HearingEvent,
    NobodyHears,
    ProviderFailed,
    Readiness,
    SignOfLife,
    Understood,
)
from trunkline.core.machine import Deadline
from trunkline.core.usual_delay import UsualDelay


@dataclass(frozen=True, slots=True)
class Ear:
    """What the calls of a worker know together of one recognizer.

    Args:
        breaker: Whether it may be used.
        first: From the beginning of a burst to the first sign of life.
        final: From the end of a burst to its final.
    """

    breaker: Breaker
    first: UsualDelay
    final: UsualDelay


@dataclass(frozen=True, slots=True)
class HearingParams:
    """Times and counts.

    Args:
        recover_s: Without any provider, how long one may take to come back.
        alone_s: Longest wait for a final where there is no other provider to turn to.
        final_most_s: Longest wait for a final of which there are only signs.
        silent_bursts: So many in a row without a final or a sign mean that the only provider is gone.
    """

    recover_s: float = 1.5
    alone_s: float = 3.0
    final_most_s: float = 1.5
    silent_bursts: int = 2


class HearingState(StrEnum):
    """Where a burst stands."""

    IDLE = "idle"
    HEARING = "hearing"
    FINISHING = "finishing"
    WAITING = "waiting"
    DEAF = "deaf"


IDLE, H, F, W, D = HearingState

TRANSITIONS: dict[tuple[HearingState, type], str] = {
    **{(state, BurstBegan): "_on_began" for state in (IDLE, F, W)},
    **{(state, BurstSure): "_on_sure" for state in (IDLE, H, F, W)},
    (H, BurstTakenBack): "_on_taken_back",
    **{(state, BurstTakenBack): "_ignore" for state in (IDLE, F, W)},
    **{(state, BurstOver): "_on_over" for state in (H, W)},
    **{(state, Understood): "_on_understood" for state in (IDLE, H, F, W)},
    **{(state, SignOfLife): "_on_sign" for state in (IDLE, H, F, W)},
    **{(state, ProviderFailed): "_on_failed" for state in (IDLE, H, F, W)},
    **{(state, Readiness): "_ignore" for state in (IDLE, H, F)},
    (W, Readiness): "_on_ready",
    **{(D, event): "_ignore" for event in get_args(HearingEvent)},
}


class HearingMachine:
    """Decides who hears one caller.

    Args:
        ears: The providers, the first choice first.
        params: Times and counts.
    """

    def __init__(self, ears: Sequence[Ear], params: HearingParams | None = None) -> None:
        self.params = params or HearingParams()
        self.state = HearingState.IDLE
        self.active = 0
        self.switches = 0
        self._ears = ears
        self._ready = [False] * len(ears)
        self._tried: set[int] = set()
        self._suspects: list[int] = []
        self._stalled_here: set[int] = set()
        self._late: set[int] = set()
        self._open = False
        self._sure = self._went_on = False
        self._began_at = self._over_at = 0.0
        self._again = self._words = self._signs = self._all_final = self._owed = False
        self._silent = 0
        self._deadline: Deadline | None = None

    def handle(self, event: HearingEvent, now: float) -> list[HearingEffect]:
        """Takes one event. Raises LocalProtocolError, and changes nothing, where it is illegal."""
        handler = TRANSITIONS.get((self.state, type(event)))
        if handler is None:
            raise LocalProtocolError(f"{type(event).__name__} while {self.state.value}")
        effects: list[HearingEffect] = getattr(self, handler)(event, now)
        return effects

    def deadline(self) -> Deadline | None:
        """The next instant at which something must be decided."""
        return self._deadline

    def on_deadline(self, now: float) -> list[HearingEffect]:
        """Takes the wake-up that `deadline` asked for."""
        due, self._deadline = self._deadline, None
        if due is None:
            return []
        if due.reason == "recover":
            self.state = HearingState.DEAF
            return [NobodyHears()]
        if self.state is HearingState.FINISHING and (self._all_final or (self._signs and not self._words)):
            # It listens, and found nothing (more) to understand.
            return self._done()
        return self._stalled(now)

    def takes_late(self, provider: int) -> bool:
        """Whether a final of a provider that was left for its silence still counts: it had heard the whole burst."""
        return self.state is HearingState.FINISHING and provider in self._late

    # --- the caller ---

    def _on_began(self, event: BurstBegan, now: float) -> list[HearingEffect]:
        finishing = self.state is HearingState.FINISHING
        if not event.sure and (self.state is not HearingState.IDLE or not any(event.ready)):
            # A sound that may be none changes nothing of what is awaited.
            return []
        unfinished = event.goes_on or self.state is not HearingState.IDLE
        self._ready = list(event.ready)
        self._open, self._tried, self._late = True, set(), set()
        self._sure, self._went_on = event.sure, False
        self._began_at = now
        if not unfinished:
            self._suspects.clear()
        same = finishing or (event.goes_on and self.state is HearingState.IDLE)
        chosen = self._choose(now)
        if chosen is None:
            return self._wait(now)
        same = same and chosen == self.active
        # The final of the burst before comes first, and says nothing about this one.
        owed = same and finishing and self._words and not self._all_final
        effects = self._hear(chosen, unfinished and not same, now)
        self._owed = owed
        if event.goes_on and same:
            # It has shown that it hears this burst: its next words may be few, or none, and are not hurried.
            self._went_on = True
            self._deadline = None
        return effects

    def _on_sure(self, event: BurstSure, now: float) -> list[HearingEffect]:
        effects: list[HearingEffect] = []
        if self.state is not HearingState.HEARING:
            # Its beginning was let pass, since something else was awaited. What was said since then counts.
            effects = self._on_began(BurstBegan(event.ready, goes_on=True), now)
            self._went_on = False
        self._sure = True
        if self.state is HearingState.HEARING and not (self._words or self._signs):
            self._expect_first(now)
        return effects

    def _on_taken_back(self, event: BurstTakenBack, now: float) -> list[HearingEffect]:
        self.state = HearingState.IDLE
        self._open = False
        self._deadline = None
        return []

    def _on_over(self, event: BurstOver, now: float) -> list[HearingEffect]:
        self._open = False
        self._over_at = now
        if self.state is HearingState.HEARING:
            self.state = HearingState.FINISHING
            self._expect_final(now)
        return []

    # --- the providers ---

    def _on_understood(self, event: Understood, now: float) -> list[HearingEffect]:
        if event.final and self.takes_late(event.provider):
            # It was only late, and answers before the one that was asked instead.
            self.active = event.provider
            self._suspects = [each for each in self._suspects if each != event.provider]
            self._again = True
        if event.provider != self.active or self.state is HearingState.WAITING:
            return []
        ear = self._ears[self.active]
        if event.final:
            # First words alone prove nothing: some that stall stall after them.
            ear.breaker.succeeded(now)
        for suspect in self._suspects:
            self._ears[suspect].breaker.failed(now)
        self._stalled_here.update(self._suspects)
        self._stalled_here.discard(self.active)
        self._suspects.clear()
        if self._owed and event.final:
            self._owed = False
            return []
        self._first_sign(now)
        self._words, self._all_final = True, event.final
        if self.state is HearingState.HEARING:
            self._deadline = None
        elif self.state is HearingState.FINISHING and event.final:
            if not self._again:
                ear.final.took(now - self._over_at)
            return self._done()
        return []

    def _on_sign(self, event: SignOfLife, now: float) -> list[HearingEffect]:
        if event.provider != self.active:
            return []
        self._first_sign(now)
        self._signs = True
        self._silent = 0
        if self.state is HearingState.HEARING:
            self._deadline = None
        elif self.state is HearingState.FINISHING:
            due = min(now + self._ears[self.active].final.limit_s, self._over_at + self.params.final_most_s)
            self._deadline = Deadline(max(due, now), "final")
        return []

    def _on_failed(self, event: ProviderFailed, now: float) -> list[HearingEffect]:
        self._ears[event.provider].breaker.failed(now)
        self._ready[event.provider] = False
        self._stalled_here.discard(event.provider)
        self._late.discard(event.provider)
        if event.provider != self.active or self.state not in (HearingState.HEARING, HearingState.FINISHING):
            return []
        self._tried.add(self.active)
        chosen = self._choose(now)
        return self._wait(now) if chosen is None else self._hear(chosen, True, now)

    def _on_ready(self, event: Readiness, now: float) -> list[HearingEffect]:
        self._ready = list(event.ready)
        self._tried.clear()
        chosen = self._choose(now)
        return [] if chosen is None else self._hear(chosen, True, now)

    # --- small steps ---

    def _choose(self, now: float) -> int | None:
        """The first that is ready and not tried: one that may be used, else one that may not.

        One that stalled in this call comes last: its connection is the same, and so would be the wait.
        """
        left = [each for each, ready in enumerate(self._ready) if ready and each not in self._tried]
        left.sort(key=self._stalled_here.__contains__)
        return next((each for each in left if self._ears[each].breaker.allows(now)), next(iter(left), None))

    def _hear(self, provider: int, again: bool, now: float) -> list[HearingEffect]:
        self.switches += provider != self.active
        self.active = provider
        self._again = again
        self._words = self._signs = self._all_final = self._owed = False
        if self._open:
            self.state = HearingState.HEARING
            self._deadline = None
            if self._sure:
                self._expect_first(now)
        else:
            self.state = HearingState.FINISHING
            self._over_at = now
            self._expect_final(now)
        return [Hear(provider, again)]

    def _expect_first(self, now: float) -> None:
        self._deadline = Deadline(now + self._ears[self.active].first.limit_s, "first")

    def _first_sign(self, now: float) -> None:
        """Learns how long it usually takes, from bursts that are heard in time."""
        if self._open and self._sure and not (self._words or self._signs or self._again or self._went_on):
            self._ears[self.active].first.took(now - self._began_at)

    def _expect_final(self, now: float) -> None:
        ear = self._ears[self.active]
        limit_s = ear.final.limit_s + (ear.first.limit_s if self._again else 0.0)
        self._deadline = Deadline(now + (limit_s if self._others() else self.params.alone_s), "final")

    def _others(self) -> bool:
        return any(ready and each != self.active and each not in self._tried for each, ready in enumerate(self._ready))

    def _stalled(self, now: float) -> list[HearingEffect]:
        self._tried.add(self.active)
        chosen = self._choose(now)
        if chosen is not None:
            self._suspects.append(self.active)
            if self.state is HearingState.FINISHING:
                self._late.add(self.active)
            return self._hear(chosen, True, now)
        if self.state is HearingState.HEARING:
            # There is nobody else: it may still come.
            return []
        self._silent += not self._signs
        if len(self._ears) == 1 and self._silent >= self.params.silent_bursts:
            self._ears[0].breaker.failed(now)
            self.state = HearingState.DEAF
            return [NobodyHears()]
        self.state = HearingState.IDLE
        return []

    def _wait(self, now: float) -> list[HearingEffect]:
        self.state = HearingState.WAITING
        self._deadline = Deadline(now + self.params.recover_s, "recover")
        return []

    def _done(self) -> list[HearingEffect]:
        self.state = HearingState.IDLE
        self._deadline = None
        self._silent = 0
        return []

    def _ignore(self, event: HearingEvent, now: float) -> list[HearingEffect]:
        return []
