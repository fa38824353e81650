"""The shape of every machine in `core`: events in, effects out, one deadline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeVar

EventT = TypeVar("EventT", contravariant=True)
EffectT = TypeVar("EffectT")


@dataclass(frozen=True, slots=True)
class Deadline:
    """When a machine wants to be woken, in monotonic seconds, and what for."""

    at: float
    reason: str


class Machine(Protocol[EventT, EffectT]):
    """Decides; the shell performs the effects in order and then arms one timer for `deadline()`."""

    def handle(self, event: EventT, now: float) -> list[EffectT]:
        """Takes one event at `now` (monotonic seconds). Raises LocalProtocolError and changes nothing if illegal."""
        ...

    def deadline(self) -> Deadline | None:
        """When to call `on_deadline`, or None."""
        ...

    def on_deadline(self, now: float) -> list[EffectT]:
        """Takes the wake-up that `deadline` asked for."""
        ...
