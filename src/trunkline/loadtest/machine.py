"""On what a run was made: the machine, and the versions of what was called, as far as this process can know."""

from __future__ import annotations

import asyncio
import os
import platform
import re
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

VERSION_TIMEOUT_S = 5.0
SERVERS = ("livekit-server", "livekit-sip")


def machine() -> dict[str, Any]:
    """Processor, cores, memory and system of this machine."""
    cpu = re.search(r"^model name\s*:\s*(.+)$", _read("/proc/cpuinfo"), re.MULTILINE)
    memory = re.search(r"^MemTotal:\s+(\d+) kB", _read("/proc/meminfo"), re.MULTILINE)
    return {
        "cpu": cpu[1] if cpu else platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(int(memory[1]) / 1024 / 1024, 1) if memory else None,
        "system": f"{platform.system()} {platform.release()}",
    }


async def versions(processes: Mapping[str, int], engine: str) -> dict[str, str | None]:
    """Versions by name; None where it can't be known, such as a server's on another machine.

    Args:
        processes: Process ids of the stack's servers by name.
        engine: The callers' media engine; empty: they are on the Python SDK.
    """
    found: dict[str, str | None] = {"trunkline": metadata.version("trunkline"), "python": platform.python_version()}
    for server in SERVERS:
        program = f"/proc/{processes[server]}/exe" if server in processes else ""
        found[server] = await _version_of(program) if program else None
    if engine:
        told = await _version_of(engine)
        # A build from this checkout is named after its sources.
        found["media engine"] = Path(engine).name.removeprefix("trunkline-media-") if told in (None, "dev") else told
    else:
        found["livekit (Python SDK)"] = metadata.version("livekit")
    return found


async def _version_of(program: str) -> str | None:
    try:
        process = await asyncio.create_subprocess_exec(
            program, "--version", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
    except OSError:
        return None
    try:
        written, _ = await asyncio.wait_for(process.communicate(), VERSION_TIMEOUT_S)
    except TimeoutError:
        process.kill()
        await process.wait()
        return None
    words = written.decode(errors="replace").split()
    return words[-1] if process.returncode == 0 and words else None


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
