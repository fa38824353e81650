"""A whole call whose recognizer gets sound before it is known to be speech, in made-up time."""

from __future__ import annotations

from collections.abc import Callable

from tests.unit.test_session import start_answered
from trunkline.core.turn_events import ReplyPolicy, TurnParams
from trunkline.core.units import FRAME_S, level_dbfs
from trunkline.core.wire import Mark
from trunkline.media.engine import CallerFrame
from trunkline.testing.speech import LoudnessActivity, LoudnessStream, silence, tone
from trunkline.testing.virtual_time import in_virtual_time

FIRST_PARTIAL = TurnParams(policy=ReplyPolicy.FIRST_PARTIAL)


class SlowStream(LoudnessStream):
    """Is sure of speech 200 ms after it began."""

    loud = 0

    def feed(self, frame: CallerFrame, hurry: bool = True) -> None:
        self.loud = self.loud + 1 if level_dbfs(frame.samples) > -40.0 else 0
        self._on_window(frame.ended_at - FRAME_S, 1.0 if self.loud > 10 else 0.0)


class SlowActivity(LoudnessActivity):
    def open(self, on_window: Callable[[float, float], None]) -> LoudnessStream:
        return SlowStream(on_window)


@in_virtual_time
async def test_words_that_come_before_the_detector_is_sure_are_answered_once_it_is() -> None:
    starts = {}
    for early in (False, True):
        call = await start_answered(
            sentences=["hello"], partial_s=0.1, turns=FIRST_PARTIAL, activity=SlowActivity, early=early
        )
        await call.hear(silence(0.4), tone(0.8), silence(2.5))
        await call.hang_up()
        [turn] = call.records.turns
        assert turn.understood == "hello"
        starts[early] = turn.marks_us[Mark.STT_PARTIAL] - turn.marks_us[Mark.SPEECH_START]
    assert 200_000 <= starts[True] <= 240_000
    assert starts[False] >= starts[True] + 80_000


@in_virtual_time
async def test_words_of_a_noise_are_never_answered() -> None:
    call = await start_answered(
        sentences=["hello"], partial_s=0.1, turns=FIRST_PARTIAL, activity=SlowActivity, early=True
    )
    await call.hear(silence(0.4), tone(0.16), silence(2.5))
    await call.hang_up()
    assert call.records.turns == []


@in_virtual_time
async def test_a_turn_ends_with_its_hangover_where_the_last_words_came_in_it() -> None:
    responses = {}
    for early in (False, True):
        call = await start_answered(sentences=["hello"], early=early)
        await call.hear(silence(0.4), tone(0.8), silence(2.5))
        await call.hang_up()
        [turn] = call.records.turns
        assert turn.understood == "hello"
        responses[early] = turn.marks_us[Mark.PLAYBACK_START] - turn.marks_us[Mark.SPEECH_END]
    assert responses[True] <= responses[False] - 40_000
