"""Many WebRTC callers at once against a whole stack on this machine, with emulated providers at the brief's delays.

    .venv/bin/python benchmarks/hundred.py --calls 100 --workers 4 --turns 4

Everything is real but the speech providers: those are emulated (the wire protocols of Deepgram and ElevenLabs; first
partial after 150 ms, first audio after 150 ms), and all figures say so. Prints the load test's report, with what each
part of the stack used of the CPU in thousandths of a core while all calls were up.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trunkline.settings import load_settings
from trunkline.stack.binaries import find_servers
from trunkline.stack.plan import make_plan
from trunkline.stack.ports import free_ports
from trunkline.stack.stack import Stack

HOST = "127.0.0.1"


@contextmanager
def kept(folder: Path | None) -> Iterator[str]:
    """A folder for the stack's files and logs: this one, or one that is gone afterwards."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        yield str(folder)
        return
    with tempfile.TemporaryDirectory() as temporary:
        yield temporary


async def run(options: argparse.Namespace) -> int:
    with kept(options.keep) as folder:
        emulators = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "trunkline.emulators", stdout=asyncio.subprocess.PIPE
        )
        assert emulators.stdout is not None
        try:
            url = json.loads(await asyncio.wait_for(emulators.stdout.readline(), 30))["url"]
            providers = {"STT_PROVIDER": "emulated", "TTS_PROVIDER": "emulated", "STT_URL": url, "TTS_URL": url}
            environment = {**os.environ, **providers, "REPLY_ON": options.reply_on, "LOG_LEVEL": options.log_level}
            os.environ.update(environment)
            programs = await find_servers(Path(folder), lambda *_: None)
            plan = make_plan(
                programs,
                free_ports(HOST),
                load_settings(),
                Path(folder),
                workers=options.workers,
                environment=environment,
            )
            async with Stack(plan) as stack:
                return await call(options, dict(plan.env), {**pids(stack), "emulators": emulators.pid})
        finally:
            emulators.terminate()
            await emulators.wait()


def pids(stack: Stack) -> dict[str, int]:
    return {name: process.pid for name, process in stack.processes.items() if process.pid is not None}


async def call(options: argparse.Namespace, env: dict[str, str], parts: dict[str, int]) -> int:
    command = [
        *(sys.executable, "-c", "from trunkline.cli.main import main; main()", "loadtest"),
        *("--concurrency", str(options.calls), "--turns", str(options.turns), "--ramp", str(options.ramp)),
        *("--burst-seconds", str(options.burst_seconds), "--report", str(options.report)),
        *(text for name, pid in parts.items() for text in ("--part", f"{name}={pid}")),
        *options.others,
    ]
    load = await asyncio.create_subprocess_exec(*command, env=env)
    code = await load.wait()
    print("\nproviders emulated")
    return code


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--ramp", type=float, default=20)
    parser.add_argument("--burst-seconds", type=float, default=2)
    parser.add_argument("--reply-on", choices=["first_partial", "final"], default="first_partial")
    parser.add_argument("--report", type=Path, default=Path("runs/hundred"))
    parser.add_argument("--keep", type=Path, help="folder in which the stack's logs stay")
    parser.add_argument("--log-level", default="WARNING")
    parser.add_argument("others", nargs="*", metavar="-- OPTION", help="more options of `trunkline loadtest`")
    sys.exit(asyncio.run(run(parser.parse_args())))


if __name__ == "__main__":
    main()
