"""The ear of one call, by STT_PROVIDER, and the check of all providers at the worker's start.

How each name becomes a service is in `providers.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from trunkline.agent.brains.choice import check_brain
from trunkline.agent.pipeline.extras import wanted_stt
from trunkline.agent.pipeline.providers import shared_recognizer, stt_row
from trunkline.agent.pipeline.tts import check_tts, tts_warm
from trunkline.settings import Settings

if TYPE_CHECKING:
    from pipecat.processors.frame_processor import FrameProcessor


def make_stt(settings: Settings) -> FrameProcessor:
    """The speech recognition of one call, without its standby.

    Raises:
        ConfigError: unknown name, missing key, missing package, or a wrong list of phrases.
    """
    wanted = wanted_stt(settings)[0]
    row = stt_row(wanted)
    row.check(wanted)
    service: FrameProcessor = row.make(wanted)
    return service


def check_providers(settings: Settings) -> None:
    """Checks what the calls of a worker will hear, think and speak with. Takes up to half a second; called at start.

    Raises:
        ConfigError: what is missing or wrong, and what to do.
    """
    for wanted in wanted_stt(settings):
        stt_row(wanted).check(wanted)
    check_tts(settings)
    check_brain(settings)


@asynccontextmanager
async def providers_warm(settings: Settings) -> AsyncIterator[None]:
    """Keeps the processes of local speech running while no call does, so that the first call need not start them.

    Raises:
        UpstreamError: they don't start.
    """
    async with tts_warm(settings), AsyncExitStack() as held:
        for wanted in wanted_stt(settings):
            if wanted.name == "local":
                recognizer = shared_recognizer(wanted)
                await recognizer.hold()
                held.push_async_callback(recognizer.release)
        yield
