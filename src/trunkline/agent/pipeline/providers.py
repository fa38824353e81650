"""How each name of STT_PROVIDER and TTS_PROVIDER becomes a Pipecat service.

A provider of one's own is one row: a check that raises ConfigError, a function that makes the service for one call,
and, where Pipecat tells, what the standby needs to know of it (`Row`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from trunkline.agent.pipeline.espeak import DEFAULT_VOICE, Espeak, check_voice
from trunkline.agent.pipeline.extras import Wanted, import_service, refuse_url, require_key, require_model, require_url
from trunkline.agent.pipeline.phrases import load_phrases
from trunkline.agent.pipeline.recognizer import Recognizer
from trunkline.core.errors import ConfigError
from trunkline.core.units import SAMPLE_RATE_HZ

DIRECT: Any = {"audio_passthrough": False, "enable_direct_mode": True}
"""How a service on a socket is fed: a frame is sent by the task that brings it, and goes no further than here. A queue
and a task a stage, for fifty frames a second that nobody below needs, were a quarter of a call's cost."""
ASSEMBLYAI_URL = "wss://streaming.assemblyai.com"
ASSEMBLYAI_SILENCE_MS = 1_000
"""Longer than the endpointer's hangover, so that the vendor ends no sentence by itself; its own default."""
ELEVENLABS_URL = "wss://api.elevenlabs.io"
ELEVENLABS_VOICE = "21m00Tcm4TlvDq8ikWAM"
"""Of ElevenLabs' ready-made voices, where TTS_VOICE is empty."""
CARTESIA_URL = "wss://api.cartesia.ai"
CARTESIA_VOICE = "71a7ad14-091c-4e8e-a314-022ece01c121"
"""The voice of Pipecat's own examples, where TTS_VOICE is empty."""
WHISPER_FILES = ("model.bin", "config.json")

_recognizers: dict[str, Recognizer] = {}
_espeaks: dict[str, Espeak] = {}


@dataclass(frozen=True, slots=True)
class Row:
    """One provider.

    Attributes:
        check: Raises ConfigError where something that it needs is missing or wrong.
        make: The service for one call.
        listening: Name of the method that takes the vendor's messages, each a sign of life; empty: only words are.
        finished: Whether such a message says that all was understood up to where the client asked for a final.
        connected: Whether the service has a connection now.
        heard_s: Up to where, in seconds of its connection's audio, a final has the words; None: it doesn't tell.
        flows: It hears one stream, in which a noise does no harm, and gives what it has as final when it is asked,
            also in the middle of a sentence. Others hear utterances, each from its start to its end.
    """

    check: Callable[[Wanted], object]
    make: Callable[[Wanted], Any]
    listening: str = ""
    finished: Callable[[Any], bool] = lambda message: False
    connected: Callable[[Any], bool] = lambda service: True
    heard_s: Callable[[Any], float | None] = lambda result: None
    flows: bool = False


def stt_row(wanted: Wanted) -> Row:
    """Raises ConfigError for a name that nobody knows."""
    return _row(wanted, STT_PROVIDERS)


def tts_row(wanted: Wanted) -> Row:
    """Raises ConfigError for a name that nobody knows."""
    return _row(wanted, TTS_PROVIDERS)


def _row(wanted: Wanted, rows: dict[str, Row]) -> Row:
    if wanted.name not in rows:
        raise ConfigError(f"{wanted.kind}_PROVIDER={wanted.name!r} is unknown", f"known: {', '.join(sorted(rows))}")
    return rows[wanted.name]


def shared_recognizer(wanted: Wanted) -> Recognizer:
    """One local recognizer for each list of phrases; its file is read once. Raises ConfigError: the list is wrong."""
    key = str(wanted.phrases or wanted.script or "")
    if key not in _recognizers:
        _recognizers[key] = Recognizer(load_phrases(wanted.phrases, wanted.script))
    return _recognizers[key]


def shared_espeak(wanted: Wanted) -> Espeak:
    """One set of processes for each voice."""
    voice = wanted.voice or DEFAULT_VOICE
    return _espeaks.setdefault(voice, Espeak(voice))


# --- ears ---


def _local_stt(wanted: Wanted) -> Any:
    from trunkline.agent.pipeline.local_stt import PocketsphinxSTTService

    return PocketsphinxSTTService(shared_recognizer(wanted))


def _check_deepgram(wanted: Wanted) -> None:
    require_key(wanted)
    _deepgram_class()


def _deepgram(wanted: Wanted) -> Any:
    service = _deepgram_class()
    # Where the caller stops is the endpointer's decision; Deepgram's own would cut a sentence at its pauses.
    settings = service.Settings(endpointing=False)
    return service(api_key=wanted.secret, base_url=wanted.url, settings=settings, **DIRECT)


def _check_emulated_stt(wanted: Wanted) -> None:
    require_url(wanted)
    _deepgram_class()


def _emulated_stt(wanted: Wanted) -> Any:
    """Deepgram's service, which does not know that it talks to an emulator."""
    service = _deepgram_class()
    settings = service.Settings(endpointing=False)
    return service(name="emulated-stt", api_key="emulated", base_url=wanted.url, settings=settings, **DIRECT)


def _deepgram_class() -> Any:
    return import_service("pipecat.services.deepgram.stt", "DeepgramSTTService", "deepgram")


def _check_assemblyai(wanted: Wanted) -> None:
    require_key(wanted)
    _assemblyai_class()


def _assemblyai(wanted: Wanted) -> Any:
    service = _assemblyai_class()
    # No delay of the first partial on purpose; no end of turn but by our endpointer.
    settings = service.Settings(interruption_delay=0, min_turn_silence=ASSEMBLYAI_SILENCE_MS)
    url = f"{wanted.url or ASSEMBLYAI_URL}/v3/ws"
    return service(api_key=wanted.secret, api_endpoint_base_url=url, settings=settings, **DIRECT)


def _assemblyai_class() -> Any:
    return import_service("pipecat.services.assemblyai.stt", "AssemblyAISTTService", "assemblyai")


def _check_whisper(wanted: Wanted) -> None:
    refuse_url(wanted)
    require_model(wanted, *WHISPER_FILES)
    import_service("pipecat.services.whisper.stt", "WhisperSTTService", "whisper")


def _whisper(wanted: Wanted) -> Any:
    from trunkline.agent.pipeline.whisper_stt import SharedWhisperSTTService

    return SharedWhisperSTTService(require_model(wanted, *WHISPER_FILES))


# --- voices ---


def _check_local_tts(wanted: Wanted) -> None:
    check_voice(wanted.voice or DEFAULT_VOICE)


def _local_tts(wanted: Wanted) -> Any:
    from trunkline.agent.pipeline.local_tts import EspeakTTSService

    return EspeakTTSService(shared_espeak(wanted), wanted.voice or DEFAULT_VOICE)


def _check_elevenlabs(wanted: Wanted) -> None:
    require_key(wanted)
    _elevenlabs_class()


def _elevenlabs(wanted: Wanted) -> Any:
    service = _elevenlabs_class()
    settings = service.Settings(voice=wanted.voice or ELEVENLABS_VOICE)
    url = wanted.url or ELEVENLABS_URL
    return service(api_key=wanted.secret, url=url, sample_rate=SAMPLE_RATE_HZ, settings=settings)


def _check_emulated_tts(wanted: Wanted) -> None:
    require_url(wanted)
    _elevenlabs_class()


def _emulated_tts(wanted: Wanted) -> Any:
    """ElevenLabs' service, which does not know that it talks to an emulator."""
    service = _elevenlabs_class()
    settings = service.Settings(voice="emulated")
    url, rate = wanted.url, SAMPLE_RATE_HZ
    return service(name="emulated-tts", api_key="emulated", url=url, sample_rate=rate, settings=settings)


def _elevenlabs_class() -> Any:
    return import_service("pipecat.services.elevenlabs.tts", "ElevenLabsTTSService", "elevenlabs")


def _check_cartesia(wanted: Wanted) -> None:
    require_key(wanted)
    _cartesia_class()


def _cartesia(wanted: Wanted) -> Any:
    service = _cartesia_class()
    settings = service.Settings(voice=wanted.voice or CARTESIA_VOICE)
    url = f"{wanted.url or CARTESIA_URL}/tts/websocket"
    return service(api_key=wanted.secret, url=url, sample_rate=SAMPLE_RATE_HZ, settings=settings)


def _cartesia_class() -> Any:
    return import_service("pipecat.services.cartesia.tts", "CartesiaTTSService", "cartesia")


def _check_edge(wanted: Wanted) -> None:
    refuse_url(wanted)
    _edge_class()


def _edge(wanted: Wanted) -> Any:
    return _edge_class()(wanted.voice)


def _edge_class() -> Any:
    try:
        from trunkline.agent.pipeline.edge_tts import EdgeTTSService
    except ImportError as error:
        raise ConfigError(
            "provider 'edge' needs packages that are not installed", "pip install 'trunkline[edge]'"
        ) from error
    return EdgeTTSService


# --- what Pipecat's services tell of themselves ---


def _has_socket(service: Any) -> bool:
    socket = service._websocket
    return socket is not None and socket.state.name == "OPEN"


def _deepgram_heard_s(result: Any) -> float | None:
    return float(result.start + result.duration)


def _assemblyai_heard_s(result: Any) -> float | None:
    return result.words[-1].end / 1000 if result.words else None


_DEEPGRAM: Any = {
    "listening": "_on_message",
    "finished": lambda message: bool(getattr(message, "from_finalize", False)),
    "connected": lambda service: service._connection is not None,
    "heard_s": _deepgram_heard_s,
    "flows": True,
}

STT_PROVIDERS: dict[str, Row] = {
    "local": Row(shared_recognizer, _local_stt),
    "deepgram": Row(_check_deepgram, _deepgram, **_DEEPGRAM),
    "assemblyai": Row(
        _check_assemblyai,
        _assemblyai,
        listening="_handle_message",
        connected=_has_socket,
        heard_s=_assemblyai_heard_s,
        flows=True,
    ),
    "whisper": Row(_check_whisper, _whisper),
    "emulated": Row(_check_emulated_stt, _emulated_stt, **_DEEPGRAM),
}
TTS_PROVIDERS: dict[str, Row] = {
    "local": Row(_check_local_tts, _local_tts),
    "elevenlabs": Row(_check_elevenlabs, _elevenlabs, connected=_has_socket),
    "cartesia": Row(_check_cartesia, _cartesia, connected=_has_socket),
    "edge": Row(_check_edge, _edge),
    "emulated": Row(_check_emulated_tts, _emulated_tts, connected=_has_socket),
}
