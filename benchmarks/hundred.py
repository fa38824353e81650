"""Many WebRTC callers at once against a whole stack on this machine, with emulated providers at the brief's delays.

    python -m benchmarks.hundred --calls 100 --workers 4 --turns 4    one run
    python -m benchmarks.hundred --judge                              `make bench-100`, against its limits
    python -m benchmarks.hundred --phone                              `make bench-phone`: how many over SIP

Everything is real but the speech providers: those are emulated (the wire protocols of Deepgram and ElevenLabs; first
partial after 150 ms, first audio after 150 ms), and all figures say so. The machine is not cold: see `touch_memory`.
Prints the load test's report, with what each part of the stack used of the CPU in thousandths of a core while all
calls were up.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import mmap
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.emulated_stack import HOST, emulators, quiet
from benchmarks.ending import end_in_order, ended
from benchmarks.limits import Limit, judge

from trunkline.settings import load_settings
from trunkline.stack.binaries import find_servers
from trunkline.stack.plan import make_plan
from trunkline.stack.ports import free_ports
from trunkline.stack.stack import Stack

TOUCHED_BYTES = 2 << 30


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
        async with emulators() as provider:
            url = provider.url
            providers = {"STT_PROVIDER": "emulated", "TTS_PROVIDER": "emulated", "STT_URL": url, "TTS_URL": url}
            environment = {**os.environ, **providers, "REPLY_ON": options.reply_on, "LOG_LEVEL": options.log_level}
            os.environ.update(environment)
            programs = await find_servers(Path(folder), quiet)
            plan = make_plan(
                programs,
                free_ports(HOST),
                load_settings(),
                Path(folder),
                workers=options.workers,
                environment=environment,
            )
            async with Stack(plan) as stack:
                if not options.cold:
                    touch_memory()
                return await call(options, dict(plan.env), {**pids(stack), "emulators": provider.pid})


def touch_memory() -> None:
    """Has a virtual machine own the memory that the calls will need, as it does once it has been at work.

    One that hands free memory back to its host gets it again page by page, at 8 µs each where this was measured: a
    seventh of all processor time while the first calls come in.
    """
    with mmap.mmap(-1, TOUCHED_BYTES) as memory:
        for page in range(0, TOUCHED_BYTES, mmap.PAGESIZE):
            memory[page] = 1


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
    async with ended(await asyncio.create_subprocess_exec(*command, env=env)) as load:
        code = await load.wait()
    print("\nproviders emulated", flush=True)
    return code


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """One run; its summary. The load test's own verdict is printed, and judged here anew."""
    asyncio.run(run(options))
    summary: dict[str, Any] = json.loads((options.report / "summary.json").read_text())
    return summary


def limits_of_any(found: dict[str, Any], calls: int) -> list[Limit]:
    """What any run must keep."""
    unanswered = found["turns_expected"] - found["turns_answered"]
    return [
        Limit("calls up at once", found["calls_at_once"], least=calls),
        Limit("calls lost", found["calls_failed"], most=0),
        Limit("turns unanswered", unanswered, most=0, unit=f"of {found['turns_expected']}"),
        Limit("wrong answers", found["wrong_answer"], most=0),
        Limit("RoundTrip at the ear, average", _ms(found, "avg"), most=600, aim=450, unit="ms"),
        Limit("callers' own lateness, p99", found["pacing"]["p99_ms"], most=20, unit="ms"),
    ]


def _ms(found: dict[str, Any], figure: str, of: str = "roundtrip_ms") -> float:
    value = found[of][figure]
    return float("nan") if value is None else float(value)


def judge_hundred(options: argparse.Namespace) -> int:
    """`make bench-100`: 100 calls within 5 s, up for 5 minutes."""
    options.calls, options.workers, options.ramp = 100, 4, 20
    options.others = ["--talk", "0.3", "--duration", str(options.seconds or 300), *options.others]
    found = measured(options)
    mcore = found["cpu_mcore_a_call"] or {}
    agents = mcore.get("agent", float("nan")) + mcore.get("media engine", float("nan"))
    return judge(
        "100 WebRTC calls and everything that carries them on this machine; providers emulated",
        [
            *limits_of_any(found, 100),
            Limit("RoundTrip at the ear, p99", _ms(found, "p99"), aim=600, unit="ms"),
            Limit("joined to both hearing each other, slowest", _ms(found, "max", "connect_ms"), most=1000, unit="ms"),
            Limit("dialled to both hearing each other, slowest", _ms(found, "max", "setup_ms"), unit="ms"),
            Limit("agent side, Python and engine", agents, most=10, aim=8, unit="mcore a call"),
        ],
    )


def judge_phone(options: argparse.Namespace) -> int:
    """`make bench-phone`: the most phone calls at once that keep the limits."""
    carried, others = 0, options.others
    for calls in (10, 20, 30, 40, 45, 50, 60):
        options.calls, options.workers, options.ramp = calls, max(2, -(-calls // 25)), 5
        options.others = ["--via", "sip", "--talk", "0.3", "--duration", str(options.seconds or 60), *others]
        if judge(f"{calls} phone calls over SIP; providers emulated", limits_of_any(measured(options), calls)):
            break
        carried = calls
    return judge("Phone calls at once on this machine", [Limit("calls carried", carried, least=40, aim=50)])


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
    parser.add_argument("--cold", action="store_true", help="do not touch memory before the calls, see touch_memory")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--judge", action="store_true", help="100 calls, five minutes, against the limits")
    which.add_argument("--phone", action="store_true", help="more and more phone calls, a minute each")
    parser.add_argument("--seconds", type=float, default=0, help="another length for --judge and --phone, to try them")
    parser.add_argument("others", nargs="*", metavar="-- OPTION", help="more options of `trunkline loadtest`")
    options = parser.parse_args()
    end_in_order()
    if options.judge:
        sys.exit(judge_hundred(options))
    sys.exit(judge_phone(options) if options.phone else asyncio.run(run(options)))


if __name__ == "__main__":
    main()
