"""A simulated caller that follows its script, on a line that follows a test's, in made-up time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from trunkline.core.errors import CallError, Reason
from trunkline.core.units import s_to_us
from trunkline.loadtest.conversation import (
    ANSWER_OVER_S,
    ANSWER_TIMEOUT_S,
    BREATH_S,
    INTERRUPT_AFTER_S,
    LONGEST_ANSWER_S,
    Caller,
    CallerTurn,
    Utterance,
)
from trunkline.loadtest.phone import CallEnded, HeardStart, HeardStop, PhoneEvent, PlayEnd, PlayStart
from trunkline.testing.virtual_time import in_virtual_time

pytestmark = pytest.mark.unit

SPEECH_S = 1.0


@dataclass
class ScriptedLine:
    """A line on which every utterance takes a second, and the other side does what is written, from its end on.

    Args:
        answers: For each utterance, pairs of (seconds after its end, negative while it is spoken; what is heard).
        tail_s: Silence at the end of each recording, before the phone tells that it is played.
    """

    answers: list[list[tuple[float, type[HeardStart] | type[HeardStop] | CallEnded]]]
    tail_s: float = 0.0
    played: list[tuple[str, Path, float]] = field(default_factory=list)
    events: asyncio.Queue[PhoneEvent] = field(default_factory=asyncio.Queue)

    async def play(self, name: str, wav: Path) -> None:
        loop = asyncio.get_running_loop()
        began_at = loop.time()
        ended_at = began_at + SPEECH_S
        self.played.append((name, wav, began_at))
        put = self.events.put_nowait
        put(PlayStart(name, s_to_us(began_at)))
        for after_s, what in self.answers[len(self.played) - 1]:
            at_us = s_to_us(ended_at + after_s)
            if isinstance(what, CallEnded):
                loop.call_at(ended_at + after_s, put, what)
            elif what is HeardStart:
                loop.call_at(ended_at + after_s, put, HeardStart(at_us, -20.0))
            else:
                # Quiet is known only when it has lasted 200 ms.
                loop.call_at(ended_at + after_s + 0.2, put, HeardStop(at_us))
        over_at = ended_at + self.tail_s
        loop.call_at(over_at, put, PlayEnd(name, s_to_us(over_at), s_to_us(ended_at)))

    async def event(self) -> PhoneEvent:
        return await self.events.get()


def caller(line: ScriptedLine, *interrupts: bool) -> Caller:
    script = [Utterance(f"words {n}", Path(f"{n}.wav"), each) for n, each in enumerate(interrupts, start=1)]
    return Caller(line, script)


def after(us: int | None, since_us: int | None) -> float:
    """Seconds between two instants."""
    assert us is not None
    assert since_us is not None
    return (us - since_us) / 1e6


ANSWER: list[tuple[float, type[HeardStart] | type[HeardStop] | CallEnded]] = [(0.5, HeardStart), (1.5, HeardStop)]


@in_virtual_time
async def test_a_turn_has_the_instants_of_mouth_and_ear() -> None:
    line = ScriptedLine([ANSWER])
    talk = caller(line, False)
    began_at = asyncio.get_running_loop().time()
    await talk.run()
    [turn] = talk.turns
    assert line.played == [("s1", Path("1.wav"), pytest.approx(began_at + BREATH_S))]
    assert (turn.said, turn.interrupts, turn.silenced_us) == ("words 1", False, None)
    assert after(turn.speech_end_us, turn.speech_start_us) == pytest.approx(SPEECH_S)
    assert after(turn.heard_start_us, turn.speech_end_us) == pytest.approx(0.5)
    assert after(turn.heard_end_us, turn.speech_end_us) == pytest.approx(1.5)


@in_virtual_time
async def test_an_answer_before_the_recordings_silent_end_is_heard_from_its_first_sound() -> None:
    line = ScriptedLine([[(0.4, HeardStart), (1.3, HeardStop), (1.6, HeardStart), (3.0, HeardStop)]], tail_s=0.6)
    talk = caller(line, False)
    await talk.run()
    [turn] = talk.turns
    assert after(turn.heard_start_us, turn.speech_end_us) == pytest.approx(0.4)
    assert after(turn.heard_end_us, turn.speech_end_us) == pytest.approx(3.0)


@in_virtual_time
async def test_an_answer_of_two_sentences_is_heard_out() -> None:
    line = ScriptedLine([[(0.5, HeardStart), (1.5, HeardStop), (2.1, HeardStart), (3.0, HeardStop)], ANSWER])
    talk = caller(line, False, False)
    await talk.run()
    assert after(talk.turns[0].heard_end_us, talk.turns[0].speech_end_us) == pytest.approx(3.0)
    pause_s = after(talk.turns[1].speech_start_us, talk.turns[0].heard_end_us)
    assert pause_s == pytest.approx(0.2 + ANSWER_OVER_S + BREATH_S)


@in_virtual_time
async def test_an_interruption_is_spoken_into_the_answer_and_measures_its_silence() -> None:
    line = ScriptedLine([[(0.5, HeardStart)], [(-0.7, HeardStop), (0.6, HeardStart), (1.4, HeardStop)]])
    talk = caller(line, False, True)
    await talk.run()
    first, second = talk.turns
    assert after(second.speech_start_us, first.heard_start_us) == pytest.approx(INTERRUPT_AFTER_S)
    assert first.heard_end_us is None
    assert after(second.silenced_us, second.speech_start_us) == pytest.approx(0.3)
    assert after(second.heard_start_us, second.speech_end_us) == pytest.approx(0.6)


@in_virtual_time
async def test_an_answer_that_is_taken_up_again_was_not_silenced_by_its_pause() -> None:
    line = ScriptedLine(
        [
            [(0.5, HeardStart)],
            [(-0.9, HeardStop), (-0.6, HeardStart), (-0.3, HeardStop), (0.6, HeardStart), (1.4, HeardStop)],
        ]
    )
    talk = caller(line, False, True)
    await talk.run()
    assert after(talk.turns[1].silenced_us, talk.turns[1].speech_start_us) == pytest.approx(0.7)


@in_virtual_time
async def test_an_answer_that_falls_silent_only_after_the_interruption_was_silenced_then() -> None:
    line = ScriptedLine([[(0.5, HeardStart)], [(0.1, HeardStop), (0.8, HeardStart), (1.4, HeardStop)]])
    talk = caller(line, False, True)
    await talk.run()
    assert after(talk.turns[1].silenced_us, talk.turns[1].speech_end_us) == pytest.approx(0.1)


@in_virtual_time
async def test_an_agent_that_is_silent_already_needs_no_silencing() -> None:
    line = ScriptedLine([[(0.5, HeardStart), (1.35, HeardStop)], [(0.6, HeardStart), (1.4, HeardStop)]])
    talk = caller(line, False, True)
    await talk.run()
    assert talk.turns[1].silenced_us == talk.turns[1].speech_start_us


@in_virtual_time
async def test_an_agent_that_goes_on_speaking_over_the_interruption_fails_the_call() -> None:
    talk = caller(ScriptedLine([[(0.5, HeardStart)], [(0.6, HeardStart)]]), False, True)
    with pytest.raises(CallError, match="went on speaking over 'words 2'"):
        await talk.run()


@in_virtual_time
async def test_no_answer_fails_the_call_after_its_time_and_keeps_the_turn() -> None:
    talk = caller(ScriptedLine([[]]), False)
    began_at = asyncio.get_running_loop().time()
    with pytest.raises(CallError, match="no answer to 'words 1'"):
        await talk.run()
    took_s = asyncio.get_running_loop().time() - began_at
    assert took_s == pytest.approx(BREATH_S + SPEECH_S + ANSWER_TIMEOUT_S)
    assert talk.turns[0].speech_end_us is not None


@in_virtual_time
async def test_an_answer_without_end_fails_the_call() -> None:
    talk = caller(ScriptedLine([[(0.5, HeardStart)]]), False)
    with pytest.raises(CallError, match=f"did not end within {LONGEST_ANSWER_S:.0f} s"):
        await talk.run()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ([(-0.5, CallEnded("agent", ""))], "the agent hung up"),
        ([(0.2, CallEnded("error", "lost"))], "lost"),
        ([(0.5, HeardStart), (1.0, CallEnded("agent", "gone"))], "gone"),
    ],
    ids=["while speaking", "before the answer", "in the answer"],
)
@in_virtual_time
async def test_a_call_that_ends_in_the_middle_says_why(
    answer: list[tuple[float, type[HeardStart] | type[HeardStop] | CallEnded]], why: str
) -> None:
    talk = caller(ScriptedLine([answer]), False)
    with pytest.raises(CallError, match=why) as caught:
        await talk.run()
    assert caught.value.termination.reason is Reason.AGENT_HUNG_UP


@in_virtual_time
async def test_each_step_is_told() -> None:
    told: list[str] = []
    talk = caller(ScriptedLine([[(0.5, HeardStart)], [(-0.7, HeardStop), *ANSWER]]), False, True)
    talk.tell = told.append
    await talk.run()
    assert told == ["says: words 1", "hears the answer", "interrupts: words 2", "hears the answer"]


def test_a_turn_begins_with_nothing_known() -> None:
    assert CallerTurn("hello") == CallerTurn("hello", False, None, None, None, None, None)
