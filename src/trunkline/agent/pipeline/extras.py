"""What a provider needs before it can be used, and one clear line where that is missing.

Pipecat's services are loaded only when they are asked for.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from trunkline.agent.brains.choice import script_phrases
from trunkline.core.errors import ConfigError
from trunkline.settings import Settings


@dataclass(frozen=True, slots=True)
class Wanted:
    """One provider, as the settings ask for it.

    Attributes:
        kind: What its variables begin with: STT, STT_STANDBY, TTS or TTS_STANDBY.
        name: The provider.
        key: Of its API.
        url: Of its API, where not its own.
        voice: To speak with; empty: its default.
        phrases: That the local recognizer listens for; None: the bundled ones.
        script: What the brain's script listens for, where no phrases are named.
        model: Folder of a local model.
    """

    kind: str
    name: str
    key: SecretStr = field(default_factory=lambda: SecretStr(""))
    url: str = ""
    voice: str = ""
    phrases: Path | None = None
    script: tuple[str, ...] = ()
    model: Path | None = None

    @property
    def secret(self) -> str:
        """The key in plain text."""
        return self.key.get_secret_value()


def wanted_stt(settings: Settings) -> list[Wanted]:
    """The recognizers, in the order in which they are tried: one or two."""
    script = script_phrases(settings) if settings.stt_phrases is None else ()
    own: Any = {"phrases": settings.stt_phrases, "script": script, "model": settings.stt_model_path}
    first = Wanted("STT", settings.stt_provider, settings.stt_api_key, settings.stt_url, **own)
    if not settings.stt_standby_provider:
        return [first]
    key, url = settings.stt_standby_api_key, settings.stt_standby_url
    return [first, Wanted("STT_STANDBY", settings.stt_standby_provider, key, url, **own)]


def wanted_tts(settings: Settings) -> list[Wanted]:
    """The voices, in the order in which they are tried: one or two."""
    first = Wanted("TTS", settings.tts_provider, settings.tts_api_key, settings.tts_url, settings.tts_voice)
    if not settings.tts_standby_provider:
        return [first]
    key, url = settings.tts_standby_api_key, settings.tts_standby_url
    return [first, Wanted("TTS_STANDBY", settings.tts_standby_provider, key, url, settings.tts_standby_voice)]


def import_service(module: str, name: str, extra: str) -> Any:
    """A class of Pipecat's.

    Args:
        module: Full name of its module.
        name: Name of the class.
        extra: Pipecat's name for what it needs, as in `pipecat-ai[extra]`.

    Raises:
        ConfigError: a package that it needs is not installed.
    """
    try:
        return getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise ConfigError(
            f"provider {extra!r} needs a package that is not installed", f"pip install 'pipecat-ai[{extra}]'"
        ) from error


def require_url(wanted: Wanted) -> None:
    """Raises ConfigError where an emulated provider has no address."""
    if not wanted.url:
        raise ConfigError(
            f"{wanted.kind}_PROVIDER={wanted.name} needs {wanted.kind}_URL, which is not set",
            "python -m trunkline.emulators prints its address when it is ready",
        )


def refuse_url(wanted: Wanted) -> None:
    """Raises ConfigError where an address is set that this provider would not look at."""
    if wanted.url:
        kind = wanted.kind
        raise ConfigError(f"{kind}_URL is set, which {kind}_PROVIDER={wanted.name} has no use for", f"unset {kind}_URL")


def require_key(wanted: Wanted) -> None:
    """Raises ConfigError where a named provider has no key."""
    if not wanted.secret:
        raise ConfigError(
            f"{wanted.kind}_PROVIDER={wanted.name} needs {wanted.kind}_API_KEY, which is not set",
            f"set it, or {wanted.kind}_PROVIDER=local for a demonstration without a key",
        )


def require_model(wanted: Wanted, *files: str) -> Path:
    """The folder of a local model. Raises ConfigError where it is not set, or not there, or lacks one of `files`."""
    if wanted.model is None:
        raise ConfigError(
            f"{wanted.kind}_PROVIDER={wanted.name} needs STT_MODEL_PATH, which is not set",
            "set it to a folder with a model, or STT_PROVIDER=local for a demonstration without one",
        )
    if not wanted.model.is_dir():
        raise ConfigError(f"STT_MODEL_PATH={wanted.model} is no folder", "download a model there first")
    missing = [name for name in files if not (wanted.model / name).is_file()]
    if missing:
        raise ConfigError(
            f"STT_MODEL_PATH={wanted.model} has no {' and no '.join(missing)}", "is it a model of this kind, and whole?"
        )
    return wanted.model
