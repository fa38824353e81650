"""Decides who speaks: when the agent answers, when it pauses, and when it gives up its answer.

In come what the caller does (from endpointing), what was understood (from STT) and what became of the answer (from
the pipeline and the media engine); out come the effects that `agent/session.py` performs.

A turn is one burst of the caller: speech that pauses no longer than the hangover. The agent answers a turn once. With
`first_partial` it may answer while the burst goes on; the rest of that burst interrupts nothing. Speech over the answer
pauses it at once, and is then confirmed or taken back:

    LISTENING -> DECIDING -> SPEAKING <-> PAUSED
        ^           |           |           |
        +-----------+-----------+-----------+

Speech before the answer can be heard takes the answer back and goes on with the same turn.

Where it may speculate, the answer to words that stand still is prepared while the turn is still open, and kept back:
it is let out when the turn ends with the same words, and dropped unheard when the caller goes on.
"""

from __future__ import annotations

from trunkline.core.barge_in import Meaning, OverAnswer, meaning_of
from trunkline.core.endpointing import SpeechContinues, SpeechEnded, SpeechPaused, SpeechStarted
from trunkline.core.errors import LocalProtocolError
from trunkline.core.last_words import LastWords
from trunkline.core.machine import Deadline
from trunkline.core.open_turn import OpenTurn
from trunkline.core.turn_events import (
    AnswerCut,
    AskBrain,
    CancelReply,
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
from trunkline.core.turn_states import TRANSITIONS, State
from trunkline.core.wire import Mark, TurnOutcome

_OPEN = {True: "open", False: "not open"}


class TurnMachine:
    """Decides who speaks in one call.

    Args:
        params: Policy and times.
    """

    def __init__(self, params: TurnParams | None = None) -> None:
        self.params = params or TurnParams()
        self.state = State.LISTENING
        self.barge_ins = 0
        self._count = 0
        self._turn: OpenTurn | None = None
        self._answering: OpenTurn | None = None
        self._halting: OpenTurn | None = None
        self._burst_open = False
        self._dismissed = False
        self._taken_back = False
        self._over = OverAnswer(self.params.barge_in, 0.0)
        self._last_words = LastWords()
        self._deadline: Deadline | None = None

    def handle(self, event: TurnEvent, now: float) -> list[TurnEffect]:
        """Takes one event. Raises LocalProtocolError, and changes nothing, where it is illegal."""
        handler = TRANSITIONS.get((self.state, type(event)))
        if handler is None:
            raise LocalProtocolError(f"{type(event).__name__} while {self.state.value}")
        if self.state is not State.CLOSED and self._out_of_order(event):
            raise LocalProtocolError(f"{type(event).__name__} while the burst is {_OPEN[self._burst_open]}")
        effects: list[TurnEffect] = getattr(self, handler)(event, now)
        return effects

    def deadline(self) -> Deadline | None:
        """The next instant at which something must be decided."""
        return self._deadline

    def on_deadline(self, now: float) -> list[TurnEffect]:
        """Takes the wake-up that `deadline` asked for."""
        due, self._deadline = self._deadline, None
        if due is None:
            return []
        if due.reason == "barge_in":
            return self._barge_in(now) if self._over.likely(now) else self._take_back()
        if due.reason in ("final", "stable_partial"):
            return self._answer(now)
        if due.reason == "prepare":
            return self._prepare(now)
        return self._give_up(now)

    def close(self, now: float) -> list[TurnEffect]:
        """The call is over: closes every turn that is open. Whatever comes later is ignored.

        An answer of which the caller heard a part is interrupted, one that it did not hear is unanswered; an answer
        that was played to its end counts, though the caller is still speaking. A turn without words is closed, too, so
        that every turn that was begun has exactly one record.
        """
        halting, answering, heard = self._halting, self._answering, self._turn
        effects: list[TurnEffect] = self._close_halted() if halting is not None else []
        if answering is not None:
            if self.state is State.LISTENING and Mark.PLAYBACK_STOP in answering.marks:
                effects += [answering.closed(TurnOutcome.ANSWERED)]
            else:
                begun = Mark.PLAYBACK_START in answering.marks
                outcome = TurnOutcome.INTERRUPTED if begun else TurnOutcome.UNANSWERED
                effects += [CancelReply(answering.number), answering.closed(outcome)]
        if heard is not None:
            effects += [*self._drop_prepared(), heard.closed(TurnOutcome.UNANSWERED)]
        self._answering = self._turn = None
        self._burst_open = False
        self._deadline = None
        self.state = State.CLOSED
        return effects

    def _out_of_order(self, event: TurnEvent) -> bool:
        """A burst starts once, then continues and pauses, then ends."""
        if isinstance(event, SpeechStarted):
            return self._burst_open
        return isinstance(event, SpeechContinues | SpeechPaused | SpeechEnded) and not self._burst_open

    @property
    def turns(self) -> int:
        """Turns begun so far."""
        return self._count

    @property
    def idle(self) -> bool:
        """True where nobody speaks, and nothing is awaited but the caller."""
        speaks = self._burst_open and not self._dismissed
        return self.state is State.LISTENING and self._turn is None and self._answering is None and not speaks

    # --- the caller speaks ---

    def _on_start_listening(self, event: SpeechStarted, now: float) -> list[TurnEffect]:
        """A new burst; it goes on with the turn whose final is still awaited, if there is one."""
        self._burst_open, self._dismissed, self._taken_back = True, False, False
        self._deadline = None
        if self._turn is None:
            self._last_words.begin()
            self._open_turn(event.at)
            return []
        self._last_words.went_on()
        self._turn.marks.pop(Mark.SPEECH_END, None)
        return self._drop_prepared()

    def _on_start_deciding(self, event: SpeechStarted, now: float) -> list[TurnEffect]:
        """The caller goes on before the answer could be heard: the same turn goes on, too."""
        turn = self._answering
        assert turn is not None
        self._burst_open = True
        self._last_words.went_on()
        if turn.prompted:
            # It may be a cough, which would take a greeting back for good: only speech that goes on does.
            self._doubt(event.at)
            return []
        turn.asked = False
        turn.answer = ""
        turn.forget_answer()
        turn.marks.pop(Mark.SPEECH_END, None)
        turn.marks.pop(Mark.STT_FINAL, None)
        self._turn, self._answering = turn, None
        self._listen()
        return [CancelReply(turn.number)]

    def _on_start_speaking(self, event: SpeechStarted, now: float) -> list[TurnEffect]:
        turn = self._answering
        assert turn is not None
        self._burst_open = True
        self._last_words.begin()
        self._doubt(event.at)
        self._dismissed = False
        if not self.params.confirm_barge_in:
            return self._barge_in(now)
        self.state = State.PAUSED
        self._deadline = Deadline(now + self.params.barge_in.decision_s, "barge_in")
        return [PausePlayout(turn.number)]

    def _on_continue(self, event: SpeechContinues, now: float) -> list[TurnEffect]:
        """What was taken for a noise, or was not asked for, may go on: then it is speech after all."""
        self._last_words.went_on()
        self._over.voiced(event.voiced_s, now)
        enough = self._over.certain if self._taken_back else event.voiced_s >= self.params.barge_in.voiced_s
        return self._believe(now) if self._dismissed and enough else []

    def _believe(self, now: float) -> list[TurnEffect]:
        """Speech after all: it interrupts what is being said, and is a turn."""
        if self.state is State.SPEAKING:
            return self._barge_in(now)
        effects = self._give_up(now) if self.state is State.DECIDING else []
        self._dismissed = False
        self._open_turn_over(now)
        return effects

    def _on_continue_paused(self, event: SpeechContinues, now: float) -> list[TurnEffect]:
        self._last_words.went_on()
        self._over.voiced(event.voiced_s, now)
        return self._barge_in(now) if self._over.certain else []

    def _on_paused(self, event: SpeechPaused, now: float) -> list[TurnEffect]:
        """The recognizer is asked for its last words while it is waited whether the caller goes on."""
        self._last_words.paused()
        return []

    def _on_end(self, event: SpeechEnded, now: float) -> list[TurnEffect]:
        """A burst ends: the turn's own, or one that was taken back."""
        self._burst_open = False
        self._last_words.ended()
        self._over.ended_at = event.at
        if self._dismissed:
            return []
        turn = self._turn or self._answering
        if turn is None:
            return []
        turn.mark(Mark.SPEECH_END, event.at)
        if turn.asked:
            return self._close_if_over()
        if self._last_words.whole:
            # That they were the last ones is known only now.
            turn.marks[Mark.STT_FINAL] = now
            return self._answer(now)
        self._await_final(now)
        return self._prepare(now)

    def _await_final(self, now: float) -> None:
        turn = self._turn
        assert turn is not None
        if self._deadline is not None and self._deadline.reason == "stable_partial":
            # The words stand still already: they are not waited for longer than they would be without the end.
            return
        # Words that are final already need no long wait: the vendor may have nothing left to say.
        wait_s = min(0.5, self.params.final_timeout_s) if turn.finals else self.params.final_timeout_s
        self._deadline = Deadline(now + wait_s, "final")

    def _on_end_paused(self, event: SpeechEnded, now: float) -> list[TurnEffect]:
        self._burst_open = False
        self._last_words.ended()
        self._over.ended_at = event.at
        return self._take_back()

    # --- words ---

    def _on_partial(self, event: PartialHeard, now: float) -> list[TurnEffect]:
        turn = self._turn
        if turn is None:
            return self._on_words_of_answered(event, now)
        if not event.text:
            return []
        turn.mark(Mark.STT_PARTIAL, now)
        changed = event.text != turn.partial
        turn.partial = event.text
        if self.params.policy is ReplyPolicy.FIRST_PARTIAL:
            return self._answer(now)
        return self._on_changed_words(event, now) if changed else []

    def _on_changed_words(self, event: PartialHeard, now: float) -> list[TurnEffect]:
        """Words that stand still from now on are believed: answered, or prepared for."""
        turn = self._turn
        assert turn is not None
        effects = [] if turn.is_prepared else self._drop_prepared()
        believed = event.confidence >= self.params.stable_confidence
        if not self._burst_open:
            return effects + (self._prepare(now) if believed else [])
        if self._deadline is not None and not believed:
            self._deadline = None
        elif believed and self.params.policy is ReplyPolicy.STABLE_PARTIAL:
            self._deadline = Deadline(now + self.params.stable_partial_s, "stable_partial")
        elif believed and self.params.speculate and not turn.is_prepared:
            self._deadline = Deadline(now + self.params.stable_partial_s, "prepare")
        return effects

    def _on_final(self, event: FinalHeard, now: float) -> list[TurnEffect]:
        turn = self._turn
        if turn is None:
            return self._on_words_of_answered(event, now)
        self._count_final(event)
        if event.text:
            turn.mark(Mark.STT_PARTIAL, now)
        turn.add_final(event.text, now)
        if self._burst_open:
            effects = [] if turn.is_prepared else self._drop_prepared()
            return effects + (self._prepare(now) if self._last_words.whole else [])
        if event.last and not self._last_words.due:
            return self._answer(now)
        self._deadline = Deadline(now + self.params.more_finals_s, "final")
        return [] if turn.is_prepared else self._drop_prepared() + self._prepare(now)

    def _count_final(self, event: PartialHeard | FinalHeard) -> None:
        if isinstance(event, FinalHeard) and event.last:
            self._last_words.came()

    def _on_words_of_answered(self, event: PartialHeard | FinalHeard, now: float) -> list[TurnEffect]:
        """The rest of a burst that is being answered: kept, not answered. Of one that was taken back: late proof."""
        turn = self._answering
        if self._taken_back and self._dismissed and meaning_of(event.text) is Meaning.STOP:
            return self._believe(now) + self.handle(event, now)
        self._count_final(event)
        if turn is not None and not turn.prompted and not self._dismissed and isinstance(event, FinalHeard):
            turn.add_final(event.text, now)
        return []

    def _on_words_paused(self, event: PartialHeard | FinalHeard, now: float) -> list[TurnEffect]:
        """Words over the paused answer: real, unless they only tell the agent to go on."""
        turn = self._answering
        assert turn is not None
        if isinstance(event, FinalHeard) and Mark.STT_FINAL not in turn.marks and not turn.prompted:
            # The final of the burst that is being answered was still due: it comes first.
            turn.add_final(event.text, now)
            return []
        self._over.heard(event.text)
        if self._over.certain:
            return self._barge_in(now) + self.handle(event, now)
        self._count_final(event)
        return []

    # --- the answer ---

    def _answer(self, now: float) -> list[TurnEffect]:
        turn = self._turn
        assert turn is not None
        words = turn.words()
        effects = [] if turn.is_prepared else self._drop_prepared()
        if not words and not turn.missed:
            self._turn, self._deadline = None, None
            return [*effects, turn.closed(TurnOutcome.UNANSWERED)]
        turn.asked = True
        self._turn, self._answering = None, turn
        self.state = State.DECIDING
        self._deadline = Deadline(now + self.params.reply_timeout_s, "reply")
        if turn.prepared is None:
            return [*effects, AskBrain(turn.number, words)]
        turn.prepared = None
        turn.mark(Mark.RELEASED, now)
        return [ReleaseReply(turn.number)]

    # --- ahead of the turn's end ---

    def _prepare(self, now: float) -> list[TurnEffect]:
        """Has the answer to the words so far prepared, and kept back."""
        turn = self._turn
        if turn is None or not self.params.speculate or self.params.policy is not ReplyPolicy.FINAL:
            return []
        words = turn.words()
        # Words that are whole are no guess: guesses that were wrong must not have used up their turn.
        most = self.params.most_prepared * (2 if self._last_words.whole else 1)
        if not words or turn.prepared is not None or turn.prepared_times >= most:
            return []
        turn.prepared = words
        turn.prepared_times += 1
        turn.mark(Mark.PREPARED, now)
        return [AskBrain(turn.number, words, held=True)]

    def _drop_prepared(self) -> list[TurnEffect]:
        """The caller went on, or other words were said: nobody hears what was prepared."""
        turn = self._turn
        if turn is None or turn.prepared is None:
            return []
        turn.forget_answer()
        return [CancelReply(turn.number)]

    def _answered(self, number: int) -> OpenTurn | None:
        """The turn of this number, if it is being answered, or prepared for."""
        for turn in (self._answering, self._turn):
            if turn is not None and turn.number == number and (turn.asked or turn.prepared is not None):
                return turn
        return None

    # --- what becomes of the answer ---

    def _on_decided(self, event: ReplyDecided, now: float) -> list[TurnEffect]:
        turn = self._answered(event.turn)
        if turn is not None:
            turn.mark(Mark.AGENT_DECISION, now)
            turn.answer = f"{turn.answer} {event.text}".strip()
        return []

    def _on_audible(self, event: ReplyAudible, now: float) -> list[TurnEffect]:
        turn = self._answered(event.turn)
        if turn is not None:
            turn.mark(Mark.TTS_FIRST_BYTE, now)
        return []

    def _on_failed(self, event: ReplyFailed, now: float) -> list[TurnEffect]:
        if self._turn is not None and self._turn.number == event.turn:
            # It was only prepared: it is asked for again when the turn is over.
            return self._drop_prepared()
        if self._answering is None or self._answering.number != event.turn:
            return []
        return self._give_up(now)

    def _give_up(self, now: float) -> list[TurnEffect]:
        """There will be no (more) answer; speech that had paused it is a turn like any other."""
        turn = self._answering
        assert turn is not None
        self._leave_answer(now)
        return [CancelReply(turn.number), turn.closed(TurnOutcome.UNANSWERED)]

    def _leave_answer(self, now: float) -> None:
        """Listens again. A burst that had paused the answer opens the next turn."""
        paused = self.state is State.PAUSED
        self._answering = None
        self._listen()
        if paused:
            self._open_turn_over(now)

    def _on_playing(self, event: PlaybackStarted, now: float) -> list[TurnEffect]:
        turn = self._answering
        if turn is None or turn.number != event.turn:
            return []
        turn.mark(Mark.PLAYBACK_START, event.at)
        if self.state is State.DECIDING:
            self.state = State.SPEAKING
            self._deadline = None
        return []

    def _on_played(self, event: PlaybackEnded, now: float) -> list[TurnEffect]:
        if self._halting is not None and self._halting.number == event.turn:
            # The last packet was sent before the flush came.
            return self._on_halted(PlaybackHalted(event.turn, event.at, event.samples), now)
        turn = self._answering
        if turn is None or turn.number != event.turn:
            return []
        turn.marks[Mark.PLAYBACK_STOP] = event.at
        turn.heard_samples = event.samples
        if self.state is State.PAUSED:
            # It had ended before the pause.
            self._leave_answer(now)
            return [turn.closed(TurnOutcome.ANSWERED)]
        self._listen()
        return self._close_if_over()

    def _close_if_over(self) -> list[TurnEffect]:
        """An answered turn is over when its answer was played and its burst has ended."""
        turn = self._answering
        if turn is None or self.state is not State.LISTENING or Mark.PLAYBACK_STOP not in turn.marks:
            return []
        if self._burst_open and not self._dismissed:
            return []
        self._answering = None
        return [turn.closed(TurnOutcome.ANSWERED)]

    # --- the agent speaks first ---

    def _on_prompted(self, event: Prompted, now: float) -> list[TurnEffect]:
        """A turn that no speech of the caller began. A burst that is open is none of it."""
        if not (self.idle or event.interrupts):
            return []
        effects = self._make_way(now)
        self._count += 1
        self._answering = OpenTurn(self._count, finals=[event.text] * bool(event.text), asked=True, prompted=True)
        self.state = State.DECIDING
        self._deadline = Deadline(now + self.params.reply_timeout_s, "reply")
        return [*effects, AskBrain(self._count, event.text)]

    def _on_cut(self, event: AnswerCut, now: float) -> list[TurnEffect]:
        return self._make_way(now)

    def _make_way(self, now: float) -> list[TurnEffect]:
        """Ends whatever turn is open; speech that goes on may still become a turn of its own."""
        effects: list[TurnEffect] = []
        turn, asked, state = self._answering, self._turn, self.state
        effects += self._drop_prepared()
        self._answering = self._turn = None
        self._listen()
        if turn is not None and state in (State.SPEAKING, State.PAUSED):
            turn.mark(Mark.BARGE_IN, now)
            self.barge_ins += 1
            effects += [CancelReply(turn.number), *self._close_halted()]
            self._halting = turn
            if Mark.PLAYBACK_STOP in turn.marks:
                effects += self._close_halted()
        elif turn is not None and state is State.DECIDING:
            effects += [CancelReply(turn.number), turn.closed(TurnOutcome.UNANSWERED)]
        elif turn is not None:
            effects.append(turn.closed(TurnOutcome.ANSWERED))
        if asked is not None:
            effects.append(asked.closed(TurnOutcome.UNANSWERED))
        if self._burst_open and not self._dismissed:
            self._doubt(now)
        return effects

    def _on_empty(self, event: ReplyEmpty, now: float) -> list[TurnEffect]:
        if self._turn is not None and self._turn.number == event.turn:
            # What it has instead of words is done when the turn is over, and so it is asked for again then.
            return self._drop_prepared()
        turn = self._answering
        if turn is None or turn.number != event.turn or self.state is not State.DECIDING:
            return []
        self._leave_answer(now)
        if turn.prompted and not turn.finals:
            # Nobody spoke, and nobody does: it was no turn.
            self._count -= 1
            return []
        return [turn.closed(TurnOutcome.ANSWERED if event.acted else TurnOutcome.UNANSWERED)]

    # --- barge-in ---

    def _take_back(self) -> list[TurnEffect]:
        """Neither voice nor words confirmed it: the answer goes on."""
        turn = self._answering
        assert turn is not None
        self._dismissed = self._taken_back = True
        self._deadline = None
        self.state = State.SPEAKING
        turn.marks.pop(Mark.PLAYBACK_STOP, None)
        return [ResumePlayout(turn.number)]

    def _barge_in(self, now: float) -> list[TurnEffect]:
        turn = self._answering
        assert turn is not None
        turn.mark(Mark.BARGE_IN, self._over.started_at)
        self.barge_ins += 1
        self._dismissed = False
        effects: list[TurnEffect] = [CancelReply(turn.number), *self._close_halted()]
        self._answering, self._halting = None, turn
        self._listen()
        self._open_turn_over(now)
        return effects + (self._close_halted() if Mark.PLAYBACK_STOP in turn.marks else [])

    def _on_halted(self, event: PlaybackHalted, now: float) -> list[TurnEffect]:
        turn = self._halting or self._answering
        if turn is None or turn.number != event.turn:
            return []
        turn.heard_samples = event.samples
        if turn is self._halting or self.state is State.PAUSED:
            turn.marks[Mark.PLAYBACK_STOP] = event.at
        return self._close_halted()

    def _close_halted(self) -> list[TurnEffect]:
        turn, self._halting = self._halting, None
        return [] if turn is None else [turn.closed(TurnOutcome.INTERRUPTED)]

    # --- small steps ---

    def _ignore(self, event: TurnEvent, now: float) -> list[TurnEffect]:
        return []

    def _open_turn(self, started_at: float) -> None:
        self._count += 1
        self._turn = OpenTurn(self._count, {Mark.SPEECH_START: started_at})

    def _open_turn_over(self, now: float) -> None:
        """The burst over the answer becomes a turn; where it has ended already, its words are awaited."""
        self._open_turn(self._over.started_at)
        assert self._turn is not None
        if not self._burst_open:
            self._turn.mark(Mark.SPEECH_END, self._over.ended_at or self._over.started_at)
            self._await_final(now)

    def _doubt(self, started_at: float) -> None:
        """A burst begins, or goes on, of which it is not known whether it is speech to the agent."""
        self._dismissed, self._taken_back = True, False
        self._over = OverAnswer(self.params.barge_in, started_at)

    def _listen(self) -> None:
        self.state = State.LISTENING
        self._deadline = None
