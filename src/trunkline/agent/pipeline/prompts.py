"""Fixed prompts: spoken once at the worker's start, and kept.

So they cost nothing and wait for nobody; and the one that says good-bye does not need the provider that failed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import structlog
from pipecat.frames.frames import Frame, TTSAudioRawFrame, TTSSpeakFrame, TTSStoppedFrame
from pipecat.processors.frame_processor import FrameDirection

from trunkline.agent.pipeline.assembly import CallPipeline
from trunkline.agent.pipeline.extras import Wanted, wanted_tts
from trunkline.agent.pipeline.providers import TTS_PROVIDERS, tts_row
from trunkline.core.errors import AgentError, ConfigError
from trunkline.core.units import Pcm
from trunkline.media.stage import Stage
from trunkline.settings import Settings

log = structlog.get_logger()

FAREWELL = "I am sorry, there is a technical problem. Please call again later. Good-bye."
"""What the caller hears where no provider is left."""
SPEAK_TIMEOUT_S = 8.0
"""For one prompt by one provider."""
START_TIMEOUT_S = 5.0


class Prompts:
    """The prompts of a worker.

    Args:
        settings: Name the voices.
    """

    def __init__(self, settings: Settings) -> None:
        self._voices = wanted_tts(settings)
        self._kept: dict[str, Pcm] = {}

    def of(self, text: str) -> Pcm | None:
        """The sound of a prompt (int16, mono, 16,000 Hz), or None where it is no prompt that is kept."""
        return self._kept.get(text)

    async def prepare(self, texts: Sequence[str] = (FAREWELL,)) -> None:
        """Speaks what is not kept yet, with the first voice that can; the farewell with the local one if need be."""
        for voice in self._voices:
            await self._speak(voice, [text for text in texts if text not in self._kept])
        if FAREWELL in texts and FAREWELL not in self._kept:
            await self._speak(Wanted("TTS", "local"), [FAREWELL])
        missing = [text for text in texts if text not in self._kept]
        if missing:
            log.warning("prompts_not_spoken", prompts=missing)

    async def _speak(self, voice: Wanted, texts: Sequence[str]) -> None:
        if not texts or voice.name not in TTS_PROVIDERS:
            return
        try:
            row = tts_row(voice)
            row.check(voice)
            spoken = _Spoken()
            pipeline = CallPipeline([row.make(voice), spoken], spoken.on_error)
            try:
                await pipeline.start(START_TIMEOUT_S)
                for text in texts:
                    pcm = await spoken.say(pipeline, text)
                    if pcm.size:
                        self._kept[text] = pcm
            finally:
                await pipeline.stop()
        except (TimeoutError, AgentError, ConfigError) as error:
            log.warning("prompt_failed", voice=voice.name, error=repr(error))


class _Spoken(Stage):
    """Takes the sound of one text after the other."""

    def __init__(self) -> None:
        super().__init__(name="prompts")
        self._pieces: list[bytes] = []
        self._over = asyncio.Event()
        self._failed = False

    def on_error(self, stage: str, error: str) -> None:
        log.warning("prompt_failed", voice=stage, error=error)
        self._failed = True
        self._over.set()

    async def say(self, pipeline: CallPipeline, text: str) -> Pcm:
        """The sound of a text; empty where it failed. Raises TimeoutError."""
        self._pieces.clear()
        self._over.clear()
        if self._failed:
            return np.empty(0, np.int16)
        await pipeline.feed(TTSSpeakFrame(text, append_to_context=False))
        async with asyncio.timeout(SPEAK_TIMEOUT_S):
            await self._over.wait()
        return np.frombuffer(b"" if self._failed else b"".join(self._pieces), dtype=np.int16)

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, TTSAudioRawFrame):
            self._pieces.append(frame.audio)
        elif isinstance(frame, TTSStoppedFrame):
            self._over.set()
        await self.push_frame(frame, direction)
