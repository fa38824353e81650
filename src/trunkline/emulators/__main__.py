"""`python -m trunkline.emulators`: emulated speech providers, for load and fault tests.

Prints one line of JSON with the address when it is ready, and ends with SIGTERM or SIGINT.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys

import uvloop

from trunkline.core.errors import TrunklineError
from trunkline.emulators.app import serving
from trunkline.emulators.behaviour import FAULT_NAMES, Behaviour, Delay, parse_faults, profile, profiles
from trunkline.settings import split_listen


def _arguments(argv: list[str]) -> argparse.Namespace:
    default = Behaviour()
    parser = argparse.ArgumentParser(
        prog="python -m trunkline.emulators",
        description="Emulated Deepgram, AssemblyAI, ElevenLabs, Cartesia and chat model",
    )
    parser.add_argument("--listen", default="127.0.0.1:0", help="HOST:PORT; port 0: any that is free")
    parser.add_argument("--phrase", default=default.phrase, help="what each caller says after their number")
    parser.add_argument("--profile", default="", help=f"delays by provider, before all others: {', '.join(profiles())}")
    parser.add_argument("--stt-partial-ms", type=float, default=default.stt_partial.median_s * 1000)
    parser.add_argument("--stt-final-ms", type=float, default=default.stt_final.median_s * 1000)
    parser.add_argument("--tts-first-ms", type=float, default=default.tts_first.median_s * 1000)
    parser.add_argument("--tts-speed", type=float, default=default.tts_speed, help="times faster than it is spoken")
    parser.add_argument("--spread", type=float, default=0.0, help="of all delays: deviation of their logarithm")
    parser.add_argument("--fault", action="append", default=[], metavar="NAME=CHANCE", help=f"names: {FAULT_NAMES}")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(argv)


def _behaviour(arguments: argparse.Namespace) -> Behaviour:
    return Behaviour(
        phrase=arguments.phrase,
        stt_partial=Delay(arguments.stt_partial_ms / 1000, arguments.spread),
        stt_final=Delay(arguments.stt_final_ms / 1000, arguments.spread),
        tts_first=Delay(arguments.tts_first_ms / 1000, arguments.spread),
        tts_speed=arguments.tts_speed,
        profile=profile(arguments.profile) if arguments.profile else {},
        faults=parse_faults(arguments.fault),
        seed=arguments.seed,
    )


async def _serve(arguments: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    host, port = split_listen(arguments.listen)
    async with serving(_behaviour(arguments), host, port) as url:
        sys.stdout.write(json.dumps({"ready": True, "emulated": True, "url": url}) + "\n")
        sys.stdout.flush()
        await stop.wait()


def main(argv: list[str]) -> int:
    """Serves until a signal. Returns the exit code."""
    try:
        uvloop.run(_serve(_arguments(argv)))
    except TrunklineError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
