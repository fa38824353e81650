"""Speech to text without a key: Pipecat's side of the local recognizer.

In: one burst of the caller as `VADUserStartedSpeakingFrame`, `InputAudioRawFrame`s (16 kHz mono), and
`VADUserStoppedSpeakingFrame`. Out: `InterimTranscriptionFrame`s while it lasts, then exactly one
`TranscriptionFrame` (finalized) or `NothingUnderstoodFrame`. It only understands a list of sentences (`phrases.py`):
a demonstrator, not a dictation.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

from pipecat.frames.frames import (
    CancelFrame,
    DataFrame,
    EndFrame,
    Frame,
    InterimTranscriptionFrame,
    StartFrame,
    TranscriptionFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.services.settings import STTSettings
from pipecat.services.stt_service import STTService
from pipecat.transcriptions.language import Language
from pipecat.utils.time import time_now_iso8601

from trunkline.agent.pipeline.recognizer import Burst, Heard, Recognizer
from trunkline.core.errors import UpstreamError
from trunkline.core.units import SAMPLE_RATE_HZ

FINAL_P99_S = 0.05
"""From the stop frame to the sentence, as `benchmarks/local_speech.py` shows; told to Pipecat's turn strategies."""


@dataclass
class NothingUnderstoodFrame(DataFrame):
    """A burst is over and none of the sentences was said. Stands in for an empty transcription, which others drop."""


class PocketsphinxSTTService(STTService):
    """Understands a few sentences of one caller.

    Args:
        recognizer: The worker's recognizer; held from start to end of the pipeline.
    """

    def __init__(self, recognizer: Recognizer, **kwargs: Any) -> None:
        super().__init__(
            sample_rate=SAMPLE_RATE_HZ,
            audio_passthrough=False,
            ttfs_p99_latency=FINAL_P99_S,
            settings=STTSettings(model="pocketsphinx-en-us", language=Language.EN_US),
            **kwargs,
        )
        self._recognizer = recognizer
        self._holding = False
        self._burst: Burst | None = None
        self.dropped_pieces = 0

    def can_generate_metrics(self) -> bool:
        """True: Pipecat measures the time from the end of speech to the sentence."""
        return True

    async def start(self, frame: StartFrame) -> None:
        """Holds the recognizer; where it can't be had, tells so once and takes no more work."""
        await super().start(frame)
        try:
            await self._recognizer.hold()
            self._holding = True
        except UpstreamError as error:
            await self.push_error(str(error), exception=error, force_treat_as_permanent=True)

    async def stop(self, frame: EndFrame) -> None:
        """Lets go of the recognizer."""
        await super().stop(frame)
        await self._let_go()

    async def cancel(self, frame: CancelFrame) -> None:
        """Lets go of the recognizer."""
        await super().cancel(frame)
        await self._let_go()

    async def cleanup(self) -> None:
        """Lets go of the recognizer where neither end nor cancel came by."""
        await self._let_go()
        await super().cleanup()  # type: ignore[no-untyped-call]

    async def run_stt(self, audio: bytes) -> AsyncGenerator[Frame | None, None]:
        """Hands audio to the recognizer; its words come through the burst's own task.

        Args:
            audio: PCM int16, mono, 16,000 Hz. Outside a burst it is not listened to.
        """
        if self._burst is not None:
            self._burst.feed(audio)
        yield None

    async def _handle_vad_user_started_speaking(self, frame: VADUserStartedSpeakingFrame) -> None:
        await super()._handle_vad_user_started_speaking(frame)
        self._drop_burst()
        if self._holding:
            burst = self._burst = self._recognizer.begin()
            self.create_task(self._follow(burst), name=f"burst-{burst.number}")

    async def _handle_vad_user_stopped_speaking(self, frame: VADUserStoppedSpeakingFrame) -> None:
        await super()._handle_vad_user_stopped_speaking(frame)
        if self._burst is not None:
            self._burst.finish()
        else:
            await self.push_frame(NothingUnderstoodFrame())

    async def _follow(self, burst: Burst) -> None:
        async for heard in burst.heard():
            if burst is not self._burst:
                return
            await self._tell(heard)
            if heard.final and burst is self._burst:
                self._drop_burst()

    async def _tell(self, heard: Heard) -> None:
        now = time_now_iso8601()
        if not heard.final:
            await self.push_frame(InterimTranscriptionFrame(heard.text, self._user_id, now, Language.EN_US))
        elif heard.text:
            await self.push_frame(TranscriptionFrame(heard.text, self._user_id, now, Language.EN_US, finalized=True))
            await self.emit_stt_usage_metrics()  # type: ignore[no-untyped-call]
        else:
            if heard.problem:
                await self.push_error(f"nothing understood: {heard.problem}")
            await self.push_frame(NothingUnderstoodFrame())

    def _drop_burst(self) -> None:
        if self._burst is not None:
            self.dropped_pieces += self._burst.dropped_pieces
            self._burst.drop()
            self._burst = None

    async def _let_go(self) -> None:
        self._drop_burst()
        if self._holding:
            self._holding = False
            await self._recognizer.release()
