"""`python -m trunkline.stack`: finds the servers and the simulated phone, and builds what is missing."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from trunkline.core.errors import TrunklineError
from trunkline.stack.binaries import find_phone, find_servers


def _progress(name: str, state: str, seconds: float) -> None:
    if int(seconds) % 10 == 0:
        sys.stdout.write(f"servers: {name}: {state}\n")
        sys.stdout.flush()


async def _find_all() -> None:
    with tempfile.TemporaryDirectory() as folder:
        programs = await find_servers(Path(folder), _progress)
    phone = await find_phone(_progress)
    for command in (programs.redis, programs.livekit_server, programs.livekit_sip, (str(phone),)):
        sys.stdout.write(f"servers: {' '.join(command)}\n")


if __name__ == "__main__":
    try:
        asyncio.run(_find_all())
    except TrunklineError as error:
        sys.stderr.write(f"servers: {error}\n")
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
