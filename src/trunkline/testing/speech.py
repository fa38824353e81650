"""Speech without speech: voice activity by loudness, an STT that hears what it is told, a TTS that speaks a tone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import numpy as np
from pipecat.frames.frames import (
    Frame,
    InterimTranscriptionFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.settings import TTSSettings
from pipecat.services.tts_service import TTSService

from trunkline.core.units import FRAME_S, SAMPLE_RATE_HZ, Pcm, level_dbfs, s_to_samples
from trunkline.media.engine import CallerFrame


def tone(length_s: float, dbfs: float = -20.0, hz: float = 440.0) -> Pcm:
    """A sine: int16, mono, 16000 Hz."""
    time_s = np.arange(s_to_samples(length_s)) / SAMPLE_RATE_HZ
    samples: Pcm = (32767 * 10 ** (dbfs / 20) * np.sqrt(2) * np.sin(2 * np.pi * hz * time_s)).astype(np.int16)
    return samples


def silence(length_s: float) -> Pcm:
    """Zeros: int16, mono, 16000 Hz."""
    return np.zeros(s_to_samples(length_s), dtype=np.int16)


class LoudnessStream:
    """One call's stream of `LoudnessActivity`."""

    def __init__(self, on_window: Callable[[float, float], None]) -> None:
        self._on_window = on_window
        self._closed = False

    def feed(self, frame: CallerFrame, hurry: bool = True) -> None:
        """A window a frame: sure of speech where it is louder than -40 dBFS."""
        if not self._closed:
            loud = level_dbfs(frame.samples) > -40.0
            self._on_window(frame.ended_at - FRAME_S, 1.0 if loud else 0.0)

    def reset(self) -> None:
        """Has nothing to forget."""

    def rest(self) -> None:
        """Has nothing to forget."""

    def close(self) -> None:
        self._closed = True


class LoudnessActivity:
    """Stands in for the voice activity model: whatever is loud is speech."""

    def open(self, on_window: Callable[[float, float], None]) -> LoudnessStream:
        return LoudnessStream(on_window)


class ToldStt(FrameProcessor):
    """Understands the next of the given sentences with each burst, whatever is said.

    Args:
        sentences: What is understood, in order; empty text is nothing understood. After the last, nothing comes.
        partial_s: When the first partial comes after the start of the burst; 0 for none.
        final_s: When the final comes after the end of the burst.
    """

    def __init__(self, sentences: list[str], partial_s: float = 0.0, final_s: float = 0.05, **kwargs: Any) -> None:
        super().__init__(name="told-stt", **kwargs)
        self._sentences = list(sentences)
        self._partial_s = partial_s
        self._final_s = final_s

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)
        if isinstance(frame, VADUserStartedSpeakingFrame) and self._partial_s and self._sentences:
            await asyncio.sleep(self._partial_s)
            await self.push_frame(InterimTranscriptionFrame(self._sentences[0], "", ""))
        elif isinstance(frame, VADUserStoppedSpeakingFrame) and self._sentences:
            await asyncio.sleep(self._final_s)
            await self.push_frame(TranscriptionFrame(self._sentences.pop(0), "", "", finalized=True))


class ToneTts(TTSService):
    """Says every sentence as a tone.

    Args:
        length_s: How long each sentence is.
        first_s: How long until its first sound.
        fails: Raises instead of speaking.
    """

    def __init__(self, length_s: float = 1.0, first_s: float = 0.1, fails: bool = False, **kwargs: Any) -> None:
        super().__init__(settings=TTSSettings(model=None, voice=None, language=None), name="tone-tts", **kwargs)
        self._length_s = length_s
        self._first_s = first_s
        self._fails = fails
        self.said: list[str] = []

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame | None, None]:
        self.said.append(text)
        await asyncio.sleep(self._first_s)
        if self._fails:
            raise RuntimeError("this voice is broken")
        samples = tone(self._length_s)
        for start in range(0, samples.size, 1_600):
            yield TTSAudioRawFrame(samples[start : start + 1_600].tobytes(), SAMPLE_RATE_HZ, 1, context_id=context_id)
