"""The driver that runs every machine: order, one timer, and what an error leaves behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from trunkline.core.machine import Deadline, Driver

pytestmark = pytest.mark.unit


@dataclass
class Timer:
    """One armed timer of `ManualClock`."""

    when: float
    callback: Callable[[], None]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


@dataclass
class ManualClock:
    """Time that a test moves."""

    now: float = 0.0
    timers: list[Timer] = field(default_factory=list)

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None], /) -> Timer:
        self.timers.append(Timer(when, callback))
        return self.timers[-1]

    def armed(self) -> list[Timer]:
        return [timer for timer in self.timers if not timer.cancelled]

    def fire(self, at: float | None = None) -> None:
        """Fires the one armed timer, at its own instant or at another."""
        [timer] = self.armed()
        self.now = timer.when if at is None else at
        timer.cancel()
        timer.callback()


@dataclass
class Repeater:
    """Answers an event with the effects that a test has prepared; wakes when it is told to."""

    effects: dict[str, list[str]] = field(default_factory=dict)
    wake_at: float | None = None
    seen: list[tuple[str, float]] = field(default_factory=list)

    def handle(self, event: str, now: float) -> list[str]:
        if event == "bad":
            raise ValueError(event)
        self.seen.append((event, now))
        return self.effects.get(event, [event.upper()])

    def deadline(self) -> Deadline | None:
        return None if self.wake_at is None else Deadline(self.wake_at, "wake")

    def on_deadline(self, now: float) -> list[str]:
        self.seen.append(("wake", now))
        self.wake_at = None
        return ["WOKEN"]


def make(
    machine: Repeater, feeds: dict[str, str | None] | None = None
) -> tuple[Driver[str, str], list[str], ManualClock]:
    """A driver whose effects are noted; performing one of `feeds` feeds its event, or raises for None."""
    performed: list[str] = []
    clock = ManualClock()

    def perform(effect: str) -> None:
        performed.append(effect)
        if feeds is not None and effect in feeds:
            event = feeds[effect]
            if event is None:
                raise RuntimeError(effect)
            driver.feed(event)

    driver = Driver(machine, perform, clock)
    return driver, performed, clock


def test_effects_are_performed_in_order() -> None:
    driver, performed, _ = make(Repeater({"go": ["A", "B", "C"]}))
    driver.feed("go")
    assert performed == ["A", "B", "C"]


def test_an_event_fed_by_an_effect_waits_for_the_effects_siblings() -> None:
    driver, performed, _ = make(Repeater({"go": ["A", "B"]}), feeds={"A": "inner"})
    driver.feed("go")
    assert performed == ["A", "B", "INNER"]


def test_the_machine_sees_the_clock_s_time() -> None:
    machine = Repeater()
    driver, _, clock = make(machine)
    clock.now = 3.5
    driver.feed("go")
    assert machine.seen == [("go", 3.5)]


def test_one_timer_is_armed_for_the_newest_deadline() -> None:
    machine = Repeater(wake_at=5.0)
    driver, _, clock = make(machine)
    driver.arm()
    machine.wake_at = 2.0
    driver.feed("go")
    assert [timer.when for timer in clock.armed()] == [2.0]
    machine.wake_at = None
    driver.feed("go")
    assert clock.armed() == []


def test_a_deadline_wakes_the_machine_and_its_effects_are_performed() -> None:
    machine = Repeater(wake_at=5.0)
    driver, performed, clock = make(machine)
    driver.arm()
    clock.fire()
    assert (performed, machine.seen, clock.armed()) == (["WOKEN"], [("wake", 5.0)], [])


def test_a_timer_that_fires_early_shows_the_machine_its_own_deadline() -> None:
    machine = Repeater(wake_at=5.0)
    driver, _, clock = make(machine)
    driver.arm()
    clock.fire(at=4.999)
    assert machine.seen == [("wake", 5.0)]


def test_a_timer_that_fires_late_shows_the_machine_the_real_time() -> None:
    machine = Repeater(wake_at=5.0)
    driver, _, clock = make(machine)
    driver.arm()
    clock.fire(at=6.0)
    assert machine.seen == [("wake", 6.0)]


def test_a_wake_up_that_is_no_longer_wanted_does_nothing() -> None:
    machine = Repeater(wake_at=5.0)
    driver, performed, clock = make(machine)
    driver.arm()
    machine.wake_at = None
    clock.fire()
    assert performed == []


def test_an_error_of_the_machine_reaches_the_caller_and_leaves_the_driver_usable() -> None:
    machine = Repeater(wake_at=5.0)
    driver, performed, clock = make(machine)
    with pytest.raises(ValueError, match="bad"):
        driver.feed("bad")
    assert len(clock.armed()) == 1
    driver.feed("go")
    assert performed == ["GO"]


def test_an_effect_that_raises_keeps_neither_its_siblings_nor_waiting_events_from_their_turn() -> None:
    driver, performed, _ = make(Repeater({"go": ["A", "B", "C"]}), feeds={"A": "inner", "B": None})
    with pytest.raises(RuntimeError, match="B"):
        driver.feed("go")
    assert performed == ["A", "B", "C", "INNER"]
    driver.feed("next")
    assert performed[-1] == "NEXT"


def test_an_illegal_event_among_waiting_ones_does_not_hold_up_the_others() -> None:
    driver, performed, _ = make(Repeater({"go": ["A", "B"]}), feeds={"A": "bad", "B": "later"})
    with pytest.raises(ValueError, match="bad"):
        driver.feed("go")
    assert performed == ["A", "B", "LATER"]


def test_after_close_nothing_is_taken_and_no_timer_stays() -> None:
    machine = Repeater(wake_at=5.0)
    driver, performed, clock = make(machine)
    driver.arm()
    driver.close()
    driver.feed("go")
    driver.arm()
    assert (performed, clock.armed()) == ([], [])


def test_an_effect_may_close_the_driver() -> None:
    machine = Repeater({"go": ["A", "END", "B"]}, wake_at=5.0)
    performed: list[str] = []
    clock = ManualClock()

    def perform(effect: str) -> None:
        performed.append(effect)
        if effect == "A":
            driver.feed("never")
        if effect == "END":
            driver.close()

    driver = Driver(machine, perform, clock)
    driver.feed("go")
    assert (performed, clock.armed()) == (["A", "END", "B"], [])


def test_a_timer_that_fires_after_close_does_nothing() -> None:
    machine = Repeater(wake_at=5.0)
    driver, performed, clock = make(machine)
    driver.arm()
    [timer] = clock.armed()
    driver.close()
    timer.callback()
    assert performed == []
