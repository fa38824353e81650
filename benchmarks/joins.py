"""What it costs when calls come in, and how long until the two can hear each other, on a real livekit-server.

    .venv/bin/python -m benchmarks.joins --calls 100 --seconds 5

The calls come evenly over so many seconds. In each, a caller and an agent join a room of their own at the same instant,
listen to each other and publish; they are connected once each hears that the other's audio is there. Both sides are a
native engine of their own. Processor time is that of everything until 2 s after the last call came, over the calls,
less what the same calls use in silence afterwards for as long as they were there.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

import uvloop
from benchmarks.ending import end_in_order
from benchmarks.media import native, show
from tests.sfu import LiveKit, serve_livekit

from trunkline.core.errors import MediaError
from trunkline.loadtest.usage import processor_s
from trunkline.media.engine import CallerFrame, Listening, MediaEvent
from trunkline.media.native import NativeEngine

SETTLE_S = 2.0
CONNECT_LIMIT_S = 20.0


class End:
    """One participant: knows when it is subscribed to the other."""

    def __init__(self) -> None:
        self.hears = asyncio.Event()

    def on_frame(self, _frame: CallerFrame) -> None:
        """Nobody speaks."""

    def on_event(self, event: MediaEvent) -> None:
        if isinstance(event, Listening):
            self.hears.set()


async def connect(engine: NativeEngine, url: str, token: str, other: str) -> tuple[float, float]:
    """One participant, until it hears the other. Returns how long the join took, and all of it, in seconds."""
    began, end = time.monotonic(), End()
    leg = await engine.join(url, token, end)
    joined = time.monotonic()
    await leg.listen_to(other)
    await leg.publish()
    await asyncio.wait_for(end.hears.wait(), CONNECT_LIMIT_S)
    return joined - began, time.monotonic() - began


async def measure(livekit: LiveKit, calls: int, seconds: float) -> dict[str, float]:
    agents, callers = await native(60), await native(60)
    pids = {"server": livekit.pid, "agents": agents.pid or 0, "callers": callers.pid or 0}

    def used() -> dict[str, float]:
        return {name: processor_s(pid) for name, pid in pids.items()}

    begun, before = time.monotonic(), used()
    pairs: list[asyncio.Task[tuple[float, float]]] = []
    for number in range(calls):
        await asyncio.sleep(max(0.0, begun + number * seconds / calls - time.monotonic()))
        room, agent, caller = f"room-{number}", f"agent-{number}", f"caller-{number}"
        token = livekit.token(room, agent, agent=True)
        pairs.append(asyncio.create_task(connect(agents, livekit.url, token, caller)))
        pairs.append(asyncio.create_task(connect(callers, livekit.url, livekit.token(room, caller), agent)))
    outcomes = await asyncio.gather(*pairs, return_exceptions=True)
    await asyncio.sleep(max(0.0, begun + seconds + SETTLE_S - time.monotonic()))
    took, after = time.monotonic() - begun, used()
    await asyncio.sleep(took)
    idle = used()
    failed = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    for problem in {repr(outcome) for outcome in failed}:
        print(f"a participant: {problem}")
    for outcome in failed:
        if not isinstance(outcome, MediaError | TimeoutError):
            raise outcome
    good = [outcome for outcome in outcomes if isinstance(outcome, tuple)]
    joins, all_of_it = sorted(joined for joined, _ in good), sorted(connected for _, connected in good)
    await agents.close()
    await callers.close()
    silent = {name: (idle[name] - after[name]) / took for name in pids}
    there_s = took - seconds / 2
    cost = {f"{name}_ms_a_call": (after[name] - before[name] - silent[name] * there_s) / calls * 1000 for name in pids}
    return {
        "calls": calls,
        "failed": len(failed),
        **cost,
        "all_ms_a_call": sum(cost.values()),
        "silent_mcore_a_call": sum(silent.values()) / calls * 1000,
        "joined_p50_ms": joins[len(joins) // 2] * 1000,
        "joined_p99_ms": joins[int(len(joins) * 0.99)] * 1000,
        "connected_p50_ms": all_of_it[len(all_of_it) // 2] * 1000,
        "connected_p99_ms": all_of_it[int(len(all_of_it) * 0.99)] * 1000,
        "connected_max_ms": all_of_it[-1] * 1000,
    }


async def bench(calls: int, seconds: float) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        async for livekit in serve_livekit(Path(folder)):
            return await measure(livekit, calls, seconds)
    raise RuntimeError("no server")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=5.0, help="within which they come")
    options = parser.parse_args()
    end_in_order()
    show(f"{options.calls} calls within {options.seconds:g} s", uvloop.run(bench(options.calls, options.seconds)))


if __name__ == "__main__":
    main()
