"""Which media engine runs, and why."""

from __future__ import annotations

from trunkline.core.errors import ConfigError
from trunkline.media.engine import MediaEngine
from trunkline.media.sdk import SdkEngine
from trunkline.settings import MediaEngineChoice


def make_engine(choice: MediaEngineChoice) -> MediaEngine:
    """The engine that MEDIA_ENGINE asks for; `auto` takes the best there is.

    Raises:
        ConfigError: the one asked for by name is not there.
    """
    if choice is MediaEngineChoice.NATIVE:
        raise ConfigError("MEDIA_ENGINE=native: this version has no native engine", "set MEDIA_ENGINE=auto or sdk")
    return SdkEngine()
