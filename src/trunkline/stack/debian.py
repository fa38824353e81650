"""Debian packages: which are missing, and how they come here."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping

from trunkline.core.errors import ConfigError
from trunkline.stack.commands import Progress, reported, run

SIP_LIBRARIES = {"opus": "libopus-dev", "opusfile": "libopusfile-dev", "soxr": "libsoxr-dev"}
"""What livekit-sip is linked with: pkg-config's names and Debian's."""

INSTALL_LIMIT_S = 300.0


ENGINE_LIBRARIES = {"opus": "libopus-dev"}
"""What trunkline-media is linked with."""


async def missing_for(libraries: Mapping[str, str]) -> list[str]:
    """Debian packages without which a program can't be linked, in about 50 ms rather than after 90 s of building.

    Args:
        libraries: pkg-config's names and Debian's.
    """
    missing = [] if shutil.which("cc") or shutil.which("gcc") else ["gcc", "libc6-dev"]
    if shutil.which("pkg-config") is None:
        return [*missing, "pkg-config", *libraries.values()]
    for library, package in libraries.items():
        if (await run("pkg-config", "--exists", library, limit_s=10)).code:
            missing.append(package)
    return missing


async def install(packages: list[str], purpose: str, progress: Progress) -> None:
    """Installs packages if we may, that is as root with apt-get.

    Args:
        packages: Debian's names; none: nothing happens.
        purpose: Who needs them, for messages.

    Raises:
        ConfigError: we may not, or it failed; with the one command that does it.
    """
    if not packages:
        return
    command = f"apt-get install -y --no-install-recommends {' '.join(packages)}"
    problem = f"{purpose} needs {', '.join(packages)}"
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise ConfigError(problem, f"run: sudo {command}")
    # RUNLEVEL=1 keeps a package from starting a service: the stack has a Redis of its own.
    env: Mapping[str, str] = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    async with reported(progress, purpose, f"installing {' '.join(packages)}"):
        try:
            # Package lists may be missing or old: only then are they fetched.
            for argv in (command.split(), ["apt-get", "update"], command.split()):
                output = await run(*argv, limit_s=INSTALL_LIMIT_S, env=env)
                if output.code == 0 and argv[1] == "install":
                    return
        except TimeoutError as error:
            raise ConfigError(f"{problem}; apt-get took too long", f"run: {command}") from error
    last = (output.text.strip().splitlines() or ["no output"])[-1]
    raise ConfigError(f"{problem}; apt-get failed: {last}", f"run: {command}")
