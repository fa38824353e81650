"""What the agent's Python costs a call: conversations with the product's own pipeline, on emulated providers.

    .venv/bin/python -m benchmarks.agent --calls 25 --seconds 20

One process like a worker's, without LiveKit: every 20 ms each call gets a frame of a caller who speaks a coded sentence
of 2 s, waits for the answer, and speaks again; the answer's audio is counted and thrown away at the pace of speech. So
it covers voice activity, turns, Pipecat, the providers' clients and their sockets, but not the socket to the media
engine (`benchmarks/media.py` has that). Prints mcore, thousandths of one core, a call, and what the driver took itself.
Processor time, so it can be compared on a busy machine; the answers' delays can't.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import uvloop
from benchmarks.emulated_stack import emulators
from benchmarks.ending import end_in_order

from trunkline.agent.clock import LoopClock
from trunkline.agent.conversation import Conversation
from trunkline.agent.pipeline.loguru_bridge import route_loguru
from trunkline.agent.worker import Worker
from trunkline.core.latency import Mark
from trunkline.core.turn_events import CloseTurn
from trunkline.core.units import FRAME_S, FRAME_SAMPLES, SAMPLE_RATE_HZ, SILENT_FRAME, Pcm
from trunkline.loadtest.usage import memory_kib, processor_s
from trunkline.loadtest.voice import speak
from trunkline.logs import configure_logs
from trunkline.media.engine import CallerFrame, FirstPacket, Halted, LastPacket, MediaEvent
from trunkline.settings import load_settings
from trunkline.testing.voice_code import Bed

CYCLE_S = 6.6
"""From one sentence of a caller to the next: with sentences of 2 s, the caller talks 30 % of the time."""


@dataclass
class CountingLeg:
    """Plays at the pace of speech, by counting."""

    tell: Callable[[MediaEvent], None]
    utterance: int = 0
    waiting: int = 0
    sent: int = 0
    ended: bool = False
    paused: bool = False
    calls: list[str] = field(default_factory=list)

    def play(self, utterance: int, samples: Pcm) -> None:
        if utterance != self.utterance:
            self.utterance, self.waiting, self.sent, self.ended = utterance, 0, 0, False
        self.waiting += samples.size

    def end(self, utterance: int) -> None:
        if utterance == self.utterance:
            self.ended = True

    def pause(self) -> None:
        self.paused = True
        if self.sent:
            self.tell(Halted(self.utterance, time.monotonic(), self.sent))

    def resume(self) -> None:
        self.paused = False

    def flush(self) -> None:
        sent, self.waiting, self.ended, self.paused = self.sent, 0, False, False
        self.sent = 0
        if sent:
            self.tell(Halted(self.utterance, time.monotonic(), sent))

    def tick(self, now: float) -> None:
        if self.paused:
            return
        if self.waiting > 0:
            if not self.sent:
                self.tell(FirstPacket(self.utterance, now))
            self.sent += FRAME_SAMPLES
            self.waiting -= FRAME_SAMPLES
        elif self.ended:
            self.ended = False
            sent, self.sent = self.sent, 0
            self.tell(LastPacket(self.utterance, now, sent))


class Talker:
    """One caller and its conversation."""

    def __init__(self, conversation_of: Callable[[Callable[[CloseTurn], None]], Conversation], speech: Pcm) -> None:
        self.conversation = conversation_of(self._on_turn)
        self.leg = CountingLeg(self.conversation.on_media)
        self._speech = speech
        self._position = 0
        self._speak_at = 0.0
        self.turns: list[CloseTurn] = []
        self.sentences = 0
        self.speaking_frames = self.answer_frames = 0

    def tick(self, now: float) -> None:
        sent = self.leg.sent
        self.leg.tick(now)
        self.answer_frames += self.leg.sent > sent
        frame = SILENT_FRAME
        if now >= self._speak_at:
            frame = self._speech[self._position : self._position + FRAME_SAMPLES]
            self._position += FRAME_SAMPLES
            self.speaking_frames += 1
            if self._position >= self._speech.size:
                self._position = 0
                self._speak_at += CYCLE_S
                self.sentences += 1
        self.conversation.on_frame(CallerFrame(now, frame))

    def begin(self, at: float) -> None:
        self._speak_at = at
        self.conversation.begin(self.leg)  # type: ignore[arg-type]

    def _on_turn(self, turn: CloseTurn) -> None:
        self.turns.append(turn)


async def bench(options: argparse.Namespace) -> dict[str, float]:
    async with emulators() as provider:
        settings = load_settings(
            stt_provider="emulated", tts_provider="emulated", stt_url=provider.url, tts_url=provider.url,
            reply_on=options.reply_on, media_engine="sdk", log_level="WARNING",
        )  # fmt: skip
        configure_logs(settings, "agent")
        route_loguru()
        return await measure(options, Worker(settings)._make_parts, provider.pid)


async def measure(options: argparse.Namespace, make_parts: Callable[[], object], emulators: int) -> dict[str, float]:
    voice = await speak("what are your opening hours today please")
    bed = Bed(np.resize(voice, 2 * SAMPLE_RATE_HZ // FRAME_SAMPLES * FRAME_SAMPLES))
    clock = LoopClock(asyncio.get_running_loop(), time.monotonic)
    talkers = [
        Talker(lambda on_turn: Conversation(make_parts(), clock, on_turn), bed.encode(number))  # type: ignore[arg-type]
        for number in range(options.calls)
    ]
    memory = memory_kib(os.getpid())
    await asyncio.gather(*(talker.conversation.prepare() for talker in talkers))
    now = time.monotonic()
    for number, talker in enumerate(talkers):
        talker.begin(now + 0.5 + 4 * number / options.calls)
    gc.collect()
    driving = asyncio.create_task(drive(talkers))
    await asyncio.sleep(6)
    for talker in talkers:
        talker.turns.clear()
        talker.sentences = talker.speaking_frames = talker.answer_frames = 0
    began, used, emulated = time.monotonic(), time.process_time(), processor_s(emulators)
    await asyncio.sleep(options.seconds)
    elapsed, used, emulated = time.monotonic() - began, time.process_time() - used, processor_s(emulators) - emulated
    memory = memory_kib(os.getpid()) - memory
    per_call = 1000 / elapsed / options.calls
    turns = [turn for talker in talkers for turn in talker.turns]
    trips = [
        (turn.marks[Mark.PLAYBACK_START] - turn.marks[Mark.SPEECH_START]) * 1000
        for turn in turns
        if Mark.PLAYBACK_START in turn.marks
    ]
    result = {
        "calls": options.calls,
        "turns": len(turns),
        "sentences": sum(talker.sentences for talker in talkers),
        "caller_talks": sum(talker.speaking_frames for talker in talkers) * FRAME_S / elapsed / options.calls,
        "agent_talks": sum(talker.answer_frames for talker in talkers) * FRAME_S / elapsed / options.calls,
        "roundtrip_avg_ms": statistics.fmean(trips) if trips else float("nan"),
        "agent_mcore": used * per_call,
        "emulators_mcore": emulated * per_call,
        "memory_mib": memory / 1024 / options.calls,
    }
    driving.cancel()
    await asyncio.gather(driving, return_exceptions=True)
    await asyncio.gather(*(talker.conversation.end() for talker in talkers))
    return result


async def drive(talkers: list[Talker]) -> None:
    due = time.monotonic()
    while True:
        due += FRAME_S
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        now = time.monotonic()
        for talker in talkers:
            talker.tick(now)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=25)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--reply-on", choices=["first_partial", "stable_partial", "final"], default="first_partial")
    end_in_order()
    for name, value in uvloop.run(bench(parser.parse_args())).items():
        print(f"{name:20} {value if isinstance(value, int) else format(value, '.2f')}")


if __name__ == "__main__":
    main()
