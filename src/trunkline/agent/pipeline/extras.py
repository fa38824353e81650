"""Loads Pipecat's services only when they are asked for, and says what to install or to set where that fails."""

from __future__ import annotations

import importlib
from typing import Any

from pydantic import SecretStr

from trunkline.core.errors import ConfigError


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


def require_url(url: str, kind: str) -> None:
    """Raises ConfigError where an emulated provider has no address. `kind` is STT or TTS."""
    if not url:
        raise ConfigError(
            f"{kind}_PROVIDER=emulated needs {kind}_URL, which is not set",
            "python -m trunkline.emulators prints its address when it is ready",
        )


def refuse_url(url: str, kind: str, provider: str) -> None:
    """Raises ConfigError where an address is set that this provider would not look at. `kind` is STT or TTS."""
    if url:
        raise ConfigError(f"{kind}_URL is set, which {kind}_PROVIDER={provider} has no use for", f"unset {kind}_URL")


def require_key(key: SecretStr, kind: str, provider: str) -> None:
    """Raises ConfigError where a named provider has no key. `kind` is STT or TTS."""
    if not key.get_secret_value():
        raise ConfigError(
            f"{kind}_PROVIDER={provider} needs {kind}_API_KEY, which is not set",
            f"set it, or {kind}_PROVIDER=local for a demonstration without a key",
        )
