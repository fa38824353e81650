"""Which media engine runs, and why."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from trunkline.core.errors import ConfigError
from trunkline.media.engine import MediaEngine
from trunkline.media.native import NativeEngine
from trunkline.media.sdk import SdkEngine
from trunkline.settings import MediaEngineChoice, Settings

PROGRAM = "trunkline-media"
INSIDE = Path(__file__).parent / "bin" / PROGRAM
"""Where a wheel of one platform carries it."""


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """Which engine runs.

    Args:
        program: Of the native engine; None: the sdk engine runs.
        why: In a few words.
    """

    program: Path | None
    why: str

    @property
    def name(self) -> str:
        """ "native" or "sdk"."""
        return "sdk" if self.program is None else "native"


def choose_engine(settings: Settings) -> EngineChoice:
    """The engine that MEDIA_ENGINE asks for; `auto` takes the native one where its program is.

    Raises:
        ConfigError: the one asked for is not there.
    """
    if settings.media_engine is MediaEngineChoice.SDK:
        return EngineChoice(None, "MEDIA_ENGINE=sdk")
    program, where = native_program(settings)
    asked = f"MEDIA_ENGINE={settings.media_engine}"
    if program is not None:
        return EngineChoice(program, f"{asked}, {where}")
    if settings.media_engine is MediaEngineChoice.NATIVE:
        raise ConfigError(f"{asked}: {PROGRAM} not found", "set MEDIA_ENGINE_PROGRAM, or MEDIA_ENGINE=auto")
    return EngineChoice(None, f"{asked}, and {PROGRAM} is neither in the package nor on the PATH")


def make_engine(settings: Settings) -> MediaEngine:
    """The engine that `choose_engine` names. Raises ConfigError."""
    choice = choose_engine(settings)
    if choice.program is None:
        return SdkEngine()
    if settings.jitter_min_ms > settings.jitter_max_ms:
        raise ConfigError("JITTER_MIN_MS is more than JITTER_MAX_MS")
    buffer = ["--jitter-min-ms", str(settings.jitter_min_ms), "--jitter-max-ms", str(settings.jitter_max_ms)]
    return NativeEngine(choice.program, buffer)


def native_program(settings: Settings) -> tuple[Path | None, str]:
    """Where the native engine's program is, and how it was found; None: nowhere.

    Raises:
        ConfigError: MEDIA_ENGINE_PROGRAM is no program.
    """
    named = settings.media_engine_program
    if named is not None:
        if not os.access(named, os.X_OK):
            raise ConfigError(f"MEDIA_ENGINE_PROGRAM={named} is not a program")
        return named, "named by MEDIA_ENGINE_PROGRAM"
    if os.access(INSIDE, os.X_OK):
        return INSIDE, "carried by the package"
    found = shutil.which(PROGRAM)
    return (Path(found), "found on the PATH") if found else (None, "")
