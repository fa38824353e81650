"""The agent speaks without having been spoken to: a greeting, an answer to keys, a question into the silence."""

from __future__ import annotations

import pytest

from tests.unit.test_turn import Talk, paused, speaking, spoken
from trunkline.core.endpointing import SpeechContinues, SpeechEnded, SpeechStarted
from trunkline.core.turn import State
from trunkline.core.turn_events import (
    AnswerCut,
    AskBrain,
    CancelReply,
    CloseTurn,
    FinalHeard,
    PlaybackEnded,
    PlaybackHalted,
    PlaybackStarted,
    Prompted,
    ReplyDecided,
    ReplyEmpty,
)
from trunkline.core.wire import Mark, TurnOutcome

pytestmark = pytest.mark.unit


def prompted(talk: Talk) -> Talk:
    """A greeting is asked for at 1.0 s."""
    talk.at(1.0, Prompted())
    return talk


def greeting(talk: Talk) -> Talk:
    """It plays from 1.2 s."""
    prompted(talk).at(1.1, ReplyDecided(1, "Welcome."))
    talk.at(1.2, PlaybackStarted(1, 1.2))
    return talk


def test_a_greeting_is_a_turn_without_speech_of_the_caller() -> None:
    talk = greeting(Talk())
    talk.at(2.2, PlaybackEnded(1, 2.2, 16_000))
    [turn] = talk.closed()
    assert (turn.outcome, turn.understood, turn.answer) == (TurnOutcome.ANSWERED, "", "Welcome.")
    assert Mark.SPEECH_START not in turn.marks
    assert talk.machine.idle


def test_keys_stand_for_the_callers_words() -> None:
    talk = Talk()
    assert talk.at(1.0, Prompted("(2 keys)")) == [AskBrain(1, "(2 keys)")]
    talk.at(1.2, PlaybackStarted(1, 1.2), PlaybackEnded(1, 2.0, 100))
    assert talk.closed()[0].understood == "(2 keys)"


def test_who_may_not_interrupt_waits_until_nobody_speaks() -> None:
    for talk in (spoken(Talk()), speaking(Talk()), paused(Talk())):
        assert talk.at(3.2, Prompted()) == []
    talk = Talk()
    talk.at(1.0, SpeechStarted(1.0))
    assert not talk.machine.idle
    assert talk.at(1.1, Prompted()) == []


def test_a_key_interrupts_the_answer_and_is_answered_itself() -> None:
    talk = speaking(Talk())
    assert talk.at(3.0, Prompted("(1 key)", interrupts=True)) == [CancelReply(1), AskBrain(2, "(1 key)")]
    [halted] = talk.at(3.02, PlaybackHalted(1, 3.01, 8_000))
    assert isinstance(halted, CloseTurn)
    assert (halted.outcome, halted.heard_samples) == (TurnOutcome.INTERRUPTED, 8_000)
    assert halted.marks[Mark.BARGE_IN] == 3.0
    assert talk.machine.barge_ins == 1


def test_a_key_into_a_pause_keeps_what_was_heard_until_then() -> None:
    talk = paused(Talk())
    effects = talk.at(3.1, AnswerCut())
    assert [type(effect).__name__ for effect in effects] == ["CancelReply", "CloseTurn"]
    assert talk.closed()[0].heard_samples == 8_800
    assert talk.machine.idle


def test_a_key_before_the_answer_is_heard_takes_it_back() -> None:
    talk = spoken(Talk())
    effects = talk.at(2.4, AnswerCut())
    assert [type(effect).__name__ for effect in effects] == ["CancelReply", "CloseTurn"]
    assert talk.closed()[0].outcome is TurnOutcome.UNANSWERED


def test_a_key_while_the_caller_speaks_ends_that_turn_and_a_noise_that_lasts_asks_nothing() -> None:
    talk = Talk()
    talk.at(1.0, SpeechStarted(1.0))
    talk.at(1.5, Prompted("(1 key)", interrupts=True))
    assert talk.closed()[0].outcome is TurnOutcome.UNANSWERED
    talk.at(1.6, SpeechContinues(0.05))
    talk.at(1.7, SpeechEnded(1.65), FinalHeard("too late"))
    talk.at(1.8, PlaybackStarted(2, 1.8), PlaybackEnded(2, 2.5, 100))
    assert talk.closed()[1].understood == "(1 key)"
    assert talk.machine.idle


def test_a_key_after_an_answer_over_which_its_own_burst_goes_on_closes_it_as_answered() -> None:
    talk = speaking(Talk())
    talk.machine._burst_open = True
    talk.at(3.0, PlaybackEnded(1, 3.0, 100))
    assert talk.closed() == []
    talk.at(3.1, AnswerCut())
    assert talk.closed()[0].outcome is TurnOutcome.ANSWERED


def test_a_cough_does_not_take_back_a_greeting_that_is_being_made() -> None:
    talk = prompted(Talk())
    assert talk.at(1.05, SpeechStarted(1.03), SpeechContinues(0.1), SpeechEnded(1.1)) == []
    assert talk.machine.state is State.DECIDING


def test_speech_that_goes_on_takes_it_back_and_is_a_turn() -> None:
    talk = prompted(Talk())
    effects = talk.at(1.3, SpeechStarted(1.03), SpeechContinues(0.25))
    assert [type(effect).__name__ for effect in effects] == ["CancelReply", "CloseTurn"]
    talk.at(2.0, SpeechEnded(1.9))
    assert talk.at(2.1, FinalHeard("hello")) == [AskBrain(2, "hello")]


def test_words_over_a_greeting_are_not_its_own() -> None:
    talk = greeting(Talk())
    talk.at(1.5, SpeechStarted(1.45), PlaybackHalted(1, 1.5, 4_000), FinalHeard("stop it"))
    [turn] = talk.closed()
    assert (turn.turn, turn.outcome, turn.understood) == (1, TurnOutcome.INTERRUPTED, "")


def test_an_answer_without_words_is_no_turn_where_nobody_spoke() -> None:
    talk = prompted(Talk())
    assert talk.at(1.1, ReplyEmpty(1, acted=True)) == []
    assert talk.machine.turns == 0
    assert talk.machine.idle


@pytest.mark.parametrize(("acted", "outcome"), [(True, TurnOutcome.ANSWERED), (False, TurnOutcome.UNANSWERED)])
def test_an_answer_without_words_to_the_caller_is_answered_if_something_was_done(
    acted: bool, outcome: TurnOutcome
) -> None:
    talk = spoken(Talk())
    talk.at(2.4, ReplyEmpty(1, acted))
    assert [turn.outcome for turn in talk.closed()] == [outcome]


def test_an_answer_that_was_interrupted_is_not_empty_any_more() -> None:
    talk = speaking(Talk())
    assert talk.at(3.0, ReplyEmpty(1)) == []
    assert talk.machine.state is State.SPEAKING
