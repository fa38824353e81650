"""A whole call in which answers are prepared ahead, in made-up time."""

from __future__ import annotations

from tests.unit.test_session import start_answered
from trunkline.agent.brains.brain import Answer, Brain, Call
from trunkline.core.latency import saved_us
from trunkline.core.turn_events import TurnParams
from trunkline.core.units import SAMPLE_RATE_HZ, level_dbfs
from trunkline.core.wire import Mark, TurnOutcome
from trunkline.testing.speech import ToneTts, silence, tone
from trunkline.testing.virtual_time import in_virtual_time


class Asked(Brain):
    """Keeps what it was asked."""

    words: list[str]

    def __init__(self) -> None:
        self.words = []

    async def reply(self, call: Call, words: str) -> Answer:
        self.words.append(words)
        yield f"You said {words}."


SPECULATE = TurnParams(speculate=True, stable_partial_s=0.1)


@in_virtual_time
async def test_an_answer_that_was_prepared_is_heard_only_after_the_turn_and_sooner_than_otherwise() -> None:
    responses = {}
    for turns in (TurnParams(), SPECULATE):
        brain = Asked()
        call = await start_answered(sentences=["hello"], partial_s=0.2, turns=turns, brain=lambda brain=brain: brain)
        await call.hear(tone(0.8), silence(2.5))
        await call.hang_up()
        [turn] = call.records.turns
        marks = turn.marks_us
        assert brain.words == ["hello"]
        assert turn.outcome is TurnOutcome.ANSWERED
        assert turn.heard_samples == SAMPLE_RATE_HZ
        assert marks[Mark.PLAYBACK_START] >= marks[Mark.STT_FINAL]
        responses[turns.speculate] = marks[Mark.PLAYBACK_START] - marks[Mark.SPEECH_END]
        assert (saved_us(turn) is not None) == turns.speculate
    assert responses[True] <= responses[False] - 80_000


@in_virtual_time
async def test_an_answer_of_which_the_caller_said_more_is_never_heard() -> None:
    brain = Asked()
    call = await start_answered(
        sentences=["hello", "hello there"],
        partial_s=0.1,
        turns=SPECULATE,
        brain=lambda: brain,
        tts=lambda: ToneTts(length_s=1.0, first_s=0.01),
    )
    # The second burst comes while the final of the first is awaited.
    await call.hear(tone(0.6), silence(0.22), tone(0.6), silence(0.19))
    assert level_dbfs(call.engine.legs[0].sound()) < -60
    await call.hear(silence(2.5))
    await call.hang_up()
    [turn] = call.records.turns
    assert brain.words[0] == "hello"
    assert len(brain.words) >= 2
    assert turn.answer == f"You said {turn.understood}."
    assert turn.heard_samples == SAMPLE_RATE_HZ
