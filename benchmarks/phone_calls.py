"""Phone calls at once over real SIP: are all answered, do their packets come evenly, and what does each part use?

    .venv/bin/python -m benchmarks.phone_calls --calls 50 --seconds 30

Redis, livekit-server and livekit-sip are the real ones, the agents are one native media engine that sends back what it
hears, the callers are the simulated phone: all calls are dialled at the same instant; each caller speaks 30 % of the
time. A gap is the time between the arrivals of two packets that belong together (`media-engine/internal/phone`);
livekit-sip sends all the time, so each call has 50 a second. mcore are thousandths of one core, from /proc, over the
measured seconds. Exits with 1 where a call is not answered, or under 99 % of the gaps are under 60 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.ending import end_in_order
from benchmarks.limits import Limit, judge
from benchmarks.noise import burst
from tests.phone_stack import PhoneStack, open_phone_stack

from trunkline.core.errors import CallError, TrunklineError
from trunkline.loadtest.phone import CallEnded, HeardStart, PhoneLine, PlayStart
from trunkline.loadtest.usage import Sampler
from trunkline.loadtest.voice import write_wav
from trunkline.stack.binaries import find_media_engine, find_phone, find_servers

ANSWER_S = 30.0
BURST_S, PAUSE_S = 1.5, 3.5
LAST_ECHO_S = 2.0
UNDER_60_MS = 0.99
PARTS = {"livekit-sip": "sip", "livekit-server": "server", "media engine": "engine", "simulated phone": "phone"}


@dataclass
class Talk:
    """One call: what was heard of what was said."""

    line: PhoneLine | None = None
    problem: str = ""
    said_us: int = 0
    bursts: int = 0
    echo_ms: list[float] = field(default_factory=list)
    end: CallEnded | None = None

    async def place(self, stack: PhoneStack, room: str, codec: str) -> None:
        """Dials, and waits for the answer."""
        try:
            self.line = await stack.dial(room, codec=codec)
            await self.line.answered(ANSWER_S)
        except CallError as error:
            self.problem = str(error)

    async def speak(self, sound: Path, pause_s: float) -> None:
        """Speaks now and then until it is cancelled."""
        assert self.line is not None
        await asyncio.sleep(pause_s)
        while True:
            self.bursts += 1
            await self.line.play(str(self.bursts), sound)
            await asyncio.sleep(BURST_S + PAUSE_S)

    async def listen(self) -> None:
        """Notes when each burst comes back, until it is cancelled or the call ends."""
        assert self.line is not None
        while True:
            match await self.line.event():
                case PlayStart(at_us=at_us):
                    self.said_us = at_us
                case HeardStart(at_us=at_us) if self.said_us:
                    self.echo_ms.append((at_us - self.said_us) / 1000)
                    self.said_us = 0
                case CallEnded(reason=reason):
                    self.problem = f"ended by itself: {reason}"
                    return

    async def hang_up(self) -> None:
        if self.line is not None and self.line.ended is None:
            self.end = await self.line.hang_up()


async def measure_phone_calls(calls: int = 50, seconds: float = 30.0, codec: str = "pcmu") -> dict[str, float]:
    """Places the calls on a stack of their own, and measures for so long after the last was answered.

    Args:
        calls: At once.
        seconds: How long.
        codec: As for `Phone.dial`.

    Returns:
        dict[str, float]: calls, answered, ended_early; gaps and gaps_under_60ms (a share), the same for speech_gaps,
            which lie in what the agent says, gap_p99_ms (the worst call's) and gap_max_ms; packets lost; bursts spoken,
            and heard back after echo_p50_ms; and mcore a call of sip, server, engine, phone and agents, the Python
            behind the engine, as `…_mcore`.

    Raises:
        ConfigError: a program is missing.
    """

    def tell(name: str, state: str, _: float) -> None:
        print(f"{name}: {state}", file=sys.stderr)

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        programs = await find_servers(root, tell)
        phone, engine = await find_phone(tell), await find_media_engine(tell)
        if engine is None:
            raise SystemExit("trunkline-media can't be had: no silent fallback in a bench")
        sound = root / "burst.wav"
        write_wav(sound, burst(BURST_S, 1))
        async with open_phone_stack(programs, phone, engine, root) as stack:
            return await _measure(stack, sound, calls, seconds, codec)


async def _measure(stack: PhoneStack, sound: Path, calls: int, seconds: float, codec: str) -> dict[str, float]:
    rooms = [f"room-{number}" for number in range(calls)]
    for room in rooms:
        await stack.agent(room)
    talks = [Talk() for _ in rooms]
    await asyncio.gather(*(talk.place(stack, room, codec) for talk, room in zip(talks, rooms, strict=True)))
    answered = [talk for talk in talks if not talk.problem]
    dice = random.Random(1)
    listening = [asyncio.create_task(talk.listen()) for talk in answered]
    speaking = [asyncio.create_task(talk.speak(sound, dice.uniform(0, BURST_S + PAUSE_S))) for talk in answered]
    sampler = Sampler(stack.processes())
    began, own_s = time.monotonic(), time.process_time()
    sampling = asyncio.create_task(sampler.run())
    await asyncio.sleep(seconds)
    used, _ = sampler.between(began, time.monotonic())
    own_mcore = (time.process_time() - own_s) / (time.monotonic() - began) * 1000
    await _stop([sampling, *speaking])
    await asyncio.sleep(LAST_ECHO_S)
    await _stop(listening)
    ended_early = [talk for talk in answered if talk.problem]
    await asyncio.gather(*(talk.hang_up() for talk in answered))
    for problem in {talk.problem for talk in talks if talk.problem}:
        print(f"a call: {problem}", file=sys.stderr)
    return {
        "calls": calls,
        "answered": len(answered),
        "ended_early": len(ended_early),
        **_evenness([talk.end.stats for talk in answered if talk.end and talk.end.stats]),
        **_echoes(answered),
        **{f"{short}_mcore": used.get(part, float("nan")) / calls for part, short in PARTS.items()},
        "agents_mcore": own_mcore / calls,
    }


def _evenness(stats: Sequence[dict[str, Any]]) -> dict[str, float]:
    """All calls' gaps in one."""
    found: dict[str, float] = {}
    for name in ("gaps", "speech_gaps"):
        count = sum(each[name]["count"] for each in stats)
        long = sum(each[name]["long"] for each in stats)
        found |= {name: count, f"{name}_under_60ms": 1 - long / count if count else float("nan")}
    found["gap_p99_ms"] = max((each["gaps"]["p99_ms"] for each in stats), default=float("nan"))
    found["gap_max_ms"] = max((each["gaps"]["max_ms"] for each in stats), default=float("nan"))
    found["packets_lost"] = sum(each["lost"] for each in stats)
    return found


def _echoes(talks: Sequence[Talk]) -> dict[str, float]:
    heard = [ms for talk in talks for ms in talk.echo_ms]
    median = statistics.median(heard) if heard else float("nan")
    return {"bursts": sum(talk.bursts for talk in talks), "heard_back": len(heard), "echo_p50_ms": median}


async def _stop(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, Exception):
            raise outcome


def limits(found: dict[str, float]) -> list[Limit]:
    """What the figures of `measure_phone_calls` must be."""
    return [
        Limit("phone calls answered", found["answered"], least=found["calls"]),
        Limit("phone calls that ended by themselves", found["ended_early"], most=0),
        Limit("gaps under 60 ms at the caller", found["gaps_under_60ms"] * 100, least=UNDER_60_MS * 100, unit="%"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--codec", default="pcmu", help="g722, pcmu, pcma, or several with commas between")
    options = parser.parse_args()
    end_in_order()
    try:
        found = uvloop.run(measure_phone_calls(options.calls, options.seconds, options.codec))
    except TrunklineError as error:
        raise SystemExit(str(error)) from error
    for name, value in found.items():
        print(f"{name:24} {value:,.4f}".rstrip("0").rstrip("."))
    sys.exit(judge(f"{options.calls} phone calls, {options.seconds:g} s", limits(found)))


if __name__ == "__main__":
    main()
