"""How each name of STT_PROVIDER becomes a Pipecat service, and the check of all providers at the worker's start.

A provider of one's own is one entry in `STT_PROVIDERS`: a check that raises ConfigError, and a function that makes the
service for one call.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trunkline.agent.brains.choice import make_brain
from trunkline.agent.pipeline.extras import import_service, refuse_url, require_key, require_url
from trunkline.agent.pipeline.phrases import load_phrases
from trunkline.agent.pipeline.recognizer import Recognizer
from trunkline.agent.pipeline.tts import check_tts, tts_warm
from trunkline.core.errors import ConfigError
from trunkline.settings import Settings

if TYPE_CHECKING:
    from pipecat.processors.frame_processor import FrameProcessor

DIRECT: Any = {"audio_passthrough": False, "enable_direct_mode": True}
"""How a service on a socket is fed: a frame is sent by the task that brings it, and goes no further than here. A queue
and a task a stage, for fifty frames a second that nobody below needs, were a quarter of a call's cost."""

_recognizers: dict[str, Recognizer] = {}


@dataclass(frozen=True, slots=True)
class SttProvider:
    """One row of the table."""

    check: Callable[[Settings], None]
    make: Callable[[Settings], FrameProcessor]


def make_stt(settings: Settings) -> FrameProcessor:
    """The speech recognition of one call.

    Raises:
        ConfigError: unknown name, missing key, missing package, or a wrong list of phrases.
    """
    provider = _provider(settings)
    provider.check(settings)
    return provider.make(settings)


def check_providers(settings: Settings) -> None:
    """Checks what the calls of a worker will hear, think and speak with. Takes up to half a second; called at start.

    Raises:
        ConfigError: what is missing or wrong, and what to do.
    """
    _provider(settings).check(settings)
    check_tts(settings)
    make_brain(settings)


@asynccontextmanager
async def providers_warm(settings: Settings) -> AsyncIterator[None]:
    """Keeps the processes of local speech running while no call does, so that the first call need not start them.

    Raises:
        UpstreamError: they don't start.
    """
    async with tts_warm(settings):
        if settings.stt_provider != "local":
            yield
            return
        recognizer = _shared_recognizer(settings)
        await recognizer.hold()
        try:
            yield
        finally:
            await recognizer.release()


def _provider(settings: Settings) -> SttProvider:
    name = settings.stt_provider
    if name not in STT_PROVIDERS:
        raise ConfigError(f"STT_PROVIDER={name!r} is unknown", f"known: {', '.join(sorted(STT_PROVIDERS))}")
    return STT_PROVIDERS[name]


def _check_local(settings: Settings) -> None:
    _shared_recognizer(settings)


def _shared_recognizer(settings: Settings) -> Recognizer:
    """One recognizer for each list of phrases; its file is read once."""
    key = str(settings.stt_phrases or "")
    if key not in _recognizers:
        _recognizers[key] = Recognizer(load_phrases(settings.stt_phrases))
    return _recognizers[key]


def _make_local(settings: Settings) -> FrameProcessor:
    from trunkline.agent.pipeline.local_stt import PocketsphinxSTTService

    return PocketsphinxSTTService(_shared_recognizer(settings))


def _service(module: str, name: str) -> SttProvider:
    """A row for one of Pipecat's services, whose constructor takes an API key."""

    def check(settings: Settings) -> None:
        require_key(settings.stt_api_key, "STT", settings.stt_provider)
        refuse_url(settings.stt_url, "STT", settings.stt_provider)
        import_service(module, name, settings.stt_provider)

    def make(settings: Settings) -> Any:
        service = import_service(module, name, settings.stt_provider)
        return service(api_key=settings.stt_api_key.get_secret_value(), **DIRECT)

    return SttProvider(check, make)


def _check_deepgram(settings: Settings) -> None:
    require_key(settings.stt_api_key, "STT", settings.stt_provider)
    _deepgram_service()


def _make_deepgram(settings: Settings) -> Any:
    service = _deepgram_service()
    # Where the caller stops is the endpointer's decision; Deepgram's own would cut a sentence at its pauses.
    return service(
        api_key=settings.stt_api_key.get_secret_value(),
        base_url=settings.stt_url,
        settings=service.Settings(endpointing=False),
        **DIRECT,
    )


def _check_emulated(settings: Settings) -> None:
    require_url(settings.stt_url, "STT")
    _deepgram_service()


def _make_emulated(settings: Settings) -> Any:
    """Deepgram's service, which does not know that it talks to an emulator."""
    service = _deepgram_service()
    return service(
        name="emulated-stt",
        api_key="emulated",
        base_url=settings.stt_url,
        settings=service.Settings(endpointing=False),
        **DIRECT,
    )


def _deepgram_service() -> Any:
    return import_service("pipecat.services.deepgram.stt", "DeepgramSTTService", "deepgram")


STT_PROVIDERS: dict[str, SttProvider] = {
    "local": SttProvider(_check_local, _make_local),
    "deepgram": SttProvider(_check_deepgram, _make_deepgram),
    "assemblyai": _service("pipecat.services.assemblyai.stt", "AssemblyAISTTService"),
    "emulated": SttProvider(_check_emulated, _make_emulated),
}
