"""A plain Pipecat bot: LiveKitTransport, Silero, Deepgram, one answer a burst, ElevenLabs.

In: one line of JSON a call ({"url", "token", "room"}). A call ends when its caller leaves, and the process when all
calls have and its input is closed. PEERS_PROVIDERS is where Deepgram and ElevenLabs are: ws://HOST:PORT.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

import uvloop
from loguru import logger
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.audio.vad.vad_analyzer import VADParams
from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    Frame,
    InterimTranscriptionFrame,
    TranscriptionFrame,
    TTSSpeakFrame,
    VADUserStartedSpeakingFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.audio.vad_processor import VADProcessor
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.deepgram.stt import DeepgramSTTService
from pipecat.services.elevenlabs.tts import ElevenLabsTTSService
from pipecat.transports.livekit.transport import LiveKitParams, LiveKitTransport
from pipecat.workers.runner import WorkerRunner

RATE_HZ = 16_000


class FirstPartial(FrameProcessor):
    """Answers the first partial of a burst; speech over an answer ends the answer."""

    def __init__(self) -> None:
        super().__init__()
        self._bursting = False
        self._answered = False
        self._early = ""
        self._bot_speaks = False

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        match frame:
            case VADUserStartedSpeakingFrame():
                await self._begin()
            case BotStartedSpeakingFrame():
                self._bot_speaks = True
            case BotStoppedSpeakingFrame():
                self._bot_speaks = False
            case InterimTranscriptionFrame(text=text):
                # Words before the detector is sure of a new burst are answered when it is.
                await self._answer(text)
                return
            case TranscriptionFrame():
                self._bursting, self._early = False, ""
                return
        await self.push_frame(frame, direction)

    async def _begin(self) -> None:
        if self._bursting:  # a pause within the sentence
            return
        if self._bot_speaks:
            await self.broadcast_interruption()  # type: ignore[no-untyped-call]
        self._bursting, self._answered = True, False
        await self._answer(self._early)

    async def _answer(self, text: str) -> None:
        if not self._bursting:
            self._early = text
        elif text and not self._answered:
            self._answered = True
            await self.push_frame(TTSSpeakFrame(f"You said: {text}. Nice!"))


async def take_call(call: dict[str, str], providers: str) -> None:
    """One call, until its caller leaves."""
    params = LiveKitParams(
        audio_in_enabled=True, audio_out_enabled=True, audio_in_sample_rate=RATE_HZ, audio_out_sample_rate=RATE_HZ
    )
    transport = LiveKitTransport(call["url"], call["token"], call["room"], params)
    vad = SileroVADAnalyzer(params=VADParams(confidence=0.7, start_secs=0.05, stop_secs=0.2, min_volume=0.0))
    stages = [
        transport.input(),
        VADProcessor(vad_analyzer=vad),
        # No later stage needs the caller's sound: passing it on would only cost the bot.
        DeepgramSTTService(
            api_key="emulated",
            base_url=providers,
            audio_passthrough=False,
            settings=DeepgramSTTService.Settings(endpointing=False),
        ),
        FirstPartial(),
        ElevenLabsTTSService(
            api_key="emulated",
            url=providers,
            sample_rate=RATE_HZ,
            settings=ElevenLabsTTSService.Settings(voice="emulated"),
        ),
        transport.output(),
    ]
    worker = PipelineWorker(
        Pipeline(stages),
        params=PipelineParams(audio_in_sample_rate=RATE_HZ, audio_out_sample_rate=RATE_HZ),
        enable_rtvi=False,
        enable_turn_tracking=False,
        idle_timeout_secs=None,
    )

    @transport.event_handler("on_participant_disconnected")  # type: ignore[untyped-decorator]
    async def _left(*_: Any) -> None:
        await worker.cancel()

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()


async def main() -> None:
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with asyncio.TaskGroup() as calls:
        while line := await lines.readline():
            calls.create_task(take_call(json.loads(line), os.environ["PEERS_PROVIDERS"]))


if __name__ == "__main__":
    logger.remove()
    logger.add(sys.stderr, level="ERROR")
    uvloop.run(main())
