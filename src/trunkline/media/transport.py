"""Pipecat's side of the call's audio: the first and the last processor of a call's pipeline.

`CallerInput` brings in what the caller says, and only that: audio enters while somebody speaks, framed by
`VADUserStartedSpeakingFrame` and `VADUserStoppedSpeakingFrame`. `AgentOutput` takes the answer's audio out, between the
`ReplyStartFrame` and the `ReplyEndFrame` that say which utterance it is. Neither touches a frame of silence: a
full-duplex stream of 50 frames a second through every processor is what would fill a worker's loop.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from pipecat.frames.frames import (
    AggregatedTextFrame,
    CancelFrame,
    ControlFrame,
    EndFrame,
    Frame,
    InputAudioRawFrame,
    StartFrame,
    SystemFrame,
    TTSAudioRawFrame,
    TTSTextFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.frame_processor import FrameDirection

from trunkline.core.units import SAMPLE_RATE_HZ, Pcm
from trunkline.media.stage import Stage

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


@dataclass
class SoundAheadFrame(VADUserStartedSpeakingFrame):
    """What follows may be speech; `SpeechSureFrame` says that it is, `SoundTakenBackFrame` that it is none."""


@dataclass
class SpeechSureFrame(SystemFrame):
    """What came since the `SoundAheadFrame` is the caller's speech."""


@dataclass
class SoundTakenBackFrame(SystemFrame):
    """What came since the `SoundAheadFrame` was a noise. Nothing is to come of it."""


@dataclass
class SpeechGoesOnFrame(SystemFrame):
    """The caller, who seemed to have stopped, goes on with the same burst; its audio has no gap."""


class CallerInput(Stage):
    """Lets the caller's speech into the pipeline.

    The waiting line is bounded: where the pipeline does not take audio, the oldest is dropped and counted; the frames
    that say where speech starts and stops are never dropped.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(name="caller-input", **kwargs)
        self.dropped_frames = 0
        self._waiting: list[SystemFrame] = []
        self._audio_frames = 0
        self._something = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start_speech(self) -> None:
        """The caller began to speak."""
        self._put(VADUserStartedSpeakingFrame(start_secs=0.0))

    def start_ahead(self) -> None:
        """The caller may begin to speak: `be_sure` or `take_back` follows."""
        self._put(SoundAheadFrame(start_secs=0.0))

    def be_sure(self) -> None:
        """What was let in ahead is speech."""
        self._put(SpeechSureFrame())

    def take_back(self) -> None:
        """What was let in ahead is none."""
        self._put(SoundTakenBackFrame())

    def go_on(self) -> None:
        """The caller goes on, who had been said to have stopped; what was let in meanwhile is a part of it."""
        self._put(SpeechGoesOnFrame())

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
            # Straight to who hears it: 50 frames a second need none of what a pipeline does for others.
            hears = self.next
            assert hears is not None
            for frame in ready:
                await hears.queue_frame(frame)

    async def _stop(self) -> None:
        if self._task is not None:
            task, self._task = self._task, None
            await self.cancel_task(task)


class SpeechSink(Protocol):
    """Takes what the voice makes. A piece is what was asked of it at once: one sentence and its audio."""

    def on_sentence(self, utterance: int, piece: str, text: str) -> None:
        """The audio of this piece, which comes next, says this text."""
        ...

    def on_audio(self, utterance: int, piece: str, samples: Pcm) -> None:
        """More audio: int16, mono, 16000 Hz."""
        ...

    def on_word(self, utterance: int, piece: str, at_s: float) -> None:
        """The next word of a piece begins at this instant of a clock that runs with its audio."""
        ...

    def on_reply_end(self, utterance: int) -> None:
        """Nothing more comes of this utterance."""
        ...


class AgentOutput(Stage):
    """Hands the answer's audio, and what it says, to the conversation.

    Args:
        sink: Takes both.
    """

    def __init__(self, sink: SpeechSink, **kwargs: Any) -> None:
        super().__init__(name="agent-output", **kwargs)
        self._sink = sink
        self._utterance = 0

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Takes audio and the frames around it; passes everything else on."""
        await super().process_frame(frame, direction)
        if isinstance(frame, TTSAudioRawFrame):
            samples = np.frombuffer(frame.audio, dtype=np.int16)
            self._sink.on_audio(self._utterance, frame.context_id or "", samples)
            return
        if isinstance(frame, ReplyStartFrame):
            self._utterance = frame.utterance
        elif isinstance(frame, ReplyEndFrame):
            self._sink.on_reply_end(frame.utterance)
        elif isinstance(frame, TTSTextFrame):
            # Without an instant it is the whole sentence again, after its audio.
            if frame.pts:
                self._sink.on_word(self._utterance, frame.context_id or "", frame.pts / 1e9)
        elif isinstance(frame, AggregatedTextFrame):
            self._sink.on_sentence(self._utterance, frame.context_id or "", frame.text)
        await self.push_frame(frame, direction)
