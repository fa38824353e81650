"""How BRAIN becomes a brain for each call, and its check at the worker's start."""

from __future__ import annotations

from trunkline.agent.brains.brain import Brain
from trunkline.agent.brains.echo import EchoBrain
from trunkline.core.errors import ConfigError
from trunkline.settings import Settings

BRAINS: dict[str, type[Brain]] = {"echo": EchoBrain}


def make_brain(settings: Settings) -> Brain:
    """A brain for one call. Raises ConfigError for a name that nobody knows."""
    if settings.brain not in BRAINS:
        raise ConfigError(f"BRAIN={settings.brain!r} is unknown", f"known: {', '.join(sorted(BRAINS))}")
    return BRAINS[settings.brain]()
