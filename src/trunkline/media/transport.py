"""Pipecat's side of the call's audio: the first and the last processor of a call's pipeline.

`CallerInput` brings in what the caller says, and only that: audio enters while somebody speaks, framed by
`VADUserStartedSpeakingFrame` and `VADUserStoppedSpeakingFrame`. `AgentOutput` takes the answer's audio out, between the
`ReplyStartFrame` and the `ReplyEndFrame` that say which utterance it is. Neither touches a frame of silence: a
full-duplex stream of 50 frames a second through every processor is what would fill a worker's loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from pipecat.frames.frames import (
    CancelFrame,
    ControlFrame,
    EndFrame,
    Frame,
    InputAudioRawFrame,
    StartFrame,
    SystemFrame,
    TTSAudioRawFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor

from trunkline.core.units import SAMPLE_RATE_HZ, Pcm

MAX_WAITING_FRAMES = 500
"""Ten seconds of speech that the pipeline has not taken yet; beyond it the oldest audio is dropped."""


@dataclass
class ReplyStartFrame(ControlFrame):
    """What follows belongs to this utterance. Stays in order with the audio."""

    utterance: int = 0


@dataclass
class ReplyEndFrame(ControlFrame):
    """Nothing more comes of this utterance. Stays in order with the audio."""

    utterance: int = 0


class CallerInput(FrameProcessor):
    """Lets the caller's speech into the pipeline.

    The waiting line is bounded: where the pipeline does not take audio, the oldest is dropped and counted; the frames
    that say where speech starts and stops are never dropped.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(name="caller-input", enable_direct_mode=True, **kwargs)
        self.dropped_frames = 0
        self._waiting: list[SystemFrame] = []
        self._audio_frames = 0
        self._something = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start_speech(self) -> None:
        """The caller began to speak."""
        self._put(VADUserStartedSpeakingFrame(start_secs=0.0))

    def audio(self, samples: Pcm) -> None:
        """Takes speech: int16, any length, mono, 16000 Hz."""
        if self._audio_frames >= MAX_WAITING_FRAMES:
            oldest = next(i for i, frame in enumerate(self._waiting) if isinstance(frame, InputAudioRawFrame))
            del self._waiting[oldest]
            self.dropped_frames += 1
        else:
            self._audio_frames += 1
        self._put(InputAudioRawFrame(audio=samples.tobytes(), sample_rate=SAMPLE_RATE_HZ, num_channels=1))

    def stop_speech(self, hangover_s: float) -> None:
        """The caller stopped `hangover_s` ago: STT may finish."""
        self._put(VADUserStoppedSpeakingFrame(stop_secs=hangover_s))

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Starts letting speech in when the pipeline starts, and stops when it ends."""
        await super().process_frame(frame, direction)
        if isinstance(frame, (EndFrame, CancelFrame)):
            await self._stop()
        await self.push_frame(frame, direction)
        if isinstance(frame, StartFrame) and self._task is None:
            self._task = self.create_task(self._let_in())

    async def cleanup(self) -> None:
        """Ends the task, whichever way the pipeline ended."""
        await self._stop()
        await super().cleanup()  # type: ignore[no-untyped-call]

    def _put(self, frame: SystemFrame) -> None:
        self._waiting.append(frame)
        self._something.set()

    async def _let_in(self) -> None:
        while True:
            await self._something.wait()
            self._something.clear()
            ready, self._waiting, self._audio_frames = self._waiting, [], 0
            for frame in ready:
                await self.push_frame(frame)

    async def _stop(self) -> None:
        if self._task is not None:
            task, self._task = self._task, None
            await self.cancel_task(task)


class AgentOutput(FrameProcessor):
    """Hands the answer's audio to the media engine.

    Args:
        on_audio: Takes (utterance, samples: int16, mono, 16000 Hz).
        on_end: Takes the utterance of which nothing more comes.
    """

    def __init__(self, on_audio: Callable[[int, Pcm], None], on_end: Callable[[int], None], **kwargs: Any) -> None:
        super().__init__(name="agent-output", enable_direct_mode=True, **kwargs)
        self._on_audio = on_audio
        self._on_end = on_end
        self._utterance = 0

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Takes audio and the frames around it; passes everything else on."""
        await super().process_frame(frame, direction)
        if isinstance(frame, TTSAudioRawFrame):
            self._on_audio(self._utterance, np.frombuffer(frame.audio, dtype=np.int16))
            return
        if isinstance(frame, ReplyStartFrame):
            self._utterance = frame.utterance
        elif isinstance(frame, ReplyEndFrame):
            self._on_end(frame.utterance)
        await self.push_frame(frame, direction)
