"""Who hears the caller, and when somebody else must: the machine in made-up time."""

from __future__ import annotations

import pytest

from trunkline.core.breaker import Breaker, BreakerState
from trunkline.core.errors import LocalProtocolError
from trunkline.core.hearing import TRANSITIONS, Ear, HearingMachine, HearingState
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
from trunkline.core.usual_delay import UsualDelay

pytestmark = pytest.mark.unit

FIRST_S, FINAL_S = 0.4, 0.3
BOTH = (True, True)


class World:
    """A machine and its clock."""

    def __init__(self, providers: int = 2) -> None:
        self.now = 0.0
        self.ears = [
            Ear(Breaker(), UsualDelay(FIRST_S, 0.1, 1.0), UsualDelay(FINAL_S, 0.1, 1.0)) for _ in range(providers)
        ]
        self.machine = HearingMachine(self.ears)

    def at(self, now: float, event: HearingEvent) -> list[HearingEffect]:
        """What happens until `now`, and then with the event."""
        effects = self.until(now)
        return effects + self.machine.handle(event, now)

    def until(self, now: float) -> list[HearingEffect]:
        effects: list[HearingEffect] = []
        while (due := self.machine.deadline()) is not None and due.at <= now:
            self.now = max(self.now, due.at)
            effects += self.machine.on_deadline(self.now)
        self.now = now
        return effects

    def states(self) -> list[BreakerState]:
        return [ear.breaker.state for ear in self.ears]


def test_a_burst_that_is_understood_stays_with_the_first() -> None:
    world = World()
    assert world.at(0.0, BurstBegan(BOTH)) == [Hear(0, again=False)]
    assert world.at(0.2, Understood(0, final=False)) == []
    assert world.at(3.0, BurstOver()) == []
    assert world.at(3.1, Understood(0, final=True)) == []
    assert world.until(60.0) == []
    assert world.machine.state is HearingState.IDLE
    assert world.machine.switches == 0


def test_no_word_in_the_usual_time_brings_the_next_one_and_all_again() -> None:
    world = World()
    world.at(0.0, BurstBegan(BOTH))
    assert world.until(FIRST_S - 0.01) == []
    assert world.until(FIRST_S) == [Hear(1, again=True)]
    assert world.at(0.5, Understood(0, final=False)) == []
    world.at(0.6, Understood(1, final=False))
    assert world.machine.active == 1


def test_no_final_in_the_usual_time_brings_the_next_one() -> None:
    world = World()
    world.at(0.0, BurstBegan(BOTH))
    world.at(0.2, Understood(0, final=False))
    world.at(1.0, BurstOver())
    assert world.until(1.0 + FINAL_S) == [Hear(1, again=True)]
    assert world.at(1.5, Understood(1, final=True)) == []
    assert world.machine.state is HearingState.IDLE


def test_a_stall_counts_only_if_somebody_else_understood() -> None:
    world = World()
    for start in (0.0, 10.0, 20.0):
        world.at(start, BurstBegan(BOTH))
        world.at(start + 1.0, BurstOver())
        world.until(start + 9.0)
    assert world.states() == [BreakerState.CLOSED, BreakerState.CLOSED]
    for call in range(3):
        # Three calls of one worker share what they know.
        each = World()
        each.machine = HearingMachine(world.ears)
        each.at(30.0 + call, BurstBegan(BOTH))
        each.at(30.5 + call, Understood(1, final=False))
    assert world.states() == [BreakerState.OPEN, BreakerState.CLOSED]
    assert world.at(33.0, BurstBegan(BOTH)) == [Hear(1, again=False)]


def test_one_that_stalled_is_not_waited_for_again_in_this_call_unless_it_reconnects() -> None:
    world = World()
    world.at(0.0, BurstBegan(BOTH))
    world.at(0.5, Understood(1, final=False))
    world.at(1.0, BurstOver())
    world.at(1.1, Understood(1, final=True))
    assert world.at(2.0, BurstBegan(BOTH)) == [Hear(1, again=False)]
    world.at(2.1, ProviderFailed(0))
    world.at(2.2, Understood(1, final=False))
    world.at(3.0, BurstOver())
    world.at(3.1, Understood(1, final=True))
    assert world.at(4.0, BurstBegan(BOTH)) == [Hear(0, again=False)]


def test_a_sign_of_life_without_words_is_no_stall() -> None:
    world = World()
    world.at(0.0, BurstBegan(BOTH))
    world.at(0.1, SignOfLife(0))
    world.at(1.0, BurstOver())
    world.at(1.1, SignOfLife(0))
    assert world.until(10.0) == []
    assert world.machine.state is HearingState.IDLE


def test_signs_without_the_final_words_are_a_stall_at_last() -> None:
    world = World()
    world.at(0.0, BurstBegan(BOTH))
    world.at(0.1, Understood(0, final=False))
    world.at(1.0, BurstOver())
    for tenth in range(1, 14):
        assert world.at(1.0 + tenth / 10, SignOfLife(0)) == []
    assert Hear(1, again=True) in world.until(2.6)


def test_a_final_that_is_only_late_counts_if_it_comes_before_the_others() -> None:
    world = World()
    world.at(0.0, BurstBegan(BOTH))
    world.at(0.2, Understood(0, final=False))
    world.at(1.0, BurstOver())
    world.until(1.0 + FINAL_S)
    assert world.machine.takes_late(0)
    assert world.at(1.4, Understood(0, final=True)) == []
    assert (world.machine.state, world.machine.active) == (HearingState.IDLE, 0)
    assert world.at(1.5, Understood(1, final=True)) == []
    assert world.at(2.0, BurstBegan(BOTH)) == [Hear(0, again=False)]


def test_a_provider_that_was_left_in_the_middle_of_a_burst_does_not_know_its_end() -> None:
    world = World()
    world.at(0.0, BurstBegan(BOTH))
    world.until(FIRST_S)
    world.at(1.0, BurstOver())
    assert not world.machine.takes_late(0)


def test_words_that_were_final_already_are_not_waited_for_again() -> None:
    world = World()
    world.at(0.0, BurstBegan(BOTH))
    world.at(0.3, Understood(0, final=True))
    world.at(1.0, BurstOver())
    assert world.until(10.0) == []
    assert world.machine.switches == 0


@pytest.mark.parametrize("when", ["speaking", "finishing"])
def test_an_error_brings_the_next_one_at_once(when: str) -> None:
    world = World()
    world.at(0.0, BurstBegan(BOTH))
    world.at(0.1, Understood(0, final=False))
    if when == "finishing":
        world.at(0.2, BurstOver())
    assert world.at(0.25, ProviderFailed(0)) == [Hear(1, again=True)]


def test_an_error_while_nobody_speaks_only_counts() -> None:
    world = World()
    assert world.at(0.0, ProviderFailed(0)) == []
    assert world.at(1.0, BurstBegan((False, True))) == [Hear(1, again=False)]


def test_a_burst_that_begins_before_the_last_final_goes_on_with_the_same_one() -> None:
    world = World()
    world.at(0.0, BurstBegan(BOTH))
    world.at(0.1, Understood(0, final=False))
    world.at(1.0, BurstOver())
    assert world.at(1.1, BurstBegan(BOTH)) == [Hear(0, again=False)]
    world.at(1.2, Understood(0, final=True))
    assert world.until(1.1 + FIRST_S) == [Hear(1, again=True)]


def test_a_burst_that_begins_with_another_one_takes_what_was_not_final_along() -> None:
    world = World()
    world.at(0.0, BurstBegan(BOTH))
    world.at(0.1, Understood(0, final=False))
    world.at(1.0, BurstOver())
    assert world.at(1.1, BurstBegan((False, True))) == [Hear(1, again=True)]


def test_with_nobody_ready_one_that_comes_back_in_time_hears_all() -> None:
    world = World()
    assert world.at(0.0, BurstBegan((False, False))) == []
    assert world.at(0.5, Readiness((False, False))) == []
    assert world.at(1.0, Readiness((True, False))) == [Hear(0, again=True)]
    world.at(1.1, Understood(0, final=False))
    assert world.machine.state is HearingState.HEARING


def test_one_that_comes_back_after_the_burst_owes_its_final() -> None:
    world = World(providers=1)
    world.at(0.0, BurstBegan((False,)))
    world.at(0.8, BurstOver())
    assert world.at(1.0, Readiness((True,))) == [Hear(0, again=True)]
    assert world.machine.state is HearingState.FINISHING


def test_with_nobody_in_time_the_call_is_lost_once() -> None:
    world = World()
    world.at(0.0, BurstBegan(BOTH))
    world.at(0.1, ProviderFailed(0))
    assert world.at(0.2, ProviderFailed(1)) == []
    assert world.until(5.0) == [NobodyHears()]
    assert world.at(6.0, BurstBegan(BOTH)) == []
    assert world.machine.deadline() is None


def test_the_only_one_is_given_time_and_two_silent_bursts() -> None:
    world = World(providers=1)
    world.at(0.0, BurstBegan((True,)))
    world.at(1.0, BurstOver())
    assert world.until(9.0) == []
    world.at(10.0, BurstBegan((True,)))
    world.at(11.0, BurstOver())
    assert world.until(13.9) == []
    assert world.until(14.0) == [NobodyHears()]


def test_the_only_one_is_used_though_its_breaker_is_open() -> None:
    world = World(providers=1)
    for _ in range(3):
        world.ears[0].breaker.failed(0.0)
    assert world.at(1.0, BurstBegan((True,))) == [Hear(0, again=False)]


def test_it_learns_from_bursts_that_are_heard_in_time() -> None:
    world = World()
    for start in range(0, 100, 10):
        world.at(start, BurstBegan(BOTH))
        world.at(start + 0.1, Understood(0, final=False))
        world.at(start + 1.0, BurstOver())
        world.at(start + 1.08, Understood(0, final=True))
    assert world.ears[0].first.limit_s == pytest.approx(1.25 * 0.1 + 0.04)
    assert world.ears[0].final.limit_s == pytest.approx(1.25 * 0.08 + 0.04)


def test_every_state_and_event_is_legal_or_changes_nothing() -> None:
    events: list[HearingEvent] = [
        BurstBegan(BOTH),
        BurstBegan(BOTH, sure=False),
        BurstBegan(BOTH, goes_on=True),
        BurstSure(BOTH),
        BurstTakenBack(),
        BurstOver(),
        Understood(0, final=True),
        SignOfLife(0),
        ProviderFailed(1),
        Readiness(BOTH),
    ]
    for state in HearingState:
        for event in events:
            world = World()
            world.machine.state = state
            if (state, type(event)) in TRANSITIONS:
                world.machine.handle(event, 0.0)
            else:
                with pytest.raises(LocalProtocolError):
                    world.machine.handle(event, 0.0)
                assert world.machine.state is state


class TestSoundAhead:
    """Sound that is given ahead, and may be none of the caller's speech."""

    def test_nothing_is_expected_of_it_and_nobody_held_to_it(self) -> None:
        world = World()
        assert world.at(0.0, BurstBegan(BOTH, sure=False)) == [Hear(0, again=False)]
        assert world.at(5.0, BurstTakenBack()) == []
        assert world.until(60.0) == []
        assert world.machine.state is HearingState.IDLE

    def test_once_it_is_speech_words_are_expected(self) -> None:
        world = World()
        world.at(0.0, BurstBegan(BOTH, sure=False))
        world.at(0.1, BurstSure(BOTH))
        assert world.until(0.1 + FIRST_S) == [Hear(1, again=True)]

    def test_words_that_came_ahead_are_a_sign_of_life(self) -> None:
        world = World()
        world.at(0.0, BurstBegan(BOTH, sure=False))
        world.at(0.1, Understood(0, final=False))
        world.at(0.2, BurstSure(BOTH))
        assert world.until(30.0) == []
        assert world.ears[0].first.limit_s == FIRST_S

    def test_a_noise_while_a_final_is_awaited_makes_nobody_forget_it(self) -> None:
        world = World()
        world.at(0.0, BurstBegan(BOTH))
        world.at(0.2, Understood(0, final=False))
        world.at(1.0, BurstOver())
        assert world.at(1.1, BurstBegan(BOTH, sure=False)) == []
        assert world.at(1.2, BurstTakenBack()) == []
        assert world.until(1.0 + FINAL_S) == [Hear(1, again=True)]

    def test_speech_that_began_while_a_final_was_awaited_is_heard_by_the_same(self) -> None:
        world = World()
        world.at(0.0, BurstBegan(BOTH))
        world.at(0.2, Understood(0, final=False))
        world.at(1.0, BurstOver())
        world.at(1.05, BurstBegan(BOTH, sure=False))
        world.at(1.1, Understood(0, final=True))
        assert world.at(1.15, BurstSure(BOTH)) == [Hear(0, again=False)]
        assert world.until(1.15 + FIRST_S) == [Hear(1, again=True)]

    def test_where_nobody_is_connected_a_noise_ends_no_call(self) -> None:
        world = World()
        assert world.at(0.0, BurstBegan((False, False), sure=False)) == []
        world.at(0.2, BurstTakenBack())
        assert world.until(60.0) == []

    def test_one_that_breaks_off_meanwhile_is_replaced_at_once(self) -> None:
        world = World()
        world.at(0.0, BurstBegan(BOTH, sure=False))
        assert world.at(0.1, ProviderFailed(0)) == [Hear(1, again=True)]
        assert world.until(1.0) == []
        world.at(1.0, BurstTakenBack())


class TestPauses:
    """A recognizer that was asked in a pause after which the caller went on."""

    def test_its_next_words_are_not_hurried(self) -> None:
        world = World()
        world.at(0.0, BurstBegan(BOTH))
        world.at(0.2, Understood(0, final=False))
        world.at(1.0, BurstOver())
        world.at(1.1, Understood(0, final=True))
        assert world.at(1.2, BurstBegan(BOTH, goes_on=True)) == [Hear(0, again=False)]
        assert world.until(9.0) == []
        world.at(9.0, BurstOver())
        assert world.until(9.0 + FINAL_S) == [Hear(1, again=True)]

    def test_it_is_not_timed_by_them(self) -> None:
        world = World()
        for start in range(0, 40, 2):
            world.at(start, BurstBegan(BOTH))
            world.at(start + 0.1, Understood(0, final=False))
            world.at(start + 1.0, BurstOver())
            world.at(start + 1.08, Understood(0, final=True))
            world.at(start + 1.1, BurstBegan(BOTH, goes_on=True))
            world.at(start + 1.11, Understood(0, final=False))
            world.at(start + 1.5, BurstOver())
            world.at(start + 1.58, Understood(0, final=True))
        assert world.ears[0].first.limit_s == pytest.approx(1.25 * 0.1 + 0.04)

    def test_where_it_broke_off_in_the_pause_another_hears_what_came_since(self) -> None:
        world = World()
        world.at(0.0, BurstBegan(BOTH))
        world.at(0.2, Understood(0, final=False))
        world.at(1.0, BurstOver())
        world.at(1.1, Understood(0, final=True))
        world.at(1.15, ProviderFailed(0))
        assert world.at(1.2, BurstBegan((False, True), goes_on=True)) == [Hear(1, again=True)]
