"""A recognizer that is asked in a pause: its words end the wait, unless they are those of an earlier pause."""

from __future__ import annotations

import pytest

from tests.unit.test_turn import Talk
from trunkline.core.endpointing import SpeechContinues, SpeechEnded, SpeechPaused, SpeechStarted
from trunkline.core.turn_events import (
    AskBrain,
    CancelReply,
    FinalHeard,
    PartialHeard,
    PlaybackEnded,
    PlaybackStarted,
    ReleaseReply,
    ReplyDecided,
)
from trunkline.core.wire import Mark, TurnOutcome

pytestmark = pytest.mark.unit


def in_pause(**params: object) -> Talk:
    """A burst from 1.0 s pauses at 2.0 s; the recognizer is asked at 2.1 s."""
    talk = Talk.with_params(**params)
    talk.at(1.1, SpeechStarted(1.0))
    talk.at(2.1, SpeechPaused(2.0))
    return talk


def test_words_that_came_in_the_pause_are_answered_when_it_has_ended_the_turn() -> None:
    talk = in_pause()
    assert talk.at(2.15, FinalHeard("hello")) == []
    assert talk.at(2.2, SpeechEnded(2.0)) == [AskBrain(1, "hello")]
    talk.at(2.3, ReplyDecided(1, "Hi."), PlaybackStarted(1, 2.3), PlaybackEnded(1, 3.0, 100))
    [turn] = talk.closed()
    assert turn.outcome is TurnOutcome.ANSWERED
    assert turn.marks[Mark.STT_FINAL] == 2.2  # since only then they were known to be the last


def test_words_that_come_later_are_waited_for() -> None:
    talk = in_pause()
    assert talk.at(2.2, SpeechEnded(2.0)) == []
    assert talk.at(2.25, FinalHeard("hello")) == [AskBrain(1, "hello")]


def test_a_caller_who_goes_on_is_answered_all_that_was_said() -> None:
    talk = in_pause()
    talk.at(2.15, FinalHeard("my name"))
    talk.at(2.18, SpeechContinues(1.0))
    talk.at(3.1, SpeechPaused(3.0))
    assert talk.at(3.15, FinalHeard("is Ann")) == []
    assert talk.at(3.2, SpeechEnded(3.0)) == [AskBrain(1, "my name is Ann")]


def test_words_of_an_earlier_pause_are_not_taken_for_those_of_the_last() -> None:
    talk = in_pause()
    talk.at(2.12, SpeechContinues(1.0))
    talk.at(2.4, SpeechPaused(2.3))
    assert talk.at(2.45, FinalHeard("my name")) == []
    assert talk.at(2.5, SpeechEnded(2.3)) == []
    assert talk.at(2.55, FinalHeard("is Ann")) == [AskBrain(1, "my name is Ann")]


def test_words_of_an_earlier_pause_that_come_after_the_end_are_followed_by_the_last_ones() -> None:
    talk = in_pause()
    talk.at(2.12, SpeechContinues(1.0))
    talk.at(2.4, SpeechPaused(2.3))
    talk.at(2.5, SpeechEnded(2.3))
    assert talk.at(2.55, FinalHeard("my name")) == []
    assert talk.at(2.6, FinalHeard("is Ann")) == [AskBrain(1, "my name is Ann")]


def test_a_recognizer_that_owes_words_it_does_not_have_is_not_waited_for_long() -> None:
    talk = in_pause()
    talk.at(2.12, SpeechContinues(1.0))
    talk.at(2.4, SpeechPaused(2.3))
    talk.at(2.5, SpeechEnded(2.3))
    talk.at(2.55, FinalHeard("hello"))
    talk.pass_until(2.55 + talk.machine.params.more_finals_s)
    assert talk.effects == [AskBrain(1, "hello")]


def test_a_burst_that_ends_without_a_pause_is_asked_about_at_its_end() -> None:
    talk = in_pause()
    talk.at(2.12, SpeechContinues(1.0))
    talk.at(2.6, SpeechEnded(2.4))
    assert talk.at(2.61, FinalHeard("my name")) == []
    assert talk.at(2.65, FinalHeard("is Ann")) == [AskBrain(1, "my name is Ann")]


def test_what_one_turn_was_owed_the_next_one_does_not_wait_for() -> None:
    talk = in_pause()
    talk.at(2.2, SpeechEnded(2.0))
    talk.pass_until(5.0)
    talk.at(6.1, SpeechStarted(6.0))
    talk.at(7.1, SpeechPaused(7.0))
    talk.at(7.2, FinalHeard("hello"))
    assert talk.at(7.3, SpeechEnded(7.0)) == [AskBrain(2, "hello")]


def test_an_answer_is_prepared_as_soon_as_the_words_are_whole() -> None:
    talk = in_pause(speculate=True)
    assert talk.at(2.15, FinalHeard("hello")) == [AskBrain(1, "hello", held=True)]
    assert talk.at(2.2, SpeechEnded(2.0)) == [ReleaseReply(1)]


def test_what_was_prepared_in_a_pause_is_dropped_when_more_words_come() -> None:
    talk = in_pause(speculate=True)
    talk.at(2.15, FinalHeard("my name"))
    talk.at(2.18, SpeechContinues(1.0))
    talk.at(3.1, SpeechPaused(3.0))
    expected = [CancelReply(1), AskBrain(1, "my name is Ann", held=True)]
    assert talk.at(3.15, FinalHeard("is Ann")) == expected
    assert talk.at(3.2, SpeechEnded(3.0)) == [ReleaseReply(1)]


def test_an_interruption_in_whose_pause_the_words_came_is_answered_at_its_end() -> None:
    talk = in_pause()
    talk.at(2.15, FinalHeard("hello"))
    talk.at(2.2, SpeechEnded(2.0))
    talk.at(2.4, ReplyDecided(1, "Hi."), PlaybackStarted(1, 2.4))
    talk.at(3.05, SpeechStarted(3.0))
    talk.at(3.2, SpeechPaused(3.1))
    talk.at(3.25, FinalHeard("stop"))
    assert talk.at(3.3, SpeechEnded(3.1))[-1:] == [AskBrain(2, "stop")]


def test_guesses_that_were_wrong_leave_a_try_for_the_words_that_are_whole() -> None:
    talk = Talk.with_params(speculate=True, most_prepared=1)
    talk.at(1.1, SpeechStarted(1.0))
    talk.at(1.4, PartialHeard("hello"))
    assert talk.at(1.8, PartialHeard("hello there"))[0] == AskBrain(1, "hello", held=True)
    talk.at(2.1, SpeechPaused(2.0))
    assert talk.at(2.15, FinalHeard("hello there Ann")) == [AskBrain(1, "hello there Ann", held=True)]
    assert talk.at(2.2, SpeechEnded(2.0)) == [ReleaseReply(1)]
