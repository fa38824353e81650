"""Builds the media engine and a wheel that carries it, into dist/ or the folder that is named."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from trunkline.stack.binaries import find_media_engine

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Ends with 1 where the engine can't be had."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "dist").absolute()
    program = asyncio.run(find_media_engine(lambda name, state, _s: sys.stderr.write(f"{name}: {state}\n")))
    if program is None:
        sys.exit("no wheel: the media engine can't be built here")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "TRUNKLINE_WHEEL_ENGINE": str(program)}, check=False)  # noqa: S603 (our own interpreter)
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
