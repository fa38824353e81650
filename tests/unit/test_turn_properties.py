"""What holds for the turn machine whatever comes, in whatever order."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from trunkline.core.endpointing import SpeechContinues, SpeechEnded, SpeechPaused, SpeechStarted
from trunkline.core.errors import LocalProtocolError
from trunkline.core.turn import State, TurnMachine
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
    ReleaseReply,
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

pytestmark = pytest.mark.unit

WORDS = st.sampled_from(["", "yeah", "hello", "stop it"])


class AnyTalk(RuleBasedStateMachine):
    """A caller, an STT, a brain and an engine without manners."""

    @initialize(policy=st.sampled_from(ReplyPolicy), confirm=st.booleans(), speculate=st.booleans())
    def begin(self, policy: ReplyPolicy, confirm: bool, speculate: bool) -> None:
        self.machine = TurnMachine(TurnParams(policy=policy, confirm_barge_in=confirm, speculate=speculate))
        self.held: int | None = None
        self.now = 0.0
        self.asked: set[int] = set()
        self.closed: list[int] = []
        self.paused = False

    @rule(step_s=st.sampled_from([0.0, 0.05, 0.3, 1.0, 3.0, 9.0]))
    def time_passes(self, step_s: float) -> None:
        until = self.now + step_s
        while (deadline := self.machine.deadline()) is not None and deadline.at <= until:
            self.now = deadline.at
            self.take(self.machine.on_deadline(self.now))
            assert self.machine.deadline() != deadline
        self.now = until

    @rule(
        voiced_s=st.sampled_from([0.05, 0.15, 0.25]),
        kind=st.sampled_from([SpeechStarted, SpeechPaused, SpeechEnded, None]),
    )
    def the_caller(
        self, voiced_s: float, kind: type[SpeechStarted] | type[SpeechPaused] | type[SpeechEnded] | None
    ) -> None:
        self.feed(SpeechContinues(voiced_s) if kind is None else kind(self.now))

    @rule(words=WORDS, final=st.booleans(), sure=st.booleans())
    def stt(self, words: str, final: bool, sure: bool) -> None:
        self.feed(FinalHeard(words, last=sure) if final else PartialHeard(words, 1.0 if sure else 0.1))

    @rule(back=st.integers(0, 2), kind=st.sampled_from([ReplyDecided, ReplyAudible, ReplyFailed]))
    def the_pipeline(self, back: int, kind: type[ReplyDecided] | type[ReplyAudible] | type[ReplyFailed]) -> None:
        turn = self.machine.turns - back
        self.feed(ReplyDecided(turn, "Yes.") if kind is ReplyDecided else kind(turn))  # type: ignore[call-arg]

    @rule(back=st.integers(0, 2), kind=st.sampled_from([PlaybackStarted, PlaybackEnded, PlaybackHalted]))
    def the_engine(self, back: int, kind: type[PlaybackStarted] | type[PlaybackEnded] | type[PlaybackHalted]) -> None:
        turn = self.machine.turns - back
        if kind is PlaybackStarted:
            self.feed(PlaybackStarted(turn, self.now))
        else:
            self.feed(kind(turn, self.now, 320))  # type: ignore[call-arg]

    @rule(text=st.sampled_from(["", "(keys)"]), interrupts=st.booleans())
    def the_agent_speaks_first(self, text: str, interrupts: bool) -> None:
        self.feed(Prompted(text, interrupts))

    @rule()
    def a_key_cuts_the_answer(self) -> None:
        self.feed(AnswerCut())

    @rule(back=st.integers(0, 1), acted=st.booleans())
    def the_brain_has_no_words(self, back: int, acted: bool) -> None:
        self.feed(ReplyEmpty(self.machine.turns - back, acted))
        # What would have been said without having been asked, and was not, is no turn.
        self.asked -= {self.machine.turns + 1}

    @precondition(lambda self: self.machine.state is State.SPEAKING)
    @rule()
    def the_caller_interrupts(self) -> None:
        self.feed(SpeechStarted(self.now))

    @invariant()
    def one_turn_at_a_time_has_a_deadline_at_most(self) -> None:
        deadline = self.machine.deadline()
        assert deadline is None or deadline.at >= self.now
        assert (self.machine.state is State.PAUSED) == self.paused

    def feed(self, event: TurnEvent) -> None:
        with contextlib.suppress(LocalProtocolError):
            self.take(self.machine.handle(event, self.now))

    def take(self, effects: list[TurnEffect]) -> None:
        for effect in effects:
            match effect:
                case AskBrain(turn, _, held):
                    assert turn not in self.closed
                    assert self.held is None
                    self.held = turn if held else None
                    self.asked.add(turn)
                case PausePlayout():
                    assert not self.paused
                    self.paused = True
                case ResumePlayout():
                    assert self.paused
                    self.paused = False
                case ReleaseReply(turn):
                    assert self.held == turn
                    self.held = None
                case CancelReply(turn):
                    self.held = None if self.held == turn else self.held
                    assert turn in self.asked
                    self.paused = False
                case CloseTurn(turn):
                    assert turn not in self.closed
                    assert self.held != turn
                    self.closed.append(turn)
        # The answer may also have ended while it was being paused.
        self.paused = self.paused and self.machine.state is State.PAUSED

    def teardown(self) -> None:
        if not hasattr(self, "machine"):
            return
        self.take(self.machine.close(self.now))
        assert sorted(self.closed) == list(range(1, self.machine.turns + 1))
        assert self.asked <= set(self.closed)
        assert self.machine.deadline() is None


TestAnyTalk = AnyTalk.TestCase
TestAnyTalk.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
