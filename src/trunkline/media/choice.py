"""Which media engine runs, and why."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from trunkline.core.errors import ConfigError
from trunkline.media.engine import MediaEngine
from trunkline.media.native import NativeEngine
from trunkline.media.sdk import SdkEngine
from trunkline.settings import MediaEngineChoice, Settings

PROGRAM = "trunkline-media"


def make_engine(settings: Settings) -> MediaEngine:
    """The engine that MEDIA_ENGINE asks for; `auto` takes the native one where its program is.

    Raises:
        ConfigError: the one asked for is not there.
    """
    program = native_program(settings)
    if settings.media_engine is MediaEngineChoice.SDK or (
        settings.media_engine is MediaEngineChoice.AUTO and program is None
    ):
        return SdkEngine()
    if program is None:
        raise ConfigError(f"MEDIA_ENGINE=native: {PROGRAM} not found", "set MEDIA_ENGINE_PROGRAM, or MEDIA_ENGINE=auto")
    if settings.jitter_min_ms > settings.jitter_max_ms:
        raise ConfigError("JITTER_MIN_MS is more than JITTER_MAX_MS")
    buffer = ["--jitter-min-ms", str(settings.jitter_min_ms), "--jitter-max-ms", str(settings.jitter_max_ms)]
    return NativeEngine(program, buffer)


def native_program(settings: Settings) -> Path | None:
    """Where the native engine's program is; None: nowhere.

    Raises:
        ConfigError: MEDIA_ENGINE_PROGRAM is no program.
    """
    named = settings.media_engine_program
    if named is not None:
        if not os.access(named, os.X_OK):
            raise ConfigError(f"MEDIA_ENGINE_PROGRAM={named} is not a program")
        return named
    found = shutil.which(PROGRAM)
    return Path(found) if found else None
