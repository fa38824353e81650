"""Many WebRTC callers at once against a whole stack on this machine, with emulated providers at the brief's delays.

    .venv/bin/python benchmarks/hundred.py --calls 100 --workers 4 --turns 4

Everything is real but the speech providers: those are emulated (the wire protocols of Deepgram and ElevenLabs; first
partial after 150 ms, first audio after 150 ms), and all figures say so. Prints the load test's report and what each
part of the stack used of the CPU, in thousandths of one core a call, while all calls were up.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from trunkline.settings import load_settings
from trunkline.stack.binaries import find_servers
from trunkline.stack.plan import make_plan
from trunkline.stack.ports import free_ports
from trunkline.stack.stack import Stack

HOST = "127.0.0.1"
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """CPU seconds of a process and all its descendants so far."""
    total = 0.0
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total = (int(fields[11]) + int(fields[12])) / TICKS_PER_S
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            total += cpu_s(int(child))
    except OSError:
        pass
    return total


async def measure(parts: dict[str, int], calls: int, start_s: float, length_s: float) -> dict[str, float]:
    """What each part uses between two instants after now, in mcore a call."""
    await asyncio.sleep(start_s)
    before, began = {name: cpu_s(pid) for name, pid in parts.items()}, time.monotonic()
    await asyncio.sleep(length_s)
    elapsed = time.monotonic() - began
    return {name: (cpu_s(pid) - before[name]) / elapsed / calls * 1000 for name, pid in parts.items()}


async def run(options: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory() as folder:
        emulators = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "trunkline.emulators", stdout=asyncio.subprocess.PIPE
        )
        assert emulators.stdout is not None
        try:
            url = json.loads(await asyncio.wait_for(emulators.stdout.readline(), 30))["url"]
            providers = {"STT_PROVIDER": "emulated", "TTS_PROVIDER": "emulated", "STT_URL": url, "TTS_URL": url}
            environment = {**os.environ, **providers, "REPLY_ON": options.reply_on, "LOG_LEVEL": "WARNING"}
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
        *("--burst-seconds", str(options.burst_seconds), "--out", str(options.out)),
    ]
    began = time.monotonic()
    load = await asyncio.create_subprocess_exec(*command, env=env)
    up_s = options.calls / options.ramp + 6.0
    measuring = asyncio.create_task(
        measure({**parts, "load test": load.pid}, options.calls, up_s, options.turns * (options.burst_seconds + 2) / 2)
    )
    code = await load.wait()
    print(f"\n{time.monotonic() - began:.0f} s; providers emulated")
    if measuring.done():
        used = measuring.result()
        for name, mcore in sorted(used.items(), key=lambda pair: -pair[1]):
            print(f"{name:16} {mcore:6.1f} mcore a call")
        print(f"{'sum':16} {sum(used.values()):6.1f} of {2000 / options.calls:.0f} that two cores have")
    else:
        measuring.cancel()
    return code


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--ramp", type=float, default=20)
    parser.add_argument("--burst-seconds", type=float, default=2)
    parser.add_argument("--reply-on", choices=["first_partial", "final"], default="first_partial")
    parser.add_argument("--out", type=Path, default=Path("runs"))
    sys.exit(asyncio.run(run(parser.parse_args())))


if __name__ == "__main__":
    main()
