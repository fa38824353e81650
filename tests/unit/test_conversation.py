"""What a brain can do in a conversation, in made-up time: greet, take keys, act, fail; and what it knows was heard."""

from __future__ import annotations

import asyncio

import pytest
import structlog

from tests.unit.test_session import Call as Phoned
from tests.unit.test_session import FakeOrchestrator, start_answered
from trunkline.agent.brains.brain import (
    Action,
    Answer,
    Brain,
    Call,
    HangUp,
    Listen,
    SendDtmf,
    Transfer,
)
from trunkline.core.errors import Reason, Result, Termination
from trunkline.core.turn_events import TurnParams
from trunkline.core.wire import Mark, TurnOutcome
from trunkline.media.engine import DtmfReceived
from trunkline.settings import FAILURE_SENTENCE
from trunkline.testing.speech import ToneTts, silence, tone
from trunkline.testing.virtual_time import in_virtual_time

pytestmark = pytest.mark.unit

BURST = (silence(0.2), tone(0.6), silence(0.6))


class Told(Brain):
    """Says what a test tells it to, and keeps what it was told.

    Args:
        says: Answers by what is asked: greet, silence, keys, failed, or what the caller said.
    """

    def __init__(self, **says: list[str | Action]) -> None:
        self.says = says
        self.asked: list[str] = []
        self.history: list[tuple[str, str, bool]] = []

    async def _say(self, asked: str, call: Call, key: str) -> Answer:
        self.asked.append(asked)
        self.history = [(each.caller, each.heard, each.interrupted) for each in call.history]
        for item in self.says.get(key, []):
            yield item

    def greet(self, call: Call) -> Answer:
        return self._say(f"greet {call.id}", call, "greet")

    def reply(self, call: Call, words: str) -> Answer:
        return self._say(words, call, words.replace(" ", "_"))

    def on_keys(self, call: Call, keys: str) -> Answer:
        return self._say(f"keys {keys}", call, "keys")

    def on_silence(self, call: Call) -> Answer:
        return self._say("silence", call, "silence")

    def on_transfer_failed(self, call: Call, number: str) -> Answer:
        return self._say(f"failed {number}", call, "failed")


def press(call: Phoned, keys: str) -> None:
    for key in keys:
        call.engine.legs[-1].listener.on_event(DtmfReceived(key))


def answers(call: Phoned) -> list[str]:
    return [turn.answer for turn in call.records.turns]


@in_virtual_time
async def test_a_greeting_is_spoken_first_and_recorded_without_speech_of_the_caller() -> None:
    brain = Told(greet=["Welcome."])
    call = await start_answered(brain=lambda: brain)
    await call.hear(silence(2.0))
    await call.hang_up()
    [turn] = call.records.turns
    assert (turn.answer, turn.heard, turn.outcome) == ("Welcome.", "Welcome.", TurnOutcome.ANSWERED)
    assert Mark.SPEECH_START not in turn.marks_us
    assert brain.asked == ["greet CA1"]


@in_virtual_time
async def test_a_greeting_without_words_is_no_turn() -> None:
    call = await start_answered(brain=lambda: Told(greet=[Listen(max_keys=1)]))
    await call.hear(silence(0.5))
    await call.hang_up()
    assert call.records.turns == []
    assert call.records.calls[0].turns == 0


@in_virtual_time
async def test_the_history_has_what_was_heard_to_the_word_not_what_was_generated() -> None:
    brain = Told(first=["abcde abcde abcde abcde", "Never heard."], second=["Fine."])
    call = await start_answered(sentences=["first", "second"], brain=lambda: brain, tts=lambda: ToneTts(length_s=2.3))
    # The answer begins about 0.6 s after the burst, and is paused 50 ms into the second one.
    await call.hear(*BURST, silence(1.1), tone(0.6), silence(3.0))
    await call.hang_up()
    first, second = call.records.turns
    assert first.answer == "abcde abcde abcde abcde Never heard."
    words = first.heard.split()
    assert first.heard_samples // 9_600 == len(words) == 2 or first.heard_samples / 9_600 - len(words) < 1
    assert 0 < len(words) < 4
    assert brain.history == [("first", first.heard, True)]
    assert (second.answer, second.heard) == ("Fine.", "Fine.")


@in_virtual_time
async def test_an_answer_that_nobody_heard_is_in_the_history_as_that() -> None:
    brain = Told(hello=["Yes."])
    call = await start_answered(sentences=["hello", "again"], brain=lambda: brain, tts=lambda: ToneTts(fails=True))
    await call.hear(*BURST, silence(0.4), *BURST, silence(0.4))
    await call.hang_up()
    assert brain.history == [("hello", "", False)]


@in_virtual_time
async def test_keys_are_handed_over_when_there_are_enough_or_after_the_end_key_or_the_gap() -> None:
    brain = Told(greet=[Listen(max_keys=3, end_key="#", key_gap_s=2.0)])
    call = await start_answered(brain=lambda: brain)
    await call.hear(silence(0.2))
    press(call, "1234#")
    await call.hear(silence(0.5))
    press(call, "5")
    await call.hear(silence(1.9))
    press(call, "#6")
    await call.hear(silence(1.9))
    assert brain.asked == ["greet CA1", "keys 123", "keys 4", "keys 5"]
    await call.hear(silence(0.3))
    assert brain.asked[-1] == "keys 6"
    await call.hang_up()


@in_virtual_time
async def test_keys_are_ignored_unless_the_brain_wants_them() -> None:
    brain = Told(greet=["Welcome."])
    call = await start_answered(brain=lambda: brain)
    await call.hear(silence(0.6))
    press(call, "1")
    await call.hear(silence(2.0))
    await call.hang_up()
    assert brain.asked == ["greet CA1"]
    assert [turn.outcome for turn in call.records.turns] == [TurnOutcome.ANSWERED]


@pytest.mark.parametrize("interrupts", [True, False])
@in_virtual_time
async def test_a_key_over_a_prompt_interrupts_it_only_if_the_brain_says_so(interrupts: bool) -> None:
    brain = Told(greet=["abcde abcde abcde", Listen(max_keys=2, keys_interrupt=interrupts)], keys=["Thank you."])
    call = await start_answered(brain=lambda: brain, tts=lambda: ToneTts(length_s=3.0))
    await call.hear(silence(1.7))
    press(call, "7")
    await call.hear(silence(0.1))
    assert call.engine.legs[0].calls == (["flush"] if interrupts else [])
    press(call, "8")
    await call.hear(silence(6.5))
    await call.hang_up()
    greeted, thanked = call.records.turns
    assert brain.asked == ["greet CA1", "keys 78"]
    # Keys may be a secret number: the record only counts them.
    assert (thanked.understood, thanked.answer) == ("(2 keys)", "Thank you.")
    assert brain.history == [("", "abcde" if interrupts else "abcde abcde abcde", interrupts)]
    assert greeted.heard == brain.history[0][1]


@in_virtual_time
async def test_silence_is_told_after_its_time_again_and_again_but_not_while_anybody_speaks() -> None:
    brain = Told(greet=["Welcome.", Listen(silence_s=3.0)], silence=["Are you there?"])
    call = await start_answered(sentences=["hello"], brain=lambda: brain)
    await call.hear(silence(4.0))
    assert "silence" not in brain.asked
    await call.hear(silence(0.6))
    assert brain.asked.count("silence") == 1
    await call.hear(silence(3.5))
    assert brain.asked.count("silence") == 1
    await call.hear(silence(1.0), tone(4.0), silence(1.0))
    assert brain.asked == ["greet CA1", "silence", "silence", "hello"]
    await call.hang_up()


@in_virtual_time
async def test_the_agent_hangs_up_after_its_last_words_were_heard() -> None:
    call = await start_answered(brain=lambda: Told(greet=["Goodbye.", HangUp()]))
    assert await asyncio.wait_for(call.task, 10) == Termination(Result.SUCCESS, Reason.AGENT_HUNG_UP)
    assert answers(call) == ["Goodbye."]
    assert call.records.turns[0].heard == "Goodbye."
    assert call.orchestrator.said[-1] == "end agent_hung_up 7"


@in_virtual_time
async def test_who_interrupts_the_last_words_is_not_hung_up_on() -> None:
    brain = Told(greet=["Goodbye now.", HangUp()], wait=["Yes?"])
    call = await start_answered(sentences=["wait"], brain=lambda: brain, tts=lambda: ToneTts(length_s=2.0))
    await call.hear(silence(0.8), tone(0.6), silence(4.0))
    assert not call.task.done()
    await call.hang_up()
    assert answers(call) == ["Goodbye now.", "Yes?"]


@in_virtual_time
async def test_a_transfer_ends_the_call_as_transferred() -> None:
    call = await start_answered(brain=lambda: Told(greet=["One moment.", Transfer("+15550100")]))
    assert await asyncio.wait_for(call.task, 10) == Termination(Result.SUCCESS, Reason.TRANSFERRED)
    assert call.orchestrator.said[-2:] == ["transfer +15550100 7", "end transferred 7"]


@in_virtual_time
async def test_a_transfer_that_fails_gives_the_call_back_to_the_brain() -> None:
    brain = Told(greet=["One moment.", Transfer("+15550100")], failed=["Nobody is there."])
    call = await start_answered(brain=lambda: brain, orchestrator=FakeOrchestrator(fail_transfer=True))
    await call.hear(silence(5.0))
    await call.hang_up()
    assert brain.asked == ["greet CA1", "failed +15550100"]
    assert answers(call) == ["One moment.", "Nobody is there."]


@in_virtual_time
async def test_while_a_call_is_being_transferred_its_silence_means_nothing() -> None:
    brain = Told(greet=["One moment.", Listen(silence_s=2.0), Transfer("+15550100")], silence=["Are you there?"])
    call = await start_answered(brain=lambda: brain, orchestrator=FakeOrchestrator(transfer_s=10.0, fail_transfer=True))
    await call.hear(silence(11.0))
    assert brain.asked == ["greet CA1"]
    await call.hear(silence(4.0))
    assert brain.asked == ["greet CA1", "failed +15550100", "silence"]
    await call.hang_up()


@in_virtual_time
async def test_keys_are_sent_after_the_answer_and_an_action_needs_no_words() -> None:
    brain = Told(greet=["Dialling.", SendDtmf("12#")], go=[SendDtmf("9")])
    call = await start_answered(sentences=["go"], brain=lambda: brain)
    await call.hear(silence(0.6))
    assert call.engine.legs[0].dtmf == ""
    await call.hear(silence(1.5))
    assert call.engine.legs[0].dtmf == "12#"
    await call.hear(*BURST, silence(0.5))
    assert call.engine.legs[0].dtmf == "12#9"
    await call.hang_up()
    assert [turn.outcome for turn in call.records.turns] == [TurnOutcome.ANSWERED] * 2


class Hanging(Brain):
    """Says a sentence and then nothing, for ever.

    Args:
        first: The sentence; empty for none.
    """

    def __init__(self, first: str) -> None:
        self.first = first
        self.ended = 0

    async def reply(self, call: Call, words: str) -> Answer:
        try:
            if self.first:
                yield self.first
            await asyncio.Event().wait()
        finally:
            self.ended += 1


@pytest.mark.parametrize(("first", "said"), [("", FAILURE_SENTENCE), ("Well.", f"Well. {FAILURE_SENTENCE}")])
@in_virtual_time
async def test_a_brain_that_hangs_is_stood_in_for_and_the_call_goes_on(first: str, said: str) -> None:
    brains: list[Hanging] = []

    def make() -> Brain:
        brains.append(Hanging(first))
        return brains[-1]

    call = await start_answered(sentences=["one", "two"], brain=make)
    with structlog.testing.capture_logs() as logs:
        await call.hear(*BURST, silence(8.0), *BURST, silence(8.0))
    await call.hang_up()
    assert answers(call) == [said] * 2
    assert brains[0].ended == 2
    failures = [entry for entry in logs if entry["event"] == "brain_failed"]
    assert len(failures) == 2
    assert "within 5 s" in failures[0]["error"]


@in_virtual_time
async def test_an_interruption_stops_the_brain() -> None:
    brain = Hanging("I will now say very much.")
    call = await start_answered(
        sentences=["one", ""], brain=lambda: brain, tts=lambda: ToneTts(length_s=3.0), turns=TurnParams()
    )
    await call.hear(*BURST, silence(0.6), tone(0.6), silence(0.2))
    assert brain.ended == 1
    await call.hang_up()
