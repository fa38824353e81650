"""Where no provider is left, the caller hears the kept sentence and the call ends in order."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from pipecat.frames.frames import Frame, VADUserStoppedSpeakingFrame
from pipecat.processors.frame_processor import FrameDirection

from tests.unit.test_session import JOB, FakeOrchestrator, Records
from trunkline.agent.brains.echo import EchoBrain
from trunkline.agent.conversation import ConversationParts
from trunkline.agent.session import Session, SessionTools
from trunkline.core.endpointing import EndpointingParams
from trunkline.core.errors import Reason, Result, SpeechLostError, Termination
from trunkline.core.turn_events import TurnParams
from trunkline.core.units import SAMPLE_RATE_HZ, Pcm
from trunkline.testing.media import FakeEngine
from trunkline.testing.speech import LoudnessActivity, ToldStt, ToneTts, silence, tone
from trunkline.testing.virtual_time import in_virtual_time

pytestmark = pytest.mark.unit

WORDS: Pcm = (8000 * np.sin(2 * np.pi * 300 * np.arange(SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ)).astype(np.int16)


class LostStt(ToldStt):
    """Tells at the end of each burst that nobody hears, as often as it likes."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, VADUserStoppedSpeakingFrame):
            error = SpeechLostError("stt:deepgram", "nobody hears the caller")
            for _ in range(2):
                await self.push_error(str(error), exception=error)


async def call(farewell: Pcm | None, sentences: list[str]) -> tuple[FakeEngine, Records, Termination, float]:
    """A call whose recognizers are gone after the caller's first words; ends by itself."""
    engine, records = FakeEngine(), Records()
    tools = SessionTools(
        worker="w1",
        host="here",
        engine=engine,
        orchestrator=FakeOrchestrator(),  # type: ignore[arg-type]
        marks=records,  # type: ignore[arg-type]
        make_parts=lambda: ConversationParts(
            activity=LoudnessActivity(),  # type: ignore[arg-type]
            stt=LostStt(sentences),
            tts=ToneTts(length_s=4.0),
            brain=EchoBrain(),
            turns=TurnParams(),
            endpointing=EndpointingParams(),
            farewell=farewell,
        ),
        policy="final",
        sign_token=lambda _job: "token",
    )
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(Session(JOB, tools, now=loop.time).run())
    while not engine.legs:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.3)
    engine.phone_joins(token="tok")
    while not engine.legs[-1].published:
        await asyncio.sleep(0.01)
    begun_at = loop.time()
    await engine.legs[-1].hear(np.concatenate([tone(0.6), silence(6.0)]))
    return engine, records, await asyncio.wait_for(task, 20), loop.time() - begun_at


LOST = Termination(Result.UPSTREAM_ERROR, Reason.SPEECH_LOST)


@in_virtual_time
@pytest.mark.parametrize("sentences", [[], ["hello"]])
async def test_the_caller_hears_the_sentence_whole_and_then_the_call_ends(sentences: list[str]) -> None:
    engine, records, termination, _ = await call(WORDS, sentences)
    assert termination == LOST
    sent = engine.legs[0].sound()
    whole = np.correlate(sent[-5 * SAMPLE_RATE_HZ :].astype(float), WORDS.astype(float), "valid").max()
    assert whole == pytest.approx(np.dot(WORDS.astype(float), WORDS.astype(float)), rel=0.05)
    assert engine.legs[0].left
    assert records.calls[0].reason == "speech_lost"


@in_virtual_time
async def test_without_a_sentence_the_call_ends_at_once() -> None:
    _, records, termination, _ = await call(None, [])
    assert termination == LOST
    assert records.calls[0].result == "upstream_error"
