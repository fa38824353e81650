"""Answers that are prepared before the turn has ended: when, for which words, and what becomes of them."""

from __future__ import annotations

from typing import get_args

import pytest

from tests.unit.test_turn import EVENTS, Talk, _plain
from trunkline.core.endpointing import SpeechContinues, SpeechEnded, SpeechPaused, SpeechStarted
from trunkline.core.errors import LocalProtocolError
from trunkline.core.turn import State
from trunkline.core.turn_events import (
    AnswerCut,
    AskBrain,
    CancelReply,
    CloseTurn,
    FinalHeard,
    PartialHeard,
    PlaybackEnded,
    PlaybackStarted,
    ReleaseReply,
    ReplyAudible,
    ReplyDecided,
    ReplyEmpty,
    ReplyFailed,
    ReplyPolicy,
    TurnEvent,
)
from trunkline.core.wire import Mark, TurnOutcome

pytestmark = pytest.mark.unit

HELLO = AskBrain(1, "hello there", held=True)


def speculating(**params: object) -> Talk:
    return Talk.with_params(speculate=True, stable_partial_s=0.15, **params)


def prepared(talk: Talk | None = None) -> Talk:
    """The answer to words of 1.5 s is prepared at 1.65 s; the caller still speaks."""
    talk = talk or speculating()
    talk.at(1.1, SpeechStarted(1.0))
    talk.at(1.5, PartialHeard("hello there"))
    talk.pass_until(1.7)
    assert talk.effects == [HELLO]
    return talk


def test_words_that_stand_still_are_prepared_for_and_heard_when_the_turn_ends_with_them() -> None:
    talk = prepared()
    talk.at(1.8, ReplyDecided(1, "Hi."), ReplyAudible(1))
    assert talk.at(2.2, SpeechEnded(2.0)) == []
    assert talk.at(2.3, FinalHeard("Hello, there.")) == [ReleaseReply(1)]
    talk.at(2.32, PlaybackStarted(1, 2.32), PlaybackEnded(1, 3.0, 100))
    [turn] = talk.closed()
    assert (turn.outcome, turn.answer, turn.understood) == (TurnOutcome.ANSWERED, "Hi.", "Hello, there.")
    assert (turn.marks[Mark.PREPARED], turn.marks[Mark.RELEASED]) == (1.65, 2.3)
    assert turn.marks[Mark.TTS_FIRST_BYTE] == 1.8


def test_an_answer_that_is_not_ready_yet_is_let_out_as_it_comes() -> None:
    talk = prepared()
    talk.at(2.2, SpeechEnded(2.0))
    assert talk.at(2.3, FinalHeard("hello there")) == [ReleaseReply(1)]
    talk.at(2.4, ReplyDecided(1, "Hi."), ReplyAudible(1), PlaybackStarted(1, 2.5))
    assert talk.machine.state is State.SPEAKING


def test_the_end_of_the_burst_prepares_at_once() -> None:
    talk = speculating()
    talk.at(1.1, SpeechStarted(1.0))
    talk.at(2.15, PartialHeard("hello there"))
    assert talk.at(2.2, SpeechEnded(2.0)) == [HELLO]


def test_words_that_come_after_the_end_prepare_at_once() -> None:
    talk = speculating()
    talk.at(1.1, SpeechStarted(1.0))
    assert talk.at(2.2, SpeechEnded(2.0)) == []
    assert talk.at(2.25, PartialHeard("hello there")) == [HELLO]
    assert talk.at(2.3, FinalHeard("hello there")) == [ReleaseReply(1)]


def test_other_words_drop_it_unheard_and_are_prepared_for_themselves() -> None:
    talk = prepared()
    talk.at(1.75, ReplyDecided(1, "Hi."), ReplyAudible(1))
    assert talk.at(1.8, PartialHeard("hello there you")) == [CancelReply(1)]
    talk.pass_until(2.0)
    assert talk.effects[-1] == AskBrain(1, "hello there you", held=True)
    talk.at(2.2, SpeechEnded(2.0))
    assert talk.at(2.3, FinalHeard("hello there you two")) == [CancelReply(1), AskBrain(1, "hello there you two")]
    talk.at(2.5, ReplyDecided(1, "Both."), PlaybackStarted(1, 2.5), PlaybackEnded(1, 3.0, 100))
    [turn] = talk.closed()
    assert turn.answer == "Both."
    assert not {Mark.PREPARED, Mark.RELEASED} & turn.marks.keys()


def test_who_goes_on_after_the_end_drops_it() -> None:
    talk = prepared()
    talk.at(2.2, SpeechEnded(2.0))
    assert talk.at(2.25, SpeechStarted(2.2)) == [CancelReply(1)]
    assert talk.machine.turns == 1


def test_who_goes_on_before_it_is_heard_takes_it_back_as_any_answer() -> None:
    talk = prepared()
    talk.at(2.2, SpeechEnded(2.0))
    talk.at(2.3, FinalHeard("hello there"))
    assert talk.at(2.35, SpeechStarted(2.33)) == [CancelReply(1)]
    talk.at(3.2, SpeechEnded(3.0))
    assert talk.at(3.3, FinalHeard("you"))[-1] == AskBrain(1, "hello there you")


def test_final_words_in_the_middle_drop_what_answers_others() -> None:
    talk = prepared()
    assert talk.at(1.8, FinalHeard("hello there, sir", last=False)) == [CancelReply(1)]
    assert talk.at(2.2, SpeechEnded(2.0)) == [AskBrain(1, "hello there, sir", held=True)]


def test_a_caller_who_says_ever_more_costs_a_few_answers_at_most() -> None:
    talk = speculating(most_prepared=2)
    talk.at(1.1, SpeechStarted(1.0))
    for count in range(1, 8):
        talk.at(1.0 + count, PartialHeard("more " * count))
    assert [effect.text.count("more") for effect in talk.effects if isinstance(effect, AskBrain)] == [1, 2]


@pytest.mark.parametrize("event", [ReplyFailed(1), ReplyEmpty(1, acted=True)], ids=["failed", "empty"])
def test_an_answer_that_fails_or_has_no_words_is_asked_for_again_when_the_turn_ends(event: TurnEvent) -> None:
    talk = prepared()
    assert talk.at(1.8, event) == [CancelReply(1)]
    assert talk.at(1.9, event) == []
    talk.at(2.2, SpeechEnded(2.0))
    effects = talk.at(2.3, FinalHeard("hello there"))
    assert effects in ([ReleaseReply(1)], [AskBrain(1, "hello there")])
    assert talk.machine.state is State.DECIDING


def test_words_that_turn_out_to_be_none_are_not_answered() -> None:
    talk = speculating()
    talk.at(1.1, SpeechStarted(1.0))
    talk.at(1.2, PartialHeard("uh"))
    talk.at(1.4, SpeechEnded(1.2))
    effects = talk.at(1.5, FinalHeard(""))
    assert [type(effect) for effect in effects] == [CancelReply, CloseTurn]


def test_a_key_or_the_end_of_the_call_drops_it() -> None:
    for end in (lambda talk: talk.at(1.8, AnswerCut()), lambda talk: talk.machine.close(1.8)):
        effects = end(prepared())
        assert [type(effect) for effect in effects] == [CancelReply, CloseTurn]


def test_nothing_is_prepared_unless_it_may_be() -> None:
    for talk in (Talk(), speculating(policy=ReplyPolicy.STABLE_PARTIAL, stable_confidence=2.0)):
        talk.at(1.1, SpeechStarted(1.0))
        talk.at(1.5, PartialHeard("hello"))
        talk.pass_until(2.1)
        talk.at(2.2, SpeechEnded(2.0))
        assert talk.effects == []


def test_words_of_which_the_recognizer_is_not_sure_are_not_believed() -> None:
    talk = speculating()
    talk.at(1.1, SpeechStarted(1.0))
    talk.at(1.3, PartialHeard("yellow", confidence=0.3))
    talk.pass_until(1.6)
    assert talk.effects == []
    talk.at(1.6, PartialHeard("hello there", confidence=0.9))
    talk.pass_until(1.8)
    assert talk.effects == [HELLO]


def test_doubt_stops_words_that_stood_still() -> None:
    talk = Talk.with_params(policy=ReplyPolicy.STABLE_PARTIAL)
    talk.at(1.1, SpeechStarted(1.0))
    talk.at(1.3, PartialHeard("hello", confidence=0.9))
    talk.at(1.4, PartialHeard("hello yell", confidence=0.2))
    talk.pass_until(2.0)
    assert talk.asked() == []


class TestFinals:
    """Which final is the last one."""

    def test_a_final_that_is_not_the_last_waits_a_moment_for_more(self) -> None:
        talk = Talk()
        talk.at(1.1, SpeechStarted(1.0))
        talk.at(2.2, SpeechEnded(2.0))
        assert talk.at(2.25, FinalHeard("one", last=False)) == []
        assert talk.at(2.3, FinalHeard("two")) == [AskBrain(1, "one two")]

    def test_a_recognizer_that_does_not_tell_is_waited_for_no_longer(self) -> None:
        talk = Talk.with_params(more_finals_s=0.3)
        talk.at(1.1, SpeechStarted(1.0))
        talk.at(2.2, SpeechEnded(2.0), FinalHeard("one", last=False))
        talk.pass_until(2.49)
        assert talk.asked() == []
        talk.pass_until(2.51)
        assert talk.asked() == [(1, "one")]

    def test_nothing_left_to_say_is_the_last_word(self) -> None:
        talk = Talk()
        talk.at(1.1, SpeechStarted(1.0))
        talk.at(1.8, FinalHeard("one", last=False))
        talk.at(2.2, SpeechEnded(2.0))
        assert talk.at(2.3, FinalHeard("")) == [AskBrain(1, "one")]

    def test_words_that_stand_still_at_the_end_are_not_waited_for_longer(self) -> None:
        talk = Talk.with_params(policy=ReplyPolicy.STABLE_PARTIAL, stable_partial_s=0.15)
        talk.at(1.1, SpeechStarted(1.0))
        talk.at(2.1, PartialHeard("hello"))
        talk.at(2.2, SpeechEnded(2.0))
        talk.pass_until(2.26)
        assert talk.asked() == [(1, "hello")]


@pytest.mark.parametrize("kind", get_args(TurnEvent), ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("ended", [False, True], ids=["speaking", "awaited"])
def test_every_event_finds_what_is_prepared_kept_or_dropped_but_never_heard(kind: type[TurnEvent], ended: bool) -> None:
    talk = prepared()
    if ended:
        talk.at(2.2, SpeechEnded(2.0))
    before = _plain(vars(talk.machine))
    try:
        effects = talk.machine.handle(EVENTS[kind], 2.3)
    except LocalProtocolError:
        assert _plain(vars(talk.machine)) == before
        assert kind in ((SpeechContinues, SpeechPaused, SpeechEnded) if ended else (SpeechStarted,))
        return
    held = talk.machine._turn is not None and talk.machine._turn.prepared is not None
    dropped = CancelReply(1) in effects
    again = any(isinstance(effect, AskBrain) for effect in effects)
    assert held != dropped or again
    assert ReleaseReply(1) not in effects
