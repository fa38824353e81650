"""What the media engines cost and how long the road is: agents that send back what they hear, on a real livekit-server.

    .venv/bin/python -m benchmarks.media --engine native --calls 100 --seconds 60     one run
    .venv/bin/python -m benchmarks.media --limits                                     `make bench-media`: all, judged

The agents' side is this process and its engine; the callers are another process with a native engine of its own. Each
caller speaks 30 % of the time. The road is the time from the first packet of a caller's speech to the instant at which
the first sound of it that comes back can be played, on one clock: caller's engine, SFU, agent's engine, Python, agent's
engine, SFU, caller's engine. It depends on how the 20 ms ticks of the two engines happen to lie to each other, so take
several runs. On time is a packet that its jitter buffer could still play. mcore are thousandths of one core, from
/proc, over the measured seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import uvloop
from benchmarks import phone_calls
from benchmarks.ending import end_in_order, ended
from benchmarks.limits import Limit, judge
from benchmarks.noise import burst
from tests.sfu import LiveKit, serve_livekit

from trunkline.loadtest.usage import memory_kib, processor_s
from trunkline.media.engine import CallerFrame, FirstPacket, MediaEngine, MediaEvent, MediaLeg, ParticipantLeft, RanDry
from trunkline.media.native import NativeEngine
from trunkline.media.sdk import SdkEngine
from trunkline.stack.binaries import find_media_engine

JITTER_MAX_MS = 60
LOUD = 400
QUIET_S = 0.2
BURST_S = 1.5
PAUSE_S = 3.5


def is_loud(frame: CallerFrame) -> bool:
    return int(np.abs(frame.samples).max()) > LOUD


@dataclass
class EchoAgent:
    """Sends back what it hears, burst by burst."""

    leg: MediaLeg | None = None
    utterance: int = 0
    speaking_until: float = 0.0
    frames: int = 0
    dry: int = 0

    def on_frame(self, frame: CallerFrame) -> None:
        self.frames += 1
        assert self.leg is not None
        if is_loud(frame):
            if frame.ended_at > self.speaking_until:
                self.utterance += 1
            self.speaking_until = frame.ended_at + QUIET_S
        elif frame.ended_at > self.speaking_until:
            if self.speaking_until:
                self.leg.end(self.utterance)
                self.speaking_until = 0.0
            return
        self.leg.play(self.utterance, frame.samples)

    def on_event(self, event: MediaEvent) -> None:
        self.dry += isinstance(event, RanDry)


@dataclass
class Caller:
    """Speaks now and then, and notes when its speech comes back."""

    sent_at: float = 0.0
    heard_loud_at: float = -1.0
    road_ms: list[float] = field(default_factory=list)
    lost: int = 0
    bursts: int = 0

    def on_frame(self, frame: CallerFrame) -> None:
        if not is_loud(frame):
            return
        if self.sent_at and frame.ended_at - self.heard_loud_at > QUIET_S:
            # An ear can play a frame from the instant on at which it was there.
            self.road_ms.append((frame.ended_at - self.sent_at) * 1000)
            self.sent_at = 0.0
        self.heard_loud_at = frame.ended_at

    def on_event(self, event: MediaEvent) -> None:
        if isinstance(event, FirstPacket):
            self.sent_at = event.at
        self.lost += isinstance(event, ParticipantLeft)


async def callers(url: str, tokens: list[str], seconds: float, jitter_ms: int) -> None:
    """The callers' process: joins all, speaks, prints one line of JSON."""
    engine = await native(jitter_ms)
    made = [Caller() for _ in tokens]
    legs = [await engine.join(url, token, caller) for token, caller in zip(tokens, made, strict=True)]
    for number, leg in enumerate(legs):
        await leg.listen_to(f"agent-{number}")
        await leg.publish()
    print("joined", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    for caller in made:
        caller.road_ms.clear()
    dice = random.Random(1)

    async def talk(leg: MediaLeg, caller: Caller, first_pause_s: float) -> None:
        sound = burst(BURST_S, dice.randrange(1000))
        await asyncio.sleep(first_pause_s)
        while True:
            caller.bursts += 1
            leg.play(caller.bursts, sound)
            leg.end(caller.bursts)
            await asyncio.sleep(BURST_S + PAUSE_S)

    talking = [
        asyncio.create_task(talk(leg, caller, dice.uniform(0, BURST_S + PAUSE_S)))
        for leg, caller in zip(legs, made, strict=True)
    ]
    assert engine.pid is not None
    used = processor_s(engine.pid)
    await asyncio.sleep(seconds)
    spent = processor_s(engine.pid) - used
    for task in talking:
        task.cancel()
    await asyncio.sleep(3.0)
    road = [ms for caller in made for ms in caller.road_ms]
    bursts = sum(caller.bursts for caller in made)
    lost = sum(caller.lost for caller in made)
    stats = asdict(await engine.stats())
    result = {"road": road, "bursts": bursts, "lost": lost, "engine_cpu_s": spent, "stats": stats}
    print(json.dumps(result), flush=True)
    await engine.close()


async def native(jitter_ms: int) -> NativeEngine:
    program = await find_media_engine(lambda name, state, _s: print(f"{name}: {state}", file=sys.stderr))
    if program is None:
        raise SystemExit("trunkline-media can't be had: no silent fallback in a bench")
    engine = NativeEngine(program, ["--jitter-min-ms", "20", "--jitter-max-ms", str(jitter_ms)])
    await engine.start()
    return engine


async def bench(engine_name: str, calls: int, seconds: float, jitter_ms: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        async for livekit in serve_livekit(Path(folder)):
            return await measure(livekit, engine_name, calls, seconds, jitter_ms)
    raise RuntimeError("no server")


async def measure(livekit: LiveKit, engine_name: str, calls: int, seconds: float, jitter_ms: int) -> dict[str, float]:
    engine: MediaEngine = await native(jitter_ms) if engine_name == "native" else SdkEngine()
    pid = engine.pid if isinstance(engine, NativeEngine) else None
    memory_before = memory_kib(pid or os.getpid())
    tokens = [livekit.token(f"room-{n}", f"caller-{n}") for n in range(calls)]
    command = [sys.executable, "-m", "benchmarks.media", "--callers", livekit.url]
    command += ["--seconds", str(seconds), "--jitter-max-ms", str(jitter_ms)]
    pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE, "limit": 1 << 24}
    async with ended(await asyncio.create_subprocess_exec(*command, **pipes)) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write((json.dumps(tokens) + "\n").encode())
        agents = [EchoAgent() for _ in range(calls)]
        for number, agent in enumerate(agents):
            token = livekit.token(f"room-{number}", f"agent-{number}", agent=True)
            agent.leg = await engine.join(livekit.url, token, agent)
            await agent.leg.listen_to(f"caller-{number}")
            await agent.leg.publish()
        if (await process.stdout.readline()).strip() != b"joined":
            raise SystemExit("the callers did not join")
        await asyncio.sleep(2.0)
        process.stdin.write(b"go\n")
        frames, began = sum(agent.frames for agent in agents), time.monotonic()
        python, engine_cpu = time.process_time(), processor_s(pid) if pid else 0.0
        await asyncio.sleep(seconds)
        elapsed = time.monotonic() - began
        python, engine_cpu = time.process_time() - python, (processor_s(pid) if pid else 0.0) - engine_cpu
        frames = sum(agent.frames for agent in agents) - frames
        told = json.loads(await process.stdout.readline())
        heard = [told["stats"], *([asdict(await engine.stats())] if isinstance(engine, NativeEngine) else [])]
        received = sum(stats["received"] for stats in heard)
        late = sum(stats["late"] for stats in heard)
        memory = (memory_kib(pid or os.getpid()) - memory_before) / 1024
        await process.wait()
        await engine.close()
    road = sorted(told["road"])
    return {
        "calls": calls,
        "bursts": told["bursts"],
        "came_back": len(road),
        "lost": told["lost"],
        "ran_dry": sum(agent.dry for agent in agents),
        "on_time_percent": 100 * (1 - late / received) if received else float("nan"),
        "packets_lost": sum(stats["lost"] for stats in heard),
        "ticks_dropped": sum(stats["dropped_ticks"] for stats in heard),
        "frames_a_second_a_call": frames / elapsed / calls,
        "engine_mcore": engine_cpu / elapsed / calls * 1000,
        "python_mcore": python / elapsed / calls * 1000,
        "caller_engine_mcore": told["engine_cpu_s"] / seconds / calls * 1000,
        "memory_mib": memory / calls,
        "road_p50_ms": statistics.median(road) if road else float("nan"),
        "road_p99_ms": road[int(len(road) * 0.99)] if road else float("nan"),
    }


def all_judged() -> int:
    """Every run of `make bench-media`, one after the other, and the figures against their limits."""
    native_at = {calls: run("native", calls, 60) for calls in (25, 50, 100)}
    road = run("native", 100, 60, jitter_ms=20)
    sdk = run("sdk", 10, 30)
    phone = uvloop.run(phone_calls.measure_phone_calls(50, 30))
    show("50 phone calls over SIP", phone)
    full, few = native_at[100], native_at[25]
    print(
        f"\nsdk engine beside it: {sdk['python_mcore']:.1f} mcore a call at 10 calls, "
        f"{sdk['python_mcore'] / (few['engine_mcore'] + few['python_mcore']):.0f} times the native one's at 25"
    )
    most = 1.1 * (few["engine_mcore"] + few["python_mcore"])
    return judge(
        "Media engine, 100 agents and 100 WebRTC callers on this machine",
        [
            Limit("participants lost, all runs", sum(each["lost"] for each in native_at.values()), most=0),
            Limit("bursts that came back", 100 * full["came_back"] / max(full["bursts"], 1), least=99.0, unit="%"),
            Limit("frames on time for their jitter buffer", full["on_time_percent"], least=99.9, unit="%"),
            Limit("engine, agent side", full["engine_mcore"], most=6, aim=4, unit="mcore a call"),
            Limit("engine's memory", full["memory_mib"], most=4, unit="MiB a call"),
            Limit("road, jitter buffers at 20 ms, p50", road["road_p50_ms"], most=80, unit="ms"),
            Limit("road, jitter buffers at 20 ms, p99", road["road_p99_ms"], most=110, unit="ms"),
            Limit("Python's side of the frames", full["python_mcore"], most=1.5, aim=1, unit="mcore a call"),
            *(
                Limit(f"growth: engine and Python at {calls} calls", each["engine_mcore"] + each["python_mcore"],
                      most=round(most, 2), unit="mcore a call")
                for calls, each in native_at.items() if calls > 25
            ),
            *phone_calls.limits(phone),
        ],
    )  # fmt: skip


def run(engine: str, calls: int, seconds: float, jitter_ms: int = JITTER_MAX_MS) -> dict[str, float]:
    """One run in a stack of its own, shown."""
    result = uvloop.run(bench(engine, calls, seconds, jitter_ms))
    show(f"{engine} engine, jitter buffers 20 to {jitter_ms} ms" if engine == "native" else f"{engine} engine", result)
    return result


def show(title: str, figures: dict[str, float]) -> None:
    print(f"\n{title}")
    for name, value in figures.items():
        print(f"  {name:24} {format(value, '.2f').rstrip('0').rstrip('.')}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=["native", "sdk"], default="native")
    parser.add_argument("--calls", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--jitter-max-ms", type=int, default=JITTER_MAX_MS, help="of the jitter buffers; 20: they stay")
    parser.add_argument("--limits", action="store_true", help="all runs, judged; about nine minutes")
    parser.add_argument("--callers", metavar="URL", help=argparse.SUPPRESS)
    options = parser.parse_args()
    end_in_order()
    if options.callers:
        uvloop.run(callers(options.callers, json.loads(sys.stdin.readline()), options.seconds, options.jitter_max_ms))
    elif options.limits:
        sys.exit(all_judged())
    else:
        run(options.engine, options.calls, options.seconds, options.jitter_max_ms)


if __name__ == "__main__":
    main()
