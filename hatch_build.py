"""Puts the media engine's program into the wheel where TRUNKLINE_WHEEL_ENGINE names it; `make wheel` does.

Such a wheel is for one platform only. Without the variable it is for any, and the agents use the sdk engine, or a
program that they find elsewhere.
"""

from __future__ import annotations

import os
import sysconfig
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class EngineHook(BuildHookInterface[Any]):
    """Called by hatchling for each wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Adds the program, and names the platform. Raises FileNotFoundError where the variable names no program."""
        program = os.environ.get("TRUNKLINE_WHEEL_ENGINE")
        if not program or version == "editable":
            return
        if not os.access(program, os.X_OK):
            raise FileNotFoundError(f"TRUNKLINE_WHEEL_ENGINE={program} is not a program")
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform}"
        build_data["force_include"][program] = "trunkline/media/bin/trunkline-media"
