"""When the recognizer has said all it will say of a burst, the turn is told, also where no words are left."""

from __future__ import annotations

from typing import Any

import pytest
from pipecat.frames.frames import Frame, InterimTranscriptionFrame, TranscriptionFrame
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor

from trunkline.agent.pipeline.assembly import CallPipeline
from trunkline.agent.pipeline.hearing_stage import HearingStage, Recognizing
from trunkline.agent.pipeline.providers import Row
from trunkline.agent.pipeline.turn_taking import TurnTaking
from trunkline.core.breaker import Breaker
from trunkline.core.hearing import Ear
from trunkline.core.turn_events import FinalHeard, PartialHeard
from trunkline.core.usual_delay import UsualDelay
from trunkline.testing.virtual_time import in_virtual_time

pytestmark = pytest.mark.unit


class Vendor(FrameProcessor):
    """Takes (words, final, whether it is the answer to our finalize), as a vendor would send them."""

    async def take(self, message: tuple[str, bool, bool]) -> None:
        words, final, asked_for = message
        if words and final:
            await self.push_frame(TranscriptionFrame(words, "", "", finalized=asked_for))
        elif words:
            await self.push_frame(InterimTranscriptionFrame(words, "", ""))

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)


async def told(*messages: tuple[str, bool, bool]) -> list[PartialHeard | FinalHeard]:
    words: list[PartialHeard | FinalHeard] = []
    vendor: Any = Vendor()
    row = Row(lambda wanted: None, lambda wanted: vendor, listening="take", finished=lambda message: message[2])
    ear = Ear(Breaker(), UsualDelay(1.0, 0.5, 2.0), UsualDelay(1.0, 0.5, 2.0))
    pipeline = CallPipeline(
        [HearingStage([Recognizing("vendor", row, vendor, ear)]), TurnTaking(words.append)], lambda *error: None
    )
    await pipeline.start(5.0)
    for message in messages:
        await vendor.take(message)
    await pipeline.stop()
    return words


@in_virtual_time
async def test_words_that_were_final_early_are_followed_by_the_news_that_no_more_come() -> None:
    assert await told(("one", False, False), ("one", True, False), ("", True, True)) == [
        PartialHeard("one"),
        FinalHeard("one", last=False),
        FinalHeard(""),
    ]


@in_virtual_time
async def test_words_that_answer_our_finalize_are_the_last_by_themselves() -> None:
    assert await told(("one two", True, True)) == [FinalHeard("one two")]


@in_virtual_time
async def test_a_noise_in_which_no_words_were_found_is_not_called_words_that_were_missed() -> None:
    assert await told(("", True, True), ("", True, True)) == []
