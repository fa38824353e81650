"""Text to speech without a key: Pipecat's side of espeak-ng.

In: text, sentence by sentence, as Pipecat's TTS services take it. Out: `TTSStartedFrame`, `TTSAudioRawFrame`s of at
most 60 ms, `TTSTextFrame`, `TTSStoppedFrame`. The speech comes at about -20 dBFS, as espeak-ng makes it
(measured: -20.6 to -19.0 dBFS with six voices, no sample clipped).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import numpy as np
from pipecat.frames.frames import CancelFrame, EndFrame, ErrorFrame, Frame, StartFrame, TTSAudioRawFrame
from pipecat.services.settings import TTSSettings
from pipecat.services.tts_service import TTSService
from pipecat.transcriptions.language import Language

from trunkline.agent.pipeline.espeak import Espeak, Utterance, speakable
from trunkline.agent.pipeline.speech_shape import SpeechShape
from trunkline.core.errors import UpstreamError
from trunkline.core.units import FRAME_S, SAMPLE_RATE_HZ

FRAMES_A_PIECE = 3
"""Audio goes on in pieces of 60 ms; it is made far faster than it is played, so larger ones would gain nothing."""


@dataclass
class EspeakTTSSettings(TTSSettings):
    """Pipecat's record of what this service was set to."""


class EspeakTTSService(TTSService):
    """Speaks to one caller.

    Args:
        espeak: The worker's processes; held from start to end of the pipeline.
        voice: Told to Pipecat only; the processes were made with it.
    """

    Settings = EspeakTTSSettings

    def __init__(self, espeak: Espeak, voice: str = "", **kwargs: Any) -> None:
        super().__init__(
            sample_rate=SAMPLE_RATE_HZ,
            push_start_frame=True,
            push_stop_frames=True,
            max_consecutive_zero_audio_contexts=0,
            settings=EspeakTTSSettings(model="espeak-ng", voice=voice, language=Language.EN_US),
            **kwargs,
        )
        self._espeak = espeak
        self._holding = False
        self._utterance: Utterance | None = None

    def can_generate_metrics(self) -> bool:
        """True: Pipecat measures the time to the first audio."""
        return True

    async def start(self, frame: StartFrame) -> None:
        """Holds the processes; where espeak-ng can't be had, tells so once and takes no more work."""
        await super().start(frame)
        try:
            await self._espeak.hold()
            self._holding = True
        except UpstreamError as error:
            await self.push_error(str(error), exception=error, force_treat_as_permanent=True)

    async def stop(self, frame: EndFrame) -> None:
        """Speaks to the end, then lets go."""
        await super().stop(frame)
        await self._let_go()

    async def cancel(self, frame: CancelFrame) -> None:
        """Stops speaking and lets go."""
        self._silence()
        await super().cancel(frame)
        await self._let_go()

    async def cleanup(self) -> None:
        """Lets go where neither end nor cancel came by."""
        await self._let_go()
        await super().cleanup()  # type: ignore[no-untyped-call]

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame | None, None]:
        """Speaks a piece of text. Interrupted, its process is killed and what was not yielded is lost.

        Args:
            text: Words for people; markup in it is not obeyed.
            context_id: Pipecat's name of this answer.
        """
        words = speakable(text)
        if not words:
            return
        await self.start_tts_usage_metrics(words)
        utterance = None
        try:
            utterance = self._utterance = await self._espeak.say(words)
            async for piece in self._pieces(utterance):
                yield TTSAudioRawFrame(piece, self.sample_rate, 1, context_id=context_id)
        except UpstreamError as error:
            yield ErrorFrame(error=str(error), exception=error)
        finally:
            if utterance is not None:
                self._espeak.end(utterance)

    async def on_turn_context_completed(self) -> None:
        """Closes the answer's audio as soon as `run_tts` is done, also where it failed and gave none."""
        self._is_yielding_frames_synchronously = True
        await super().on_turn_context_completed()  # type: ignore[no-untyped-call]

    async def _pieces(self, utterance: Utterance) -> AsyncGenerator[bytes, None]:
        """The sentence in pieces: PCM int16, mono, at the pipeline's rate, whole frames of 20 ms, at most three."""
        frame_samples = round(FRAME_S * self.sample_rate)
        piece_samples = FRAMES_A_PIECE * frame_samples
        shape: SpeechShape | None = None
        waiting = np.empty(0, np.int16)
        while (speech := await utterance.next()) is not None:
            shape = shape or SpeechShape(speech.sample_rate_hz, self.sample_rate)
            waiting = np.concatenate((waiting, shape.feed(speech.pcm)))
            while waiting.size >= frame_samples:
                taken = min(piece_samples, waiting.size // frame_samples * frame_samples)
                yield waiting[:taken].tobytes()
                waiting = waiting[taken:]
        if shape is not None:
            waiting = np.concatenate((waiting, shape.end()))
            waiting = np.pad(waiting, (0, -waiting.size % frame_samples))
            for at in range(0, waiting.size, piece_samples):
                yield waiting[at : at + piece_samples].tobytes()

    async def _interrupt_audio_contexts(self) -> None:
        self._silence()
        await super()._interrupt_audio_contexts()  # type: ignore[no-untyped-call]

    def _silence(self) -> None:
        if self._utterance is not None:
            self._espeak.end(self._utterance)
            self._utterance = None

    async def _let_go(self) -> None:
        self._silence()
        if self._holding:
            self._holding = False
            await self._espeak.release()
