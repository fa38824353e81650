"""The processor between STT and TTS: hears the words, and speaks when it is told to.

It decides nothing. Words go to the conversation's turn machine; what the machine wants said, or taken back, comes back
through `speak` and `interrupt`, and leaves in that order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from pipecat.frames.frames import (
    CancelFrame,
    EndFrame,
    Frame,
    InterimTranscriptionFrame,
    InterruptionFrame,
    StartFrame,
    TranscriptionFrame,
    TTSSpeakFrame,
)
from pipecat.processors.frame_processor import FrameDirection

from trunkline.agent.pipeline.local_stt import NothingUnderstoodFrame
from trunkline.core.turn_events import FinalHeard, PartialHeard
from trunkline.media.stage import Stage
from trunkline.media.transport import ReplyEndFrame, ReplyStartFrame

MAX_WAITING = 256
"""Sentences of one answer that may wait for the TTS. More can't come: the brain waits in `speak`."""


def confidence_of(frame: InterimTranscriptionFrame) -> float:
    """How sure the recognizer is of these words, from 0 to 1; where it does not tell, 1.

    Recognizers tell it in their own message: Deepgram of the best alternative, others of each word.
    """
    message: Any = frame.result
    try:
        words = getattr(message, "words", None) or [message.channel.alternatives[0]]
        return min(float(word.confidence) for word in words)
    except (AttributeError, LookupError, TypeError, ValueError):
        return 1.0


class TurnTaking(Stage):
    """Stands between words heard and words said.

    Args:
        on_words: Takes what STT understood.
    """

    def __init__(self, on_words: Callable[[PartialHeard | FinalHeard], None], **kwargs: Any) -> None:
        super().__init__(name="turn-taking", **kwargs)
        self._on_words = on_words
        self._saying: asyncio.Queue[Frame] = asyncio.Queue(MAX_WAITING)
        self._task: asyncio.Task[None] | None = None

    async def begin(self, utterance: int) -> None:
        """What is spoken from now on belongs to this utterance."""
        await self._saying.put(ReplyStartFrame(utterance=utterance))

    async def speak(self, sentence: str) -> None:
        """Has the TTS say one sentence."""
        await self._saying.put(TTSSpeakFrame(sentence, append_to_context=False))

    async def end(self, utterance: int) -> None:
        """The answer is complete."""
        await self._saying.put(ReplyEndFrame(utterance=utterance))

    def interrupt(self) -> None:
        """Takes back everything that is not spoken yet. STT, upstream, hears on undisturbed."""
        while not self._saying.empty():
            self._saying.get_nowait()
        self._saying.put_nowait(InterruptionFrame())

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Takes transcriptions; passes everything else on."""
        await super().process_frame(frame, direction)
        if isinstance(frame, InterimTranscriptionFrame):
            self._on_words(PartialHeard(frame.text.strip(), confidence_of(frame)))
            return
        if isinstance(frame, TranscriptionFrame):
            self._on_words(FinalHeard(frame.text.strip(), last=frame.finalized))
            return
        if isinstance(frame, NothingUnderstoodFrame):
            self._on_words(FinalHeard(""))
            return
        if isinstance(frame, (EndFrame, CancelFrame)):
            await self._stop()
        await self.push_frame(frame, direction)
        if isinstance(frame, StartFrame) and self._task is None:
            self._task = self.create_task(self._say())

    async def cleanup(self) -> None:
        """Ends the task, whichever way the pipeline ended."""
        await self._stop()
        await super().cleanup()  # type: ignore[no-untyped-call]

    async def _say(self) -> None:
        while True:
            await self.push_frame(await self._saying.get())

    async def _stop(self) -> None:
        if self._task is not None:
            task, self._task = self._task, None
            await self.cancel_task(task)
