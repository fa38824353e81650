"""One conversation: performs what the turn machine decides, on one call's pipeline and audio.

Comes after the call is admitted and ends with it. `Session` owns it; it owns the lane, the pipeline and the brain.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from pipecat.processors.frame_processor import FrameProcessor

from trunkline.agent.clock import LoopClock
from trunkline.agent.pipeline.assembly import CallPipeline
from trunkline.agent.pipeline.brain import Brain
from trunkline.agent.pipeline.chime import CHIME
from trunkline.agent.pipeline.lane import CallerLane
from trunkline.agent.pipeline.turn_taking import TurnTaking
from trunkline.agent.pipeline.vad import VoiceActivity
from trunkline.core.endpointing import EndpointingParams
from trunkline.core.errors import LocalProtocolError
from trunkline.core.machine import Driver
from trunkline.core.turn import TurnMachine
from trunkline.core.turn_events import (
    AskBrain,
    CancelReply,
    CloseTurn,
    PausePlayout,
    PlaybackEnded,
    PlaybackHalted,
    PlaybackStarted,
    ReplyAudible,
    ReplyDecided,
    ReplyFailed,
    ResumePlayout,
    TurnEffect,
    TurnEvent,
    TurnParams,
)
from trunkline.core.units import Pcm
from trunkline.media.engine import CallerFrame, FirstPacket, Halted, LastPacket, MediaEvent, MediaLeg, RanDry
from trunkline.media.transport import AgentOutput, CallerInput

log = structlog.get_logger()

PIPELINE_START_TIMEOUT_S = 5.0
REPLY_STOP_TIMEOUT_S = 1.0
"""How long a brain that is told to stop may take."""


@dataclass(frozen=True, slots=True)
class ConversationParts:
    """What a conversation is made of; new for each call, except for the model.

    Args:
        activity: The worker's voice activity model.
        stt: Pipecat service that hears.
        tts: Pipecat service that speaks.
        brain: What answers.
        turns: When to answer, and what interrupts.
        endpointing: When speech starts and ends.
        chime: Play a short chime when the caller interrupts.
    """

    activity: VoiceActivity
    stt: FrameProcessor
    tts: FrameProcessor
    brain: Brain
    turns: TurnParams
    endpointing: EndpointingParams
    chime: bool = False


class Conversation:
    """The turns of one call.

    Args:
        parts: What it is made of.
        clock: Instants and timers.
        on_turn: Takes each turn when it is over.
    """

    def __init__(self, parts: ConversationParts, clock: LoopClock, on_turn: Callable[[CloseTurn], None]) -> None:
        self._parts = parts
        self._clock = clock
        self._on_turn = on_turn
        self.machine = TurnMachine(parts.turns)
        self._driver: Driver[TurnEvent, TurnEffect] = Driver(self.machine, self._perform, clock)
        self._leg: MediaLeg | None = None
        self._input = CallerInput()
        self._turn_taking = TurnTaking(self._feed)
        self._output = AgentOutput(self._on_audio, self._on_reply_end)
        self._pipeline = CallPipeline(
            [self._input, parts.stt, self._turn_taking, parts.tts, self._output], self._on_stage_error
        )
        self._lane = CallerLane(parts.activity, self._input, self._feed, parts.endpointing)
        self._utterance = 0
        self._dropped_up_to = 0
        self._turn_of: dict[int, int] = {}
        self._reply: asyncio.Task[None] | None = None
        self._barge_ins_heard = 0
        self.ran_dry = 0

    async def prepare(self) -> None:
        """Starts the pipeline, so that providers are connected before the call is answered.

        Raises:
            TimeoutError: a stage did not come up in time.
            AgentError: the pipeline gave up.
        """
        await self._pipeline.start(PIPELINE_START_TIMEOUT_S)

    def begin(self, leg: MediaLeg) -> None:
        """The caller hears us: from now on its audio counts."""
        self._leg = leg

    async def end(self) -> None:
        """Closes open turns, stops everything; bounded in time. Returns when nothing of it is left.

        The leg must still be there: what the caller did not hear yet is dropped first.
        """
        self._lane.close()
        self._driver.close()
        reply = self._reply
        try:
            # Records first: they must not depend on a leg that may be broken.
            for effect in sorted(self.machine.close(self._clock.time()), key=lambda each: type(each) is not CloseTurn):
                self._perform(effect)
        finally:
            if reply is not None:
                reply.cancel()
                await asyncio.wait({reply}, timeout=REPLY_STOP_TIMEOUT_S)
            await self._pipeline.stop()

    def on_frame(self, frame: CallerFrame) -> None:
        """Takes 20 ms of the caller."""
        if self._leg is not None:
            self._lane.on_frame(frame)

    def on_media(self, event: MediaEvent) -> None:
        """Takes what became of the answer's audio."""
        if isinstance(event, RanDry):
            self.ran_dry += 1
            return
        if not isinstance(event, FirstPacket | LastPacket | Halted):
            return
        turn = self._turn_of.get(event.utterance)
        if turn is None:
            return
        match event:
            case FirstPacket(at=at):
                self._feed(PlaybackStarted(turn, at))
            case LastPacket(samples=0):
                self._feed(ReplyFailed(turn))
            case LastPacket(at=at, samples=samples):
                self._feed(PlaybackEnded(turn, at, samples))
            case Halted(at=at, samples=samples):
                self._feed(PlaybackHalted(turn, at, samples))

    def _feed(self, event: TurnEvent) -> None:
        try:
            self._driver.feed(event)
        except LocalProtocolError as error:
            # Ours, but no reason to end a call: the machine is unchanged.
            log.error("turn_event_illegal", error=str(error))

    def _perform(self, effect: TurnEffect) -> None:
        match effect:
            case AskBrain(turn, text):
                self._utterance += 1
                self._turn_of = {self._utterance: turn}
                self._reply = asyncio.get_running_loop().create_task(self._answer(turn, self._utterance, text))
            case CancelReply():
                self._cancel_reply()
            case PausePlayout():
                self._leg_now().pause()
            case ResumePlayout():
                self._leg_now().resume()
            case CloseTurn():
                self._on_turn(effect)

    async def _answer(self, turn: int, utterance: int, text: str) -> None:
        """Has the brain answer and the TTS say it. On cancel, what was not said is dropped."""
        try:
            await self._turn_taking.begin(utterance)
            async for sentence in self._parts.brain.reply(text):
                self._feed(ReplyDecided(turn, sentence))
                await self._turn_taking.speak(sentence)
            await self._turn_taking.end(utterance)
        except Exception as error:  # noqa: BLE001 (somebody else's brain: its failure is one turn's, not the call's)
            log.error("brain_failed", error=repr(error))
            self._feed(ReplyFailed(turn))

    def _cancel_reply(self) -> None:
        if self._reply is not None:
            self._reply.cancel()
            self._reply = None
        self._dropped_up_to = self._utterance
        self._turn_taking.interrupt()
        leg = self._leg_now()
        leg.flush()
        if self._parts.chime and self.machine.barge_ins > self._barge_ins_heard:
            self._barge_ins_heard = self.machine.barge_ins
            self._utterance += 1
            self._dropped_up_to = self._utterance
            leg.play(self._utterance, CHIME)
            leg.end(self._utterance)

    def _on_audio(self, utterance: int, samples: Pcm) -> None:
        if utterance <= self._dropped_up_to:
            return
        turn = self._turn_of.get(utterance)
        if turn is not None:
            self._feed(ReplyAudible(turn))
        self._leg_now().play(utterance, samples)

    def _on_reply_end(self, utterance: int) -> None:
        if utterance > self._dropped_up_to:
            self._leg_now().end(utterance)

    def _on_stage_error(self, stage: str, error: str) -> None:
        log.error("stage_failed", stage=stage, error=error, chain=self._pipeline.describe())

    def _leg_now(self) -> MediaLeg:
        assert self._leg is not None, "no turn can begin before the caller's audio counts"
        return self._leg
