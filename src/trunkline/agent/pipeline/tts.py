"""The voice of one call, by TTS_PROVIDER; how each name becomes a service is in `providers.py`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from trunkline.agent.pipeline.extras import wanted_tts
from trunkline.agent.pipeline.providers import shared_espeak, tts_row
from trunkline.settings import Settings

if TYPE_CHECKING:
    from pipecat.processors.frame_processor import FrameProcessor


def make_tts(settings: Settings) -> FrameProcessor:
    """The speech synthesis of one call, without its standby.

    Raises:
        ConfigError: unknown name, missing key or missing package.
    """
    wanted = wanted_tts(settings)[0]
    row = tts_row(wanted)
    row.check(wanted)
    service: FrameProcessor = row.make(wanted)
    return service


def check_tts(settings: Settings) -> None:
    """Raises ConfigError where a voice, its key or what it needs installed is missing or wrong."""
    for wanted in wanted_tts(settings):
        tts_row(wanted).check(wanted)


@asynccontextmanager
async def tts_warm(settings: Settings) -> AsyncIterator[None]:
    """Keeps espeak-ng's waiting processes while no call does. Raises UpstreamError where they don't start."""
    async with AsyncExitStack() as held:
        for wanted in wanted_tts(settings):
            if wanted.name == "local":
                espeak = shared_espeak(wanted)
                await espeak.hold()
                held.push_async_callback(espeak.release)
        yield
