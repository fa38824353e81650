"""When a burst of speech starts and ends, from made-up levels and probabilities."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.core.endpointing import (
    TAIL_S,
    Endpointer,
    EndpointEvent,
    EndpointingParams,
    SpeechContinues,
    SpeechEnded,
    SpeechPaused,
    SpeechStarted,
)
from trunkline.core.hangover import HangoverParams
from trunkline.core.units import FRAME_S

pytestmark = pytest.mark.unit

WINDOW_S = 0.032
SPEECH_DBFS = -25.0
ROOM_DBFS = -65.0


@dataclass
class Listener:
    """Feeds an endpointer 20 ms frames and 32 ms windows on one clock that starts at 100 s."""

    endpointer: Endpointer = field(default_factory=Endpointer)
    now: float = 100.0
    events: list[EndpointEvent] = field(default_factory=list)
    _next_window: float = 100.0

    def hear(self, length_s: float, dbfs: float, probability: float) -> Listener:
        """So long at this level, with this much certainty in every window that ends meanwhile."""
        for _ in range(round(length_s / FRAME_S)):
            self.now += FRAME_S
            ended = self.endpointer.frame(self.now, dbfs)
            if ended is not None:
                self.events.append(ended)
            while self._next_window + WINDOW_S <= self.now + 1e-9:
                event = self.endpointer.window(self._next_window, WINDOW_S, probability)
                if event is not None:
                    self.events.append(event)
                self._next_window += WINDOW_S
        return self

    def speak(self, length_s: float) -> Listener:
        return self.hear(length_s, SPEECH_DBFS, 0.95)

    def pause(self, length_s: float) -> Listener:
        return self.hear(length_s, ROOM_DBFS, 0.02)

    def starts(self) -> list[float]:
        return [event.at for event in self.events if isinstance(event, SpeechStarted)]

    def ends(self) -> list[float]:
        return [event.at for event in self.events if isinstance(event, SpeechEnded)]


def test_a_burst_has_the_instants_of_the_speech_itself() -> None:
    listener = Listener().pause(1.0).speak(0.6).pause(0.6)
    assert listener.starts() == [pytest.approx(101.0, abs=0.021)]
    assert listener.ends() == [pytest.approx(101.6, abs=0.021)]


def test_the_onset_is_walked_back_where_the_detector_is_late() -> None:
    listener = Listener().pause(1.0).hear(0.16, SPEECH_DBFS, 0.1).speak(0.4)
    assert listener.starts() == [pytest.approx(101.0, abs=0.001)]


def test_the_onset_is_walked_back_over_one_frame_of_quiet_but_not_over_two() -> None:
    one = Listener().pause(1.0).hear(0.1, SPEECH_DBFS, 0.1).hear(0.02, ROOM_DBFS, 0.1).hear(0.04, SPEECH_DBFS, 0.1)
    two = Listener().pause(1.0).hear(0.1, SPEECH_DBFS, 0.1).hear(0.04, ROOM_DBFS, 0.1).hear(0.04, SPEECH_DBFS, 0.1)
    assert one.speak(0.3).starts() == [pytest.approx(101.0, abs=0.001)]
    assert two.speak(0.3).starts() == [pytest.approx(101.14, abs=0.001)]


def test_the_onset_is_walked_back_no_further_than_the_lookback() -> None:
    listener = Listener().pause(1.0).hear(1.0, SPEECH_DBFS, 0.1).speak(0.2)
    [onset_at] = listener.starts()
    assert 102.0 - 0.36 <= onset_at <= 102.0 - 0.26


def test_the_end_is_walked_back_where_the_probability_decays_slowly() -> None:
    listener = Listener().pause(1.0).speak(0.6).hear(0.16, ROOM_DBFS, 0.6).pause(0.6)
    assert listener.ends() == [pytest.approx(101.6, abs=0.001)]


def test_who_speaks_no_louder_than_the_noise_is_somebody_in_the_background() -> None:
    assert Listener().hear(9.0, -40.0, 0.02).hear(0.64, -33.0, 0.9).hear(0.6, -40.0, 0.02).events == []
    assert Listener().hear(9.0, -40.0, 0.02).hear(0.64, -26.0, 0.9).hear(0.6, -40.0, 0.02).events != []


def test_who_is_much_quieter_than_the_caller_was_is_somebody_else() -> None:
    listener = Listener().pause(1.0).speak(1.0).pause(1.0)
    assert len(listener.hear(0.6, SPEECH_DBFS - 17.0, 0.9).starts()) == 1
    assert len(listener.pause(0.6).hear(0.6, SPEECH_DBFS - 8.0, 0.9).starts()) == 2


def test_a_caller_who_shouted_is_heard_all_the_same_when_they_speak() -> None:
    listener = Listener().pause(1.0).hear(1.0, -8.0, 0.95).pause(1.0)
    assert len(listener.hear(0.6, -35.0, 0.9).starts()) == 2


def test_a_last_syllable_that_the_detector_lost_is_speech() -> None:
    listener = Listener().pause(1.0).speak(0.48).hear(0.06, SPEECH_DBFS, 0.1).pause(0.6)
    assert listener.ends() == [pytest.approx(101.54, abs=0.001)]


def test_a_sound_that_goes_on_and_is_no_speech_is_taken_for_a_syllable_at_most() -> None:
    listener = Listener().pause(1.0).speak(0.48).hear(0.6, SPEECH_DBFS, 0.1)
    [end] = listener.ends()
    assert 101.48 < end <= 101.48 + TAIL_S + 1e-6


def test_a_sound_in_the_hangover_is_not_part_of_the_speech() -> None:
    listener = Listener().pause(1.0).speak(0.64).hear(0.08, ROOM_DBFS, 0.02).hear(0.04, SPEECH_DBFS, 0.02).pause(0.4)
    assert listener.ends() == [pytest.approx(101.64, abs=0.021)]


def test_a_pause_shorter_than_the_hangover_does_not_end_the_burst() -> None:
    listener = Listener().pause(0.5).speak(0.4).pause(0.14).speak(0.4).pause(0.5)
    assert (len(listener.starts()), len(listener.ends())) == (1, 1)
    assert listener.ends() == [pytest.approx(101.44, abs=0.021)]


def test_a_pause_longer_than_the_hangover_makes_two_bursts() -> None:
    listener = Listener().pause(0.5).speak(0.4).pause(0.4).speak(0.4).pause(0.5)
    assert (len(listener.starts()), len(listener.ends())) == (2, 2)


def test_two_soft_windows_in_a_row_start_speech_and_one_does_not() -> None:
    endpointer = Endpointer()
    for number in range(1, 8):
        endpointer.frame(100.0 + number * FRAME_S, ROOM_DBFS if number < 4 else SPEECH_DBFS)
    assert endpointer.window(100.0, WINDOW_S, 0.5) is None
    assert endpointer.window(100.032, WINDOW_S, 0.1) is None
    assert endpointer.window(100.064, WINDOW_S, 0.5) is None
    assert endpointer.window(100.096, WINDOW_S, 0.5) == SpeechStarted(pytest.approx(100.06))


def test_loudness_alone_is_no_speech() -> None:
    assert Listener().hear(2.0, SPEECH_DBFS, 0.2).events == []


def test_voiced_time_grows_by_the_window_and_counts_from_the_onset() -> None:
    listener = Listener().pause(1.0).speak(0.4)
    voiced = [event.voiced_s for event in listener.events if isinstance(event, SpeechContinues)]
    assert voiced == sorted(voiced)
    assert 0.3 < voiced[-1] < 0.45


def test_the_noise_floor_sinks_quickly_rises_slowly_and_stands_still_while_somebody_speaks() -> None:
    listener = Listener().hear(0.6, -90.0, 0.0)
    assert listener.endpointer._floor_dbfs < -80
    listener.hear(0.2, -50.0, 0.0)
    assert listener.endpointer._floor_dbfs < -70
    listener.speak(0.2)
    floor_dbfs = listener.endpointer._floor_dbfs
    listener.speak(1.0)
    assert listener.endpointer._floor_dbfs == floor_dbfs


windows = st.tuples(st.floats(-100.0, 0.0), st.floats(0.0, 1.0))


@given(st.lists(windows, max_size=150))
def test_bursts_alternate_and_no_instant_lies_before_the_one_before_it(heard: list[tuple[float, float]]) -> None:
    listener = Listener(Endpointer(EndpointingParams(hangover=HangoverParams(0.1, 0.1))))
    for level_dbfs, probability in heard:
        listener.hear(FRAME_S, level_dbfs, probability)
    bursts = [event for event in listener.events if not isinstance(event, SpeechContinues)]
    assert [type(event) for event in bursts] == [SpeechStarted, SpeechEnded] * (len(bursts) // 2) + [SpeechStarted] * (
        len(bursts) % 2
    )
    for start, end in zip(bursts[::2], bursts[1::2], strict=False):
        assert start.at <= end.at <= listener.now


class TestHangover:
    """What ends a burst, and what is learned from it."""

    def test_the_hangover_counts_from_the_end_of_the_speech_and_not_from_the_detector_s_decay(self) -> None:
        listener = Listener().pause(1.0).speak(0.6).hear(0.1, ROOM_DBFS, 0.6)
        for _ in range(20):
            listener.pause(FRAME_S)
            if listener.ends():
                break
        assert listener.now - 101.6 == pytest.approx(0.2, abs=0.021)

    def test_a_sound_at_the_end_of_the_hangover_is_given_a_moment_to_become_speech(self) -> None:
        goes_on = Listener().pause(1.0).speak(0.6).pause(0.16).hear(0.08, SPEECH_DBFS, 0.1).speak(0.5)
        assert goes_on.ends() == []
        click = Listener().pause(1.0).speak(0.6).pause(0.16).hear(0.3, SPEECH_DBFS, 0.1)
        assert len(click.ends()) == 1

    def test_people_in_the_background_do_not_make_the_start_earlier(self) -> None:
        listener = Listener().pause(1.0).speak(1.0).pause(1.0).hear(2.0, SPEECH_DBFS - 15.0, 0.9).speak(0.5)
        assert listener.starts()[-1] == pytest.approx(105.0, abs=0.35)

    def test_a_detector_that_is_still_sure_of_what_is_audible_is_waited_for(self) -> None:
        assert Listener().pause(1.0).speak(0.6).hear(0.3, SPEECH_DBFS - 12.0, 0.6).ends() == []
        assert len(Listener().pause(1.0).speak(0.6).hear(0.3, SPEECH_DBFS - 28.0, 0.6).ends()) == 1

    def test_a_cut_that_nobody_answered_makes_the_next_hangover_longer(self) -> None:
        listener = Listener().pause(1.0).speak(0.6).pause(0.4).speak(0.6)
        assert listener.endpointer.hangover.seconds > 0.25

    def test_who_answers_the_agent_soon_was_not_cut_off(self) -> None:
        listener = Listener().pause(1.0).speak(0.6).pause(0.4)
        listener.endpointer.answered()
        listener.speak(0.6)
        assert listener.endpointer.hangover.seconds == pytest.approx(0.2)

    def test_a_click_soon_after_the_end_teaches_nothing(self) -> None:
        listener = Listener().pause(1.0).speak(0.6).pause(0.4).speak(0.06).pause(0.4)
        assert listener.endpointer.hangover.seconds == pytest.approx(0.2)

    def test_pauses_within_a_burst_are_learned(self) -> None:
        listener = Listener().pause(1.0)
        for _ in range(20):
            listener.speak(0.4).pause(0.1)
        assert listener.endpointer.hangover.seconds < 0.19
        assert len(listener.starts()) == 1

    def test_the_decay_of_a_detector_is_not_voiced_time(self) -> None:
        listener = Listener().pause(1.0).speak(0.16).hear(0.2, ROOM_DBFS, 0.6)
        voiced = [event.voiced_s for event in listener.events if isinstance(event, SpeechContinues)]
        assert voiced[-1] < 0.21


class TestPauses:
    """A pause that may be the end is told of a little before the hangover is over."""

    ASKING = EndpointingParams(ask_ahead_s=0.12)

    def heard(self) -> Listener:
        return Listener(Endpointer(self.ASKING))

    def pauses(self, listener: Listener) -> list[float]:
        return [event.at for event in listener.events if isinstance(event, SpeechPaused)]

    def test_it_is_told_once_and_before_the_end(self) -> None:
        listener = self.heard().pause(1.0).speak(0.6).pause(0.12)
        assert self.pauses(listener) == [pytest.approx(101.6, abs=0.021)]
        assert listener.ends() == []
        listener.pause(0.5)
        assert len(self.pauses(listener)) == len(listener.ends()) == 1

    def test_the_closure_of_a_plosive_is_none(self) -> None:
        listener = self.heard().pause(1.0).speak(0.6).pause(0.06).speak(0.6)
        assert self.pauses(listener) == []

    def test_each_pause_of_a_burst_is_told(self) -> None:
        listener = self.heard().pause(1.0).speak(0.6).pause(0.14).speak(0.6).pause(0.6)
        assert len(self.pauses(listener)) == 2
        assert len(listener.ends()) == 1

    def test_a_longer_hangover_is_asked_ahead_of_by_as_much(self) -> None:
        listener = self.heard().pause(1.0).speak(0.6)
        listener.endpointer.hear("my name and")
        listener.pause(0.3)
        assert self.pauses(listener) == []
        listener.pause(0.1)
        assert len(self.pauses(listener)) == 1
        assert listener.ends() == []

    def test_where_nobody_can_be_asked_none_is_told(self) -> None:
        listener = Listener().pause(1.0).speak(0.6).pause(0.6)
        assert self.pauses(listener) == []
        assert len(listener.ends()) == 1


def test_words_after_which_much_was_said_do_not_hold_the_burst_open() -> None:
    waits = {}
    for more_s in (0.2, 1.0):
        listener = Listener().pause(1.0).speak(0.6)
        listener.endpointer.hear("5")
        listener.speak(more_s).pause(1.0)
        after = [event for event in listener.events if isinstance(event, SpeechEnded)]
        waits[more_s] = listener.endpointer.hangover.seconds
        assert len(after) == 1
    assert waits[0.2] == pytest.approx(0.5)
    assert waits[1.0] == pytest.approx(0.2)
