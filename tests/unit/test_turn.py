"""Who speaks, state by state and by scenario, in made-up time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, get_args

import pytest

from trunkline.core.barge_in import OverAnswer
from trunkline.core.endpointing import SpeechContinues, SpeechEnded, SpeechPaused, SpeechStarted
from trunkline.core.errors import LocalProtocolError
from trunkline.core.turn import TRANSITIONS, State, TurnMachine
from trunkline.core.turn_events import (
    AnswerCut,
    AskBrain,
    CancelReply,
    CloseTurn,
    FinalHeard,
    PartialHeard,
    PausePlayout,
    PlaybackEnded,
    PlaybackHalted,
    PlaybackStarted,
    Prompted,
    ReplyAudible,
    ReplyDecided,
    ReplyEmpty,
    ReplyFailed,
    ReplyPolicy,
    ResumePlayout,
    TurnEffect,
    TurnEvent,
    TurnParams,
)
from trunkline.core.wire import Mark, TurnOutcome

pytestmark = pytest.mark.unit

ANSWERED, INTERRUPTED, UNANSWERED = TurnOutcome.ANSWERED, TurnOutcome.INTERRUPTED, TurnOutcome.UNANSWERED


@dataclass
class Talk:
    """A machine, its time, and everything it asked for."""

    machine: TurnMachine = field(default_factory=TurnMachine)
    now: float = 0.0
    effects: list[TurnEffect] = field(default_factory=list)

    @classmethod
    def with_params(cls, **params: Any) -> Talk:
        return cls(TurnMachine(TurnParams(**params)))

    def at(self, now: float, *events: TurnEvent) -> list[TurnEffect]:
        """Lets time pass, deadlines included, then feeds events; returns what they led to."""
        before = len(self.effects)
        self.pass_until(now)
        for event in events:
            self.effects += self.machine.handle(event, now)
        return self.effects[before:]

    def pass_until(self, now: float) -> None:
        while (deadline := self.machine.deadline()) is not None and deadline.at <= now:
            self.effects += self.machine.on_deadline(deadline.at)
        self.now = now

    def closed(self) -> list[CloseTurn]:
        return [effect for effect in self.effects if isinstance(effect, CloseTurn)]

    def asked(self) -> list[tuple[int, str]]:
        return [(effect.turn, effect.text) for effect in self.effects if isinstance(effect, AskBrain)]

    def kinds(self) -> list[str]:
        return [type(effect).__name__ for effect in self.effects]


def spoken(talk: Talk, words: str = "hello") -> Talk:
    """A burst from 1.0 to 2.0 s is understood at 2.3 s and its answer asked for."""
    talk.at(1.1, SpeechStarted(1.0))
    talk.at(2.2, SpeechEnded(2.0))
    talk.at(2.3, FinalHeard(words))
    return talk


def speaking(talk: Talk) -> Talk:
    """The answer to turn 1 plays from 2.5 s."""
    spoken(talk).at(2.4, ReplyDecided(1, "You said hello."), ReplyAudible(1))
    talk.at(2.5, PlaybackStarted(1, 2.5))
    return talk


def paused(talk: Talk) -> Talk:
    """The caller speaks again at 3.0 s."""
    speaking(talk).at(3.05, SpeechStarted(3.0), PlaybackHalted(1, 3.05, 8_800))
    return talk


def ended(talk: Talk) -> Talk:
    talk.machine.close(0.0)
    return talk


INTO: dict[State, Callable[[Talk], Talk]] = {
    State.LISTENING: lambda talk: talk,
    State.DECIDING: spoken,
    State.SPEAKING: speaking,
    State.PAUSED: paused,
    State.CLOSED: ended,
}
"""How a talk comes into each state."""

EVENTS: dict[type[TurnEvent], TurnEvent] = {
    SpeechStarted: SpeechStarted(9.0),
    SpeechContinues: SpeechContinues(0.1),
    SpeechPaused: SpeechPaused(9.4),
    SpeechEnded: SpeechEnded(9.5),
    PartialHeard: PartialHeard("stop it"),
    FinalHeard: FinalHeard("stop it"),
    ReplyDecided: ReplyDecided(1, "Yes."),
    ReplyAudible: ReplyAudible(1),
    ReplyFailed: ReplyFailed(1),
    PlaybackStarted: PlaybackStarted(1, 9.0),
    PlaybackEnded: PlaybackEnded(1, 9.0, 16_000),
    PlaybackHalted: PlaybackHalted(1, 9.0, 8_000),
    Prompted: Prompted("(keys)", interrupts=True),
    AnswerCut: AnswerCut(),
    ReplyEmpty: ReplyEmpty(1),
}

PAIRS = [(state, kind) for state in State for kind in get_args(TurnEvent)]


def test_every_event_and_state_is_tried() -> None:
    assert set(EVENTS) == set(get_args(TurnEvent))
    assert set(INTO) == set(State)


@pytest.mark.parametrize(("state", "kind"), PAIRS, ids=[f"{s.value}-{k.__name__}" for s, k in PAIRS])
def test_each_pair_of_state_and_event_is_taken_or_refused_without_a_trace(state: State, kind: type[TurnEvent]) -> None:
    machine = INTO[state](Talk()).machine
    assert machine.state is state
    if kind in (SpeechContinues, SpeechPaused, SpeechEnded) and state not in (State.PAUSED, State.CLOSED):
        # These belong to an open burst, which may be there in any state.
        machine._burst_open = True
    before = _plain(vars(machine))
    if (state, kind) in TRANSITIONS:
        machine.handle(EVENTS[kind], 9.6)
        return
    with pytest.raises(LocalProtocolError, match=state.value):
        machine.handle(EVENTS[kind], 9.6)
    assert _plain(vars(machine)) == before


@pytest.mark.parametrize("state", [State.LISTENING, State.DECIDING, State.SPEAKING])
@pytest.mark.parametrize(
    "event", [SpeechContinues(0.1), SpeechPaused(8.9), SpeechEnded(9.0)], ids=["continues", "pauses", "ends"]
)
def test_a_burst_that_is_not_open_neither_continues_nor_ends(state: State, event: TurnEvent) -> None:
    machine = INTO[state](Talk()).machine
    before = _plain(vars(machine))
    with pytest.raises(LocalProtocolError, match="not open"):
        machine.handle(event, 9.6)
    assert _plain(vars(machine)) == before


def test_a_burst_that_is_open_can_not_start() -> None:
    talk = Talk()
    talk.at(1.0, SpeechStarted(1.0))
    with pytest.raises(LocalProtocolError, match="is open"):
        talk.machine.handle(SpeechStarted(1.5), 1.5)


def _plain(attributes: dict[str, Any]) -> str:
    return repr({name: vars(value) if isinstance(value, OverAnswer) else value for name, value in attributes.items()})


class TestReplyPolicies:
    """When the agent answers."""

    def test_final_answers_when_the_burst_is_over_and_understood(self) -> None:
        talk = Talk()
        talk.at(1.1, SpeechStarted(1.0))
        talk.at(1.5, PartialHeard("hel"))
        talk.at(2.2, SpeechEnded(2.0))
        assert talk.asked() == []
        assert talk.at(2.3, FinalHeard("hello")) == [AskBrain(1, "hello")]

    def test_final_waits_for_the_end_of_the_burst_though_words_are_final(self) -> None:
        talk = Talk()
        talk.at(1.1, SpeechStarted(1.0))
        talk.at(1.6, FinalHeard("one"))
        talk.at(2.2, SpeechEnded(2.0))
        assert talk.at(2.3, FinalHeard("two")) == [AskBrain(1, "one two")]

    def test_words_that_were_final_before_the_end_wait_half_a_second_for_more(self) -> None:
        talk = Talk()
        talk.at(1.1, SpeechStarted(1.0))
        talk.at(1.6, FinalHeard("one"))
        talk.at(2.2, SpeechEnded(2.0))
        talk.pass_until(2.69)
        assert talk.asked() == []
        talk.pass_until(2.71)
        assert talk.asked() == [(1, "one")]

    def test_first_partial_answers_at_once_and_once(self) -> None:
        talk = Talk.with_params(policy=ReplyPolicy.FIRST_PARTIAL)
        talk.at(1.1, SpeechStarted(1.0))
        assert talk.at(1.5, PartialHeard("hello")) == [AskBrain(1, "hello")]
        talk.at(1.7, PartialHeard("hello there"))
        talk.at(2.0, PlaybackStarted(1, 2.0))
        talk.at(2.1, SpeechContinues(0.9))
        talk.at(2.5, SpeechEnded(2.3), FinalHeard("hello there you"))
        talk.at(3.0, PlaybackEnded(1, 3.0, 16_000))
        assert talk.kinds() == ["AskBrain", "CloseTurn"]
        [turn] = talk.closed()
        assert (turn.outcome, turn.understood) == (ANSWERED, "hello there you")
        assert turn.marks[Mark.PLAYBACK_START] < turn.marks[Mark.SPEECH_END]

    def test_first_partial_closes_the_turn_only_when_its_burst_is_over(self) -> None:
        talk = Talk.with_params(policy=ReplyPolicy.FIRST_PARTIAL)
        talk.at(1.1, SpeechStarted(1.0))
        talk.at(1.5, PartialHeard("hello"))
        talk.at(1.7, PlaybackStarted(1, 1.7))
        talk.at(2.0, PlaybackEnded(1, 2.0, 4_800))
        assert talk.closed() == []
        talk.at(2.3, FinalHeard("hello there"))
        talk.at(2.5, SpeechEnded(2.3))
        assert [(turn.outcome, turn.understood) for turn in talk.closed()] == [(ANSWERED, "hello there")]

    def test_stable_partial_answers_once_the_words_stand_still(self) -> None:
        talk = Talk.with_params(policy=ReplyPolicy.STABLE_PARTIAL, stable_partial_s=0.2)
        talk.at(1.1, SpeechStarted(1.0))
        talk.at(1.5, PartialHeard("hel"))
        talk.at(1.6, PartialHeard("hello"))
        talk.at(1.7, PartialHeard("hello"))
        talk.pass_until(1.79)
        assert talk.asked() == []
        talk.pass_until(1.81)
        assert talk.asked() == [(1, "hello")]

    def test_a_partial_after_a_final_is_what_comes_after_it(self) -> None:
        talk = Talk.with_params(policy=ReplyPolicy.STABLE_PARTIAL)
        talk.at(1.1, SpeechStarted(1.0))
        talk.at(1.5, FinalHeard("good morning"))
        talk.at(1.6, PartialHeard("how are you"))
        talk.pass_until(2.0)
        assert talk.asked() == [(1, "good morning how are you")]

    def test_empty_partials_say_nothing(self) -> None:
        talk = Talk.with_params(policy=ReplyPolicy.FIRST_PARTIAL)
        talk.at(1.1, SpeechStarted(1.0))
        assert talk.at(1.5, PartialHeard("")) == []


class TestWaiting:
    """Nobody is left waiting for what never comes."""

    def test_a_final_that_never_comes_is_replaced_by_the_partial(self) -> None:
        talk = Talk()
        talk.at(1.1, SpeechStarted(1.0))
        talk.at(1.5, PartialHeard("hello"))
        talk.at(2.2, SpeechEnded(2.0))
        talk.pass_until(4.19)
        assert talk.asked() == []
        talk.pass_until(4.21)
        assert talk.asked() == [(1, "hello")]

    def test_a_burst_that_was_too_short_for_words_or_of_which_stt_says_nothing_is_not_answered(self) -> None:
        silent, empty = Talk(), Talk()
        for talk, end in ((silent, 2.0), (empty, 1.3)):
            talk.at(1.1, SpeechStarted(1.0))
            talk.at(2.2, SpeechEnded(end))
        empty.at(2.3, FinalHeard(""))
        silent.pass_until(5.0)
        for talk in (silent, empty):
            assert talk.kinds() == ["CloseTurn"]
            assert (talk.closed()[0].outcome, talk.closed()[0].understood) == (UNANSWERED, "")
            assert talk.machine.deadline() is None

    def test_what_was_half_heard_and_not_understood_is_asked_again_not_answered(self) -> None:
        talk = Talk()
        talk.at(1.1, SpeechStarted(1.0))
        talk.at(1.5, PartialHeard("what are your"))
        talk.at(2.2, SpeechEnded(2.0))
        talk.at(2.3, FinalHeard(""))
        assert talk.asked() == [(1, "")]
        talk.at(2.4, PlaybackStarted(1, 2.4))
        talk.at(3.4, PlaybackEnded(1, 3.4, 16_000))
        assert [(turn.outcome, turn.understood) for turn in talk.closed()] == [(ANSWERED, "")]

    def test_a_partial_that_is_being_answered_stays_in_the_record_though_the_final_is_empty(self) -> None:
        talk = Talk.with_params(policy=ReplyPolicy.FIRST_PARTIAL)
        talk.at(1.1, SpeechStarted(1.0))
        talk.at(1.5, PartialHeard("what are your"))
        talk.at(2.2, SpeechEnded(2.0), FinalHeard(""))
        talk.at(2.4, PlaybackStarted(1, 2.4))
        talk.at(3.4, PlaybackEnded(1, 3.4, 16_000))
        assert [turn.understood for turn in talk.closed()] == ["what are your"]

    def test_a_burst_that_goes_on_before_the_final_is_the_same_turn(self) -> None:
        talk = Talk()
        talk.at(1.1, SpeechStarted(1.0))
        talk.at(2.2, SpeechEnded(2.0))
        talk.at(2.25, SpeechStarted(2.2))
        talk.at(2.3, FinalHeard("I would like"))
        talk.at(6.0, SpeechEnded(5.8))
        talk.at(6.1, FinalHeard("a pizza"))
        assert talk.asked() == [(1, "I would like a pizza")]
        assert talk.machine.turns == 1

    def test_an_answer_that_is_not_heard_in_time_is_given_up(self) -> None:
        talk = spoken(Talk.with_params(reply_timeout_s=3.0))
        talk.pass_until(5.29)
        assert talk.closed() == []
        talk.pass_until(5.31)
        assert talk.kinds() == ["AskBrain", "CancelReply", "CloseTurn"]
        assert talk.closed()[0].outcome is UNANSWERED

    def test_an_answer_that_fails_is_one_turn_unanswered(self) -> None:
        talk = spoken(Talk())
        assert [type(effect) for effect in talk.at(2.4, ReplyFailed(1))] == [CancelReply, CloseTurn]
        assert talk.at(2.5, ReplyFailed(1)) == []
        talk.at(4.0, SpeechStarted(4.0))
        talk.at(5.0, SpeechEnded(4.8), FinalHeard("again"))
        assert talk.asked() == [(1, "hello"), (2, "again")]

    def test_no_time_limit_once_the_answer_is_heard(self) -> None:
        assert speaking(Talk()).machine.deadline() is None


class TestAnswer:
    """What is kept of an answer."""

    def test_a_turn_s_marks_are_in_order(self) -> None:
        talk = speaking(Talk())
        talk.at(3.5, PlaybackEnded(1, 3.5, 16_000))
        [turn] = talk.closed()
        assert turn == CloseTurn(
            turn=1,
            outcome=ANSWERED,
            understood="hello",
            answer="You said hello.",
            heard_samples=16_000,
            marks={
                Mark.SPEECH_START: 1.0,
                Mark.SPEECH_END: 2.0,
                Mark.STT_PARTIAL: 2.3,
                Mark.STT_FINAL: 2.3,
                Mark.AGENT_DECISION: 2.4,
                Mark.TTS_FIRST_BYTE: 2.4,
                Mark.PLAYBACK_START: 2.5,
                Mark.PLAYBACK_STOP: 3.5,
            },
        )

    def test_the_answer_s_sentences_are_kept_and_the_first_instants_of_each_mark(self) -> None:
        talk = spoken(Talk())
        talk.at(2.4, ReplyDecided(1, "One."), ReplyAudible(1))
        talk.at(2.6, ReplyDecided(1, "Two."), ReplyAudible(1), PlaybackStarted(1, 2.6))
        talk.at(3.0, PlaybackStarted(1, 3.0))
        talk.at(3.5, PlaybackEnded(1, 3.5, 1))
        [turn] = talk.closed()
        assert turn.answer == "One. Two."
        assert [turn.marks[mark] for mark in (Mark.AGENT_DECISION, Mark.TTS_FIRST_BYTE)] == [2.4, 2.4]
        assert turn.marks[Mark.PLAYBACK_START] == 2.6

    @pytest.mark.parametrize(
        "event",
        [
            ReplyDecided(7, "x"),
            ReplyAudible(7),
            ReplyFailed(7),
            PlaybackStarted(7, 3.0),
            PlaybackEnded(7, 3.0, 1),
            PlaybackHalted(7, 3.0, 1),
        ],
        ids=lambda event: type(event).__name__,
    )
    @pytest.mark.parametrize("state", [State.LISTENING, State.DECIDING, State.SPEAKING, State.PAUSED])
    def test_reports_on_another_turn_change_nothing(self, state: State, event: TurnEvent) -> None:
        machine = INTO[state](Talk()).machine
        before = _plain(vars(machine))
        assert machine.handle(event, 3.06) == []
        assert _plain(vars(machine)) == before

    def test_speech_before_the_answer_is_heard_takes_it_back_and_goes_on_with_the_turn(self) -> None:
        talk = spoken(Talk(), "I want")
        talk.at(2.4, ReplyDecided(1, "What?"), ReplyAudible(1))
        assert talk.at(2.5, SpeechStarted(2.45)) == [CancelReply(1)]
        talk.at(2.55, PartialHeard("a pizza"))
        talk.at(3.2, SpeechEnded(3.0))
        assert talk.at(3.4, FinalHeard("a pizza")) == [AskBrain(1, "I want a pizza")]
        talk.at(3.5, ReplyDecided(1, "Sure."), PlaybackStarted(1, 3.5))
        talk.at(4.0, PlaybackEnded(1, 4.0, 100))
        [turn] = talk.closed()
        assert (turn.answer, turn.outcome) == ("Sure.", ANSWERED)
        assert turn.marks[Mark.SPEECH_START] == 1.0
        assert (turn.marks[Mark.SPEECH_END], turn.marks[Mark.STT_FINAL]) == (3.0, 3.4)
        assert Mark.TTS_FIRST_BYTE not in turn.marks

    def test_a_final_that_comes_late_is_kept_with_the_answered_turn(self) -> None:
        talk = Talk()
        talk.at(1.1, SpeechStarted(1.0))
        talk.at(1.5, PartialHeard("hel"))
        talk.at(2.2, SpeechEnded(2.0))
        talk.at(4.5, PlaybackStarted(1, 4.5))
        talk.at(4.6, SpeechStarted(4.6))
        assert talk.at(4.7, FinalHeard("hello")) == []
        talk.at(4.8, SpeechEnded(4.65), PlaybackEnded(1, 5.0, 1))
        assert [turn.understood for turn in talk.closed()] == ["hello"]
        assert talk.machine.barge_ins == 0


class TestBargeIn:
    """Speech over the answer."""

    def test_speech_over_the_answer_pauses_it_at_once(self) -> None:
        assert speaking(Talk()).at(3.05, SpeechStarted(3.0)) == [PausePlayout(1)]

    def test_voice_confirms_it(self) -> None:
        talk = paused(Talk())
        assert talk.at(3.3, SpeechContinues(0.3)) == []
        effects = talk.at(3.34)
        assert [type(effect) for effect in effects] == [CancelReply, CloseTurn]
        [turn] = talk.closed()
        assert (turn.outcome, turn.heard_samples) == (INTERRUPTED, 8_800)
        assert (turn.marks[Mark.BARGE_IN], turn.marks[Mark.PLAYBACK_STOP]) == (3.0, 3.05)
        assert talk.machine.barge_ins == 1

    def test_the_interruption_is_a_turn_of_its_own_from_its_first_frame(self) -> None:
        talk = paused(Talk())
        talk.at(3.3, SpeechContinues(0.3))
        talk.at(4.2, SpeechEnded(4.0))
        assert talk.at(4.3, FinalHeard("stop")) == [AskBrain(2, "stop")]
        talk.at(4.4, PlaybackStarted(2, 4.4))
        talk.at(5.0, PlaybackEnded(2, 5.0, 1))
        assert talk.closed()[1].marks[Mark.SPEECH_START] == 3.0

    @pytest.mark.parametrize("words", [PartialHeard("stop it"), FinalHeard("stop it")], ids=["partial", "final"])
    def test_words_confirm_it(self, words: TurnEvent) -> None:
        talk = paused(Talk())
        talk.at(3.1, words)
        assert talk.machine.barge_ins == 1
        talk.at(3.4, SpeechEnded(3.2))
        talk.pass_until(6.0)
        assert talk.asked()[-1] == (2, "stop it")

    @pytest.mark.parametrize("words", ["", "mhm", "Yeah okay", "uh-huh"])
    def test_words_that_tell_the_agent_to_go_on_do_not(self, words: str) -> None:
        talk = paused(Talk())
        assert talk.at(3.1, PartialHeard(words)) == []
        assert talk.machine.state is State.PAUSED

    def test_a_noise_is_taken_back_when_it_ends(self) -> None:
        talk = paused(Talk())
        talk.at(3.1, SpeechContinues(0.1))
        assert talk.at(3.2, SpeechEnded(3.1)) == [ResumePlayout(1)]
        talk.at(3.3, FinalHeard(""))
        talk.at(4.0, PlaybackEnded(1, 4.0, 16_000))
        [turn] = talk.closed()
        assert (turn.outcome, turn.heard_samples, turn.marks[Mark.PLAYBACK_STOP]) == (ANSWERED, 16_000, 4.0)
        assert Mark.BARGE_IN not in turn.marks
        assert turn.marks[Mark.SPEECH_END] == 2.0

    def test_a_noise_is_taken_back_after_the_time_to_decide(self) -> None:
        talk = paused(Talk())
        talk.at(3.1, SpeechContinues(0.1))
        talk.pass_until(3.32)
        assert ResumePlayout(1) not in talk.effects
        talk.pass_until(3.34)
        assert talk.effects[-1] == ResumePlayout(1)
        assert talk.at(3.4, FinalHeard(""), SpeechEnded(3.2)) == []
        assert talk.asked() == [(1, "hello")]

    def test_a_noise_that_turns_out_to_be_speech_interrupts_after_all(self) -> None:
        talk = paused(Talk())
        talk.at(3.5, SpeechContinues(0.15))
        assert talk.effects[-1] == ResumePlayout(1)
        assert talk.at(3.55, SpeechContinues(0.5)) == []
        assert talk.at(3.6, SpeechContinues(0.71)) == [CancelReply(1)]
        talk.at(3.61, PlaybackHalted(1, 3.61, 9_000))
        talk.at(4.2, SpeechEnded(4.0), FinalHeard("wait"))
        assert [(turn.turn, turn.outcome) for turn in talk.closed()] == [(1, INTERRUPTED)]
        assert talk.asked()[-1] == (2, "wait")

    def test_a_noise_that_turns_out_to_be_speech_after_the_answer_is_a_turn(self) -> None:
        talk = paused(Talk())
        talk.at(3.5, PlaybackEnded(1, 3.5, 16_000))
        talk.at(3.6, SpeechContinues(0.71))
        talk.at(4.2, SpeechEnded(4.0), FinalHeard("wait"))
        assert [(turn.turn, turn.outcome) for turn in talk.closed()] == [(1, ANSWERED)]
        assert talk.asked()[-1] == (2, "wait")
        assert talk.machine.barge_ins == 0

    def test_a_voice_that_has_stopped_when_it_must_be_decided_was_a_cough(self) -> None:
        talk = paused(Talk())
        talk.at(3.15, SpeechContinues(0.3))
        assert talk.at(3.34) == [ResumePlayout(1)]

    def test_mhm_that_lasts_is_still_mhm(self) -> None:
        talk = paused(Talk())
        talk.at(3.25, PartialHeard("mhm"))
        talk.at(3.3, SpeechContinues(0.3))
        assert talk.at(3.34) == [ResumePlayout(1)]
        talk.at(3.8, SpeechContinues(0.8))
        assert talk.machine.state is State.SPEAKING

    def test_words_that_come_after_the_decision_interrupt_all_the_same(self) -> None:
        talk = paused(Talk())
        talk.at(3.5, SpeechContinues(0.2))
        assert talk.effects[-1] == ResumePlayout(1)
        assert talk.at(3.55, PartialHeard("mhm")) == []
        assert talk.at(3.6, PartialHeard("mhm but")) == [CancelReply(1)]
        talk.at(4.2, SpeechEnded(4.0))
        assert talk.at(4.3, FinalHeard("mhm but why")) == [AskBrain(2, "mhm but why")]

    def test_a_word_that_is_known_only_after_its_burst_has_ended_interrupts_and_is_answered(self) -> None:
        talk = paused(Talk())
        talk.at(3.5, SpeechContinues(0.2), SpeechEnded(3.3))
        effects = talk.at(3.6, FinalHeard("stop"))
        assert effects == [CancelReply(1), AskBrain(2, "stop")]
        talk.at(3.62, PlaybackHalted(1, 3.62, 9_000))
        talk.at(4.0, PlaybackStarted(2, 4.0), PlaybackEnded(2, 5.0, 100))
        assert [(turn.turn, turn.outcome) for turn in talk.closed()] == [(1, INTERRUPTED), (2, ANSWERED)]
        assert talk.closed()[1].marks[Mark.SPEECH_END] == 3.3

    def test_a_partial_that_comes_so_late_waits_for_its_final_no_longer_than_others(self) -> None:
        talk = paused(Talk())
        talk.at(3.5, SpeechContinues(0.2), SpeechEnded(3.3))
        assert talk.at(3.6, PartialHeard("stop")) == [CancelReply(1)]
        talk.pass_until(5.61)
        assert talk.asked()[-1] == (2, "stop")

    def test_without_confirmation_any_speech_ends_the_answer(self) -> None:
        talk = speaking(Talk.with_params(confirm_barge_in=False))
        assert talk.at(3.05, SpeechStarted(3.0)) == [CancelReply(1)]
        talk.at(3.06, PlaybackHalted(1, 3.06, 8_960))
        [turn] = talk.closed()
        assert (turn.outcome, turn.heard_samples, turn.marks[Mark.PLAYBACK_STOP]) == (INTERRUPTED, 8_960, 3.06)

    def test_an_answer_whose_last_packet_overtakes_the_flush_is_closed_all_the_same(self) -> None:
        talk = speaking(Talk.with_params(confirm_barge_in=False))
        talk.at(3.05, SpeechStarted(3.0))
        talk.at(3.06, PlaybackEnded(1, 3.04, 16_000))
        assert [(turn.outcome, turn.heard_samples) for turn in talk.closed()] == [(INTERRUPTED, 16_000)]

    def test_speech_that_comes_as_the_answer_ends_is_a_turn_and_no_interruption(self) -> None:
        talk = speaking(Talk())
        talk.at(3.05, SpeechStarted(3.0))
        talk.at(3.06, PlaybackEnded(1, 3.02, 16_000))
        talk.at(4.2, SpeechEnded(4.0), FinalHeard("next"))
        assert [(turn.outcome, turn.heard_samples) for turn in talk.closed()] == [(ANSWERED, 16_000)]
        assert (talk.asked()[-1], talk.machine.barge_ins) == ((2, "next"), 0)

    def test_speech_that_paused_an_answer_that_fails_is_a_turn(self) -> None:
        talk = paused(Talk())
        talk.at(3.1, ReplyFailed(1))
        talk.at(4.2, SpeechEnded(4.0), FinalHeard("next"))
        assert [turn.outcome for turn in talk.closed()] == [UNANSWERED]
        assert talk.asked()[-1] == (2, "next")

    def test_a_second_interruption_closes_the_first_though_its_halt_was_never_reported(self) -> None:
        talk = speaking(Talk.with_params(confirm_barge_in=False))
        talk.at(3.05, SpeechStarted(3.0))
        talk.at(4.0, SpeechEnded(3.8), FinalHeard("two"))
        talk.at(4.2, PlaybackStarted(2, 4.2))
        talk.at(4.5, SpeechStarted(4.5))
        assert [(turn.turn, turn.outcome) for turn in talk.closed()] == [(1, INTERRUPTED)]


class TestClose:
    """The end of the call."""

    @pytest.mark.parametrize(
        ("state", "kinds", "outcomes"),
        [
            (State.LISTENING, [], []),
            (State.DECIDING, [CancelReply, CloseTurn], [UNANSWERED]),
            (State.SPEAKING, [CancelReply, CloseTurn], [INTERRUPTED]),
            (State.PAUSED, [CancelReply, CloseTurn], [INTERRUPTED]),
        ],
        ids=lambda value: value.value if isinstance(value, State) else None,
    )
    def test_the_turn_that_is_being_answered_is_closed(
        self, state: State, kinds: list[type], outcomes: list[TurnOutcome]
    ) -> None:
        effects = INTO[state](Talk()).machine.close(3.1)
        assert [type(effect) for effect in effects] == kinds
        assert [effect.outcome for effect in effects if isinstance(effect, CloseTurn)] == outcomes

    @pytest.mark.parametrize("words", ["hello", ""])
    def test_the_turn_that_is_being_heard_is_closed_with_its_words(self, words: str) -> None:
        talk = Talk()
        talk.at(1.0, SpeechStarted(1.0), PartialHeard(words))
        [turn] = talk.machine.close(1.5)
        assert isinstance(turn, CloseTurn)
        assert (turn.outcome, turn.understood) == (UNANSWERED, words)

    def test_a_turn_that_is_being_halted_is_interrupted_and_the_next_unanswered(self) -> None:
        talk = speaking(Talk.with_params(confirm_barge_in=False))
        talk.at(3.05, SpeechStarted(3.0))
        closed = talk.machine.close(3.06)
        assert [(turn.turn, turn.outcome) for turn in closed if isinstance(turn, CloseTurn)] == [
            (1, INTERRUPTED),
            (2, UNANSWERED),
        ]

    def test_an_answer_that_was_played_to_its_end_counts_though_the_caller_still_speaks(self) -> None:
        talk = Talk.with_params(policy=ReplyPolicy.FIRST_PARTIAL)
        talk.at(1.0, SpeechStarted(1.0), PartialHeard("hello"))
        talk.at(1.7, PlaybackStarted(1, 1.7))
        talk.at(2.0, PlaybackEnded(1, 2.0, 4_800))
        [turn] = talk.machine.close(2.1)
        assert isinstance(turn, CloseTurn)
        assert turn.outcome is ANSWERED

    def test_after_the_end_nothing_is_decided_any_more(self) -> None:
        talk = paused(Talk())
        talk.machine.close(3.1)
        assert talk.machine.deadline() is None
        assert talk.machine.on_deadline(9.0) == []
        assert talk.machine.close(9.0) == []
        assert [talk.machine.handle(event, 9.0) for event in EVENTS.values()] == [[]] * len(EVENTS)


def test_a_wake_up_without_a_deadline_decides_nothing() -> None:
    assert TurnMachine().on_deadline(1.0) == []
