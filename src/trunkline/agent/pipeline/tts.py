"""How each name of TTS_PROVIDER becomes a Pipecat service.

A provider of one's own is one entry in `TTS_PROVIDERS`: a check that raises ConfigError, and a function that makes the
service for one call.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trunkline.agent.pipeline.espeak import DEFAULT_VOICE, Espeak, check_voice
from trunkline.agent.pipeline.extras import import_service, refuse_url, require_key, require_url
from trunkline.core.errors import ConfigError
from trunkline.core.units import SAMPLE_RATE_HZ
from trunkline.settings import Settings

if TYPE_CHECKING:
    from pipecat.processors.frame_processor import FrameProcessor

ELEVENLABS_URL = "wss://api.elevenlabs.io"
ELEVENLABS_VOICE = "21m00Tcm4TlvDq8ikWAM"
"""Of ElevenLabs' ready-made voices, where TTS_VOICE is empty."""
CARTESIA_VOICE = "71a7ad14-091c-4e8e-a314-022ece01c121"
"""The voice of Pipecat's own examples, where TTS_VOICE is empty."""

_espeaks: dict[str, Espeak] = {}


@dataclass(frozen=True, slots=True)
class TtsProvider:
    """One row of the table."""

    check: Callable[[Settings], None]
    make: Callable[[Settings], FrameProcessor]


def make_tts(settings: Settings) -> FrameProcessor:
    """The speech synthesis of one call.

    Raises:
        ConfigError: unknown name, missing key or missing package.
    """
    return _provider(settings).make(settings)


def check_tts(settings: Settings) -> None:
    """Raises ConfigError where TTS_PROVIDER, its key, its voice or what it needs installed is missing or wrong."""
    _provider(settings).check(settings)


@asynccontextmanager
async def tts_warm(settings: Settings) -> AsyncIterator[None]:
    """Keeps espeak-ng's waiting processes while no call does. Raises UpstreamError where they don't start."""
    if settings.tts_provider != "local":
        yield
        return
    espeak = _shared_espeak(settings)
    await espeak.hold()
    try:
        yield
    finally:
        await espeak.release()


def _provider(settings: Settings) -> TtsProvider:
    name = settings.tts_provider
    if name not in TTS_PROVIDERS:
        raise ConfigError(f"TTS_PROVIDER={name!r} is unknown", f"known: {', '.join(sorted(TTS_PROVIDERS))}")
    return TTS_PROVIDERS[name]


def _local_voice(settings: Settings) -> str:
    return settings.tts_voice or DEFAULT_VOICE


def _check_local(settings: Settings) -> None:
    check_voice(_local_voice(settings))


def _shared_espeak(settings: Settings) -> Espeak:
    """One set of processes for each voice."""
    return _espeaks.setdefault(_local_voice(settings), Espeak(_local_voice(settings)))


def _make_local(settings: Settings) -> FrameProcessor:
    from trunkline.agent.pipeline.local_tts import EspeakTTSService

    return EspeakTTSService(_shared_espeak(settings), _local_voice(settings))


def _service(module: str, name: str, default_voice: str) -> TtsProvider:
    """A row for one of Pipecat's services, whose constructor takes an API key and a voice."""

    def check(settings: Settings) -> None:
        require_key(settings.tts_api_key, "TTS", settings.tts_provider)
        refuse_url(settings.tts_url, "TTS", settings.tts_provider)
        import_service(module, name, settings.tts_provider)

    def make(settings: Settings) -> Any:
        check(settings)
        service = import_service(module, name, settings.tts_provider)
        return service(
            api_key=settings.tts_api_key.get_secret_value(),
            sample_rate=SAMPLE_RATE_HZ,
            settings=service.Settings(voice=settings.tts_voice or default_voice),
        )

    return TtsProvider(check, make)


def _check_elevenlabs(settings: Settings) -> None:
    require_key(settings.tts_api_key, "TTS", settings.tts_provider)
    _elevenlabs_service()


def _make_elevenlabs(settings: Settings) -> Any:
    _check_elevenlabs(settings)
    service = _elevenlabs_service()
    return service(
        api_key=settings.tts_api_key.get_secret_value(),
        url=settings.tts_url or ELEVENLABS_URL,
        sample_rate=SAMPLE_RATE_HZ,
        settings=service.Settings(voice=settings.tts_voice or ELEVENLABS_VOICE),
    )


def _check_emulated(settings: Settings) -> None:
    require_url(settings.tts_url, "TTS")
    _elevenlabs_service()


def _make_emulated(settings: Settings) -> Any:
    """ElevenLabs' service, which does not know that it talks to an emulator."""
    _check_emulated(settings)
    service = _elevenlabs_service()
    return service(
        name="emulated-tts",
        api_key="emulated",
        url=settings.tts_url,
        sample_rate=SAMPLE_RATE_HZ,
        settings=service.Settings(voice="emulated"),
    )


def _elevenlabs_service() -> Any:
    return import_service("pipecat.services.elevenlabs.tts", "ElevenLabsTTSService", "elevenlabs")


TTS_PROVIDERS: dict[str, TtsProvider] = {
    "local": TtsProvider(_check_local, _make_local),
    "elevenlabs": TtsProvider(_check_elevenlabs, _make_elevenlabs),
    "cartesia": _service("pipecat.services.cartesia.tts", "CartesiaTTSService", CARTESIA_VOICE),
    "emulated": TtsProvider(_check_emulated, _make_emulated),
}
