"""What a failing provider adds to the answer: recognizers and voices of many calls, with and without faults.

    python benchmarks/failover.py --calls 10 --turns 30 --fault stall=0.1 --fault cut=0.1

Each call speaks sentences one after the other to the product's own stages, whose first provider has the faults and
whose standby has none. Prints how long the final took after the end of speech, and the first sound of a sentence or a
gap in the middle of it, in milliseconds: where the first provider did it, and where the standby had to. Wall time: only
what an idle machine gives counts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

import numpy as np
import uvloop
from loguru import logger
from pipecat.frames.frames import Frame, TranscriptionFrame, TTSAudioRawFrame, TTSSpeakFrame
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor

from trunkline.agent.pipeline.assembly import CallPipeline
from trunkline.agent.pipeline.shared_speech import SharedSpeech
from trunkline.core.units import FRAME_S, FRAME_SAMPLES, samples_to_s
from trunkline.emulators.app import serving
from trunkline.emulators.bed import bed
from trunkline.emulators.behaviour import Behaviour, parse_faults, profile
from trunkline.media.transport import CallerInput
from trunkline.settings import Settings
from trunkline.testing.speech import silence

HANGOVER_S = 0.2
ANSWER = "You said: {number} one two three four. Nice to hear you!"


class Ear(FrameProcessor):
    """Notes when words and sounds come."""

    def __init__(self) -> None:
        super().__init__(name="ear", enable_direct_mode=True)
        self.finals: list[tuple[float, str]] = []
        self.sounds: list[tuple[float, float]] = []
        self.came = asyncio.Event()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        now = asyncio.get_running_loop().time()
        if isinstance(frame, TranscriptionFrame):
            self.finals.append((now, frame.text))
        elif isinstance(frame, TTSAudioRawFrame):
            self.sounds.append((now, samples_to_s(len(frame.audio) // 2)))
        self.came.set()
        await self.push_frame(frame, direction)

    async def until(self, enough: Any, limit_s: float = 8.0) -> bool:
        try:
            async with asyncio.timeout(limit_s):
                while not enough():
                    self.came.clear()
                    await self.came.wait()
        except TimeoutError:
            return False
        return True


async def hear(speech: SharedSpeech, number: int, turns: int, done: dict[str, list[Any]]) -> None:
    """One caller; a call hangs up after five sentences and calls again."""
    loop = asyncio.get_running_loop()
    while turns > 0:
        door, ear, stage = CallerInput(), Ear(), speech.ear()
        pipeline = CallPipeline([door, stage, ear], lambda *_: None)
        await pipeline.start(10.0)
        for _ in range(min(5, turns)):
            turns -= 1
            samples = np.concatenate([silence(0.1), bed(0.8).encode(number), silence(HANGOVER_S)])
            before, switches, due = len(ear.finals), stage.switches, loop.time()
            door.start_speech()
            for start in range(0, samples.size, FRAME_SAMPLES):
                door.audio(samples[start : start + FRAME_SAMPLES])
                due += FRAME_S
                await asyncio.sleep(max(0.0, due - loop.time()))
            door.stop_speech(HANGOVER_S)
            ended_at = loop.time()
            whole = await ear.until(lambda ear=ear, before=before: len(ear.finals) > before)
            words = " ".join(text for _, text in ear.finals[before:])
            if not whole or words != f"{number} test phrase":
                done["lost"].append(f"{number}: {words!r}")
                continue
            kind = "standby" if stage.switches > switches else "first"
            done[kind].append(1000 * (ear.finals[before][0] - ended_at))
        await pipeline.stop()


async def say(speech: SharedSpeech, number: int, turns: int, done: dict[str, list[Any]]) -> None:
    """One agent; the gaps are those that a caller would hear who is played everything as it comes."""
    loop = asyncio.get_running_loop()
    while turns > 0:
        ear, stage = Ear(), speech.voice()
        pipeline = CallPipeline([stage, ear], lambda *_: None)
        await pipeline.start(10.0)
        for _ in range(min(5, turns)):
            turns -= 1
            ear.sounds.clear()
            switches, asked_at = stage.switches, loop.time()
            text = ANSWER.format(number=number)
            await pipeline.feed(TTSSpeakFrame(text, append_to_context=False))
            length_s = 0.06 * len(text) - 0.6
            whole = await ear.until(lambda ear=ear, length_s=length_s: sum(each for _, each in ear.sounds) >= length_s)
            if not whole:
                done["lost"].append(f"{number}: {sum(each for _, each in ear.sounds):.1f} of {length_s:.1f} s")
                continue
            wait_s, played_until = 0.0, asked_at
            for at, sound_s in ear.sounds:
                wait_s += max(0.0, at - played_until)
                played_until = max(at, played_until) + sound_s
            done["standby" if stage.switches > switches else "first"].append(1000 * wait_s)
            await asyncio.sleep(0.3)
        await pipeline.stop()


def figures(values: Sequence[float]) -> dict[str, float]:
    if len(values) < 2:
        return {"turns": len(values)}
    p95 = statistics.quantiles(values, n=20)[-1]
    return {"turns": len(values), "median_ms": round(statistics.median(values)), "p95_ms": round(p95)}


async def measure(options: argparse.Namespace) -> None:
    delays = profile(options.profile)
    report: dict[str, Any] = {"profile": options.profile, "fault": options.fault}
    async with AsyncExitStack() as stack:
        bad = await stack.enter_async_context(
            serving(Behaviour(faults=parse_faults(options.fault), profile=delays, seed=options.seed))
        )
        good = await stack.enter_async_context(serving(Behaviour(profile=delays, seed=options.seed + 1)))
        values: dict[str, Any] = {}
        for kind, first, standby in (("stt", "deepgram", "assemblyai"), ("tts", "elevenlabs", "cartesia")):
            values |= {f"{kind}_provider": first, f"{kind}_url": bad, f"{kind}_api_key": "x"}
            values |= {f"{kind}_standby_provider": standby, f"{kind}_standby_url": good}
            values[f"{kind}_standby_api_key"] = "x"
        speech = SharedSpeech(Settings(_env_file=None, **values))
        for name, work in (("final_after_speech", hear), ("silence_in_an_answer", say)):
            done: dict[str, list[Any]] = {"first": [], "standby": [], "lost": []}
            for turns in (5, options.turns):
                # The first ones only teach what is usual.
                for each in done.values():
                    each.clear()
                calls = (work(speech, number, turns, done) for number in range(1, options.calls + 1))
                await asyncio.gather(*calls)
            kinds = {kind: figures(done[kind]) for kind in ("first", "standby")}
            report[name] = kinds | {"lost": done["lost"]}
            if len(done["first"]) > 1 and len(done["standby"]) > 1:
                usual = statistics.median(done["first"])
                report[name]["added_p95_ms"] = round(kinds["standby"]["p95_ms"] - usual)
    sys.stdout.write(json.dumps(report, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=10)
    parser.add_argument("--turns", type=int, default=30, help="of each call")
    parser.add_argument("--profile", default="brief")
    parser.add_argument("--fault", action="append", default=[], metavar="NAME=CHANCE")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    options.fault = options.fault or ["stall=0.05", "cut=0.05"]
    logger.remove()
    uvloop.run(measure(options))


if __name__ == "__main__":
    main()
