"""The shape of every machine in `core` (events in, effects out, one deadline), and the one driver that runs them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

EventT = TypeVar("EventT")
EventT_contra = TypeVar("EventT_contra", contravariant=True)
EffectT = TypeVar("EffectT")


@dataclass(frozen=True, slots=True)
class Deadline:
    """When a machine wants to be woken, in monotonic seconds, and what for."""

    at: float
    reason: str


class Machine(Protocol[EventT_contra, EffectT]):
    """Decides. Performs nothing, reads no clock."""

    def handle(self, event: EventT_contra, now: float) -> list[EffectT]:
        """Takes one event at `now` (monotonic seconds). Raises LocalProtocolError and changes nothing if illegal."""
        ...

    def deadline(self) -> Deadline | None:
        """When to call `on_deadline`, or None."""
        ...

    def on_deadline(self, now: float) -> list[EffectT]:
        """Takes the wake-up that `deadline` asked for."""
        ...


class TimerHandle(Protocol):
    """An armed timer."""

    def cancel(self) -> None:
        """Disarms it."""
        ...


class Clock(Protocol):
    """What the driver needs of an event loop: asyncio's loops have it."""

    def time(self) -> float:
        """Monotonic seconds."""
        ...

    def call_at(self, when: float, callback: Callable[[], None], /) -> TimerHandle:
        """Runs `callback` at `when`."""
        ...


class Driver(Generic[EventT, EffectT]):
    """Runs one machine: feeds events, performs the effects in order, then arms one timer.

    An effect may feed further events while it is performed; they wait until its siblings are performed. An error of the
    machine or of an effect is raised after all that was due is done, and leaves the driver usable.

    Args:
        machine: The machine.
        perform: Called for each effect, in order. It must not block, and should not raise.
        clock: The event loop.
    """

    def __init__(self, machine: Machine[EventT, EffectT], perform: Callable[[EffectT], None], clock: Clock) -> None:
        self._machine = machine
        self._perform = perform
        self._clock = clock
        self._waiting: deque[EventT] = deque()
        self._busy = False
        self._timer: TimerHandle | None = None
        self._closed = False

    def feed(self, event: EventT) -> None:
        """Takes one event now. After `close` it is ignored."""
        if self._closed:
            return
        self._waiting.append(event)
        if not self._busy:
            self._run([])

    def close(self) -> None:
        """Stops for good: no timer stays armed, later events are ignored."""
        self._closed = True
        self._waiting.clear()
        self._disarm()

    def _run(self, effects: list[EffectT]) -> None:
        """Performs, then takes what waits. An error goes to the caller once everything else is done."""
        self._busy = True
        try:
            self._perform_all(effects)
            while self._waiting:
                self._perform_all(self._machine.handle(self._waiting.popleft(), self._clock.time()))
        finally:
            self._busy = False
            if self._waiting:
                self._run([])
            else:
                self.arm()

    def _perform_all(self, effects: list[EffectT]) -> None:
        if not effects:
            return
        try:
            self._perform(effects[0])
        finally:
            self._perform_all(effects[1:])

    def arm(self) -> None:
        """Arms the timer for the machine's deadline; called once at the start where a machine begins with one."""
        self._disarm()
        deadline = None if self._closed else self._machine.deadline()
        if deadline is not None:
            self._timer = self._clock.call_at(deadline.at, self._wake)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wake(self) -> None:
        self._timer = None
        deadline = self._machine.deadline()
        if self._closed or deadline is None:
            return
        # Loops may fire a timer a hair early; a machine never sees time before its own deadline.
        self._run(self._machine.on_deadline(max(deadline.at, self._clock.time())))
