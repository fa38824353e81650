"""The local services as Pipecat sees them: what goes in, what must come out, and what is left behind."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pipecat.frames.frames import (
    Frame,
    InterimTranscriptionFrame,
    InterruptionFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    TTSSpeakFrame,
    TTSStoppedFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor

from tests.conftest import need
from tests.telephone import telephoned
from trunkline.agent.pipeline.assembly import CallPipeline
from trunkline.agent.pipeline.espeak import Espeak
from trunkline.agent.pipeline.local_stt import NothingUnderstoodFrame, PocketsphinxSTTService
from trunkline.agent.pipeline.local_tts import EspeakTTSService
from trunkline.agent.pipeline.phrases import load_phrases
from trunkline.agent.pipeline.recognizer import Recognizer
from trunkline.core.units import FRAME_BYTES, Pcm
from trunkline.loadtest.voice import speak
from trunkline.media.transport import CallerInput
from trunkline.testing.speech import silence

SENTENCE = "what are your opening hours"
PIECE_SAMPLES = 1_600
"""Larger than a call's, since all of a burst comes at once and a burst may have 100 pieces waiting."""
FINALS = (TranscriptionFrame, NothingUnderstoodFrame)


class Sink(FrameProcessor):
    """Keeps the frames that reach the end of the pipeline."""

    def __init__(self) -> None:
        super().__init__(name="sink")
        self.frames: list[Frame] = []
        self._came = asyncio.Event()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        self.frames.append(frame)
        self._came.set()
        await self.push_frame(frame, direction)

    def of(self, *kinds: type[Frame]) -> list[Frame]:
        return [frame for frame in self.frames if isinstance(frame, kinds)]

    async def until(self, enough: Callable[[], bool]) -> None:
        async with asyncio.timeout(15):
            while not enough():
                self._came.clear()
                await self._came.wait()


class Line:
    """STT of one caller between a door and a sink."""

    def __init__(self, recognizer: Recognizer) -> None:
        self.door, self.sink, self.errors = CallerInput(), Sink(), list[str]()
        self.pipeline = CallPipeline(
            [self.door, PocketsphinxSTTService(recognizer), self.sink], lambda _stage, error: self.errors.append(error)
        )

    def say(self, samples: Pcm, stop: bool = True) -> None:
        self.door.start_speech()
        for start in range(0, samples.size, PIECE_SAMPLES):
            self.door.audio(samples[start : start + PIECE_SAMPLES])
        if stop:
            self.door.stop_speech(0.2)


@asynccontextmanager
async def line_to(recognizer: Recognizer) -> AsyncIterator[Line]:
    line = Line(recognizer)
    try:
        await line.pipeline.start(10.0)
        yield line
    finally:
        await line.pipeline.stop()


@pytest.fixture
def recognizer() -> Recognizer:
    return Recognizer(load_phrases())


@pytest.fixture
async def sentence() -> Pcm:
    need("espeak-ng")
    return telephoned(await speak(SENTENCE))


def children(program: str) -> set[int]:
    """Processes that we started, whose command line holds this; Linux only."""
    found = set()
    for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if program.encode() in command:
            found.add(int(pid))
    return found


class TestHearing:
    """Bursts of the caller."""

    async def test_a_burst_has_partials_and_exactly_one_final(self, recognizer: Recognizer, sentence: Pcm) -> None:
        async with line_to(recognizer) as line:
            for burst in (1, 2):
                line.say(sentence)
                await line.sink.until(lambda count=burst: len(line.sink.of(*FINALS)) >= count)
            finals = line.sink.of(*FINALS)
            assert [getattr(final, "text", "") for final in finals] == [SENTENCE, SENTENCE]
            first = line.sink.frames.index(line.sink.of(InterimTranscriptionFrame)[0])
            assert first < line.sink.frames.index(finals[0])
            assert line.errors == []

    async def test_sound_without_words_is_one_end_without_words(self, recognizer: Recognizer) -> None:
        async with line_to(recognizer) as line:
            line.say(silence(0.5))
            await line.sink.until(lambda: bool(line.sink.of(*FINALS)))
            assert [type(frame) for frame in line.sink.of(*FINALS)] == [NothingUnderstoodFrame]
            assert line.errors == []

    async def test_a_burst_that_another_overtakes_says_nothing_more(
        self, recognizer: Recognizer, sentence: Pcm
    ) -> None:
        async with line_to(recognizer) as line:
            line.say(sentence, stop=False)
            line.say(sentence)
            await line.sink.until(lambda: bool(line.sink.of(*FINALS)))
            line.say(silence(0.1))
            await line.sink.until(lambda: bool(line.sink.of(NothingUnderstoodFrame)))
            assert [type(frame) for frame in line.sink.of(*FINALS)] == [TranscriptionFrame, NothingUnderstoodFrame]

    async def test_callers_share_a_process_and_not_their_words(self, recognizer: Recognizer, sentence: Pcm) -> None:
        async with line_to(recognizer) as one, line_to(recognizer) as other:
            assert len(children("recognizer_process")) == 1
            one.say(sentence)
            other.say(silence(0.5))
            for line in (one, other):
                await line.sink.until(lambda heard=line: bool(heard.sink.of(*FINALS)))
            assert len(one.sink.of(TranscriptionFrame)) == 1
            assert len(other.sink.of(NothingUnderstoodFrame)) == 1
        assert children("recognizer_process") == set()

    async def test_a_killed_process_is_one_problem_and_is_started_again(
        self, recognizer: Recognizer, sentence: Pcm
    ) -> None:
        async with line_to(recognizer) as line:
            line.say(sentence, stop=False)
            await line.sink.until(lambda: bool(line.sink.of(InterimTranscriptionFrame)))
            (pid,) = children("recognizer_process")
            os.kill(pid, signal.SIGKILL)
            await line.sink.until(lambda: bool(line.sink.of(NothingUnderstoodFrame)))
            assert len(line.errors) == 1
            await recognizer.hold()
            await recognizer.release()
            assert recognizer.restarts == 1
            line.say(sentence)
            await line.sink.until(lambda: bool(line.sink.of(TranscriptionFrame)))
            assert len(line.errors) == 1


class TestSpeaking:
    """Answers of the agent."""

    @asynccontextmanager
    async def speaker(self) -> AsyncIterator[tuple[Sink, EspeakTTSService, list[str]]]:
        need("espeak-ng")
        sink, tts, errors = Sink(), EspeakTTSService(Espeak()), list[str]()
        pipeline = CallPipeline([tts, sink], lambda _stage, error: errors.append(error))
        try:
            await pipeline.start(10.0)
            yield sink, tts, errors
        finally:
            await pipeline.stop()

    async def test_a_sentence_comes_in_small_pieces(self) -> None:
        async with self.speaker() as (sink, tts, errors):
            await tts.queue_frame(TTSSpeakFrame("You said: where is my order. Nice!", append_to_context=False))
            await sink.until(lambda: bool(sink.of(TTSStoppedFrame)))
            pieces = [frame.audio for frame in sink.of(TTSAudioRawFrame) if isinstance(frame, TTSAudioRawFrame)]
            assert len(pieces) > 10
            assert all(0 < len(piece) <= 3 * FRAME_BYTES and len(piece) % FRAME_BYTES == 0 for piece in pieces)
            assert errors == []
        assert children("espeak-ng") == set()

    async def test_an_interrupted_answer_leaves_no_process(self) -> None:
        async with self.speaker() as (sink, tts, errors):
            await tts.queue_frame(TTSSpeakFrame("This goes on for a long time. " * 40, append_to_context=False))
            await sink.until(lambda: bool(sink.of(TTSAudioRawFrame)))
            await tts.queue_frame(InterruptionFrame())
            await sink.until(lambda: bool(sink.of(InterruptionFrame)))
            await tts.queue_frame(TTSSpeakFrame("Again.", append_to_context=False))
            await sink.until(lambda: bool(sink.of(TTSStoppedFrame)))
            assert errors == []
        assert children("espeak-ng") == set()
