"""One conversation: performs what the turn machine decides, on one call's pipeline and audio.

Comes after the call is admitted and ends with it. `Session` owns it; it owns the lane, the pipeline and the brain.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import structlog
from pipecat.processors.frame_processor import FrameProcessor

from trunkline.agent.acting import Acting, CallControl
from trunkline.agent.answering import Answering, Manners
from trunkline.agent.brains.brain import Answer, Brain, Call, Exchange
from trunkline.agent.clock import LoopClock
from trunkline.agent.farewell import Farewell
from trunkline.agent.listening import Listening, Noticed
from trunkline.agent.outgoing import Outgoing
from trunkline.agent.pipeline.assembly import CallPipeline
from trunkline.agent.pipeline.chime import CHIME
from trunkline.agent.pipeline.lane import CallerLane
from trunkline.agent.pipeline.smart_turn import SmartTurn
from trunkline.agent.pipeline.turn_taking import TurnTaking
from trunkline.agent.pipeline.vad import VoiceActivity
from trunkline.agent.transcript import Transcript
from trunkline.core.early_ear import EarlyEar
from trunkline.core.endpointing import EndpointEvent, EndpointingParams, SpeechStarted
from trunkline.core.errors import LocalProtocolError, SpeechLostError
from trunkline.core.machine import Driver
from trunkline.core.turn import TurnMachine
from trunkline.core.turn_events import (
    AnswerCut,
    AskBrain,
    CancelReply,
    CloseTurn,
    FinalHeard,
    PartialHeard,
    PausePlayout,
    PlaybackEnded,
    PlaybackHalted,
    PlaybackStarted,
    Prompted,
    ReleaseReply,
    ReplyAudible,
    ReplyDecided,
    ReplyEmpty,
    ReplyFailed,
    ReplyPolicy,
    ResumePlayout,
    TurnEffect,
    TurnEvent,
    TurnParams,
)
from trunkline.core.units import Pcm
from trunkline.core.wire import TurnOutcome
from trunkline.media.engine import (
    CallerFrame,
    DtmfReceived,
    FirstPacket,
    Halted,
    LastPacket,
    MediaEvent,
    MediaLeg,
    RanDry,
)
from trunkline.media.transport import AgentOutput, CallerInput

log = structlog.get_logger()

PIPELINE_START_TIMEOUT_S = 5.0
HISTORY_TURNS = 200
"""Of a call that goes on for hours, the brain is shown so many turns."""


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
        smart_turn: The worker's model of how finished sentences sound; None: silence alone ends a turn.
        early: The recognizers bear sound that is taken back: they get it before it is known to be speech.
        manners: How long the brain may think, and what is said where it fails.
        chime: Play a short chime when the caller interrupts.
        farewell: What is said where no provider is left; int16, mono, 16000 Hz.
    """

    activity: VoiceActivity
    stt: FrameProcessor
    tts: FrameProcessor
    brain: Brain
    turns: TurnParams
    endpointing: EndpointingParams
    smart_turn: SmartTurn | None = None
    early: bool = False
    manners: Manners = field(default_factory=Manners)
    chime: bool = False
    farewell: Pcm | None = None


def with_policy(parts: ConversationParts, reply_on: str) -> ConversationParts:
    """The same with a call's own policy; empty, or one that this version does not know: unchanged."""
    if reply_on not in set(ReplyPolicy):
        return parts
    return replace(parts, turns=replace(parts.turns, policy=ReplyPolicy(reply_on)))


class Conversation:
    """The turns of one call.

    Args:
        parts: What it is made of.
        clock: Instants and timers.
        on_turn: Takes each turn when it is over.
        control: The call as a whole, for a brain that hangs up or transfers.
    """

    def __init__(
        self,
        parts: ConversationParts,
        clock: LoopClock,
        on_turn: Callable[[CloseTurn], None],
        control: CallControl | None = None,
    ) -> None:
        self._parts = parts
        self._clock = clock
        self._on_turn = on_turn
        self.machine = TurnMachine(parts.turns)
        self._driver: Driver[TurnEvent, TurnEffect] = Driver(self.machine, self._perform, clock)
        self._leg: MediaLeg | None = None
        self._input = CallerInput()
        self._turn_taking = TurnTaking(self._on_words)
        self._pipeline = CallPipeline(
            [self._input, parts.stt, self._turn_taking, parts.tts, AgentOutput(self)],
            self._on_stage_error,
            self._on_speech_lost,
        )
        self._lane = CallerLane(
            parts.activity,
            self._input,
            self._on_speech,
            parts.endpointing,
            smart_turn=parts.smart_turn,
            early=EarlyEar() if parts.early else None,
        )
        self._words_ahead: PartialHeard | FinalHeard | None = None
        self._outgoing = Outgoing(self._lane.own_voice)
        self._call = Call("")
        self._transcript = Transcript()
        noticed = Noticed(keys=self._on_keys, first_key=self._on_first_key, silence=self._on_silence)
        self._listening = Listening(parts.brain.listen, noticed, clock)
        self._answering = Answering(self._turn_taking, self._listening, self._on_answer, parts.manners)
        self._acting = Acting(control, self._on_transfer_failed, self._settle_soon) if control is not None else None
        self._farewell = Farewell(parts.farewell, control.end, clock) if control is not None else None
        self._prompt: Answer | None = None
        self._utterance = 0
        self._dropped_up_to = 0
        self._turn_of: dict[int, int] = {}
        self._barge_ins_heard = 0
        self._settling = False
        self._over = False
        self.ran_dry = 0

    async def prepare(self) -> None:
        """Starts the pipeline, so that providers are connected before the call is answered.

        Raises:
            TimeoutError: a stage did not come up in time.
            AgentError: the pipeline gave up.
        """
        await self._pipeline.start(PIPELINE_START_TIMEOUT_S)

    def begin(self, leg: MediaLeg, call: Call | None = None) -> None:
        """The caller hears us: from now on its audio counts, and the agent may greet.

        Args:
            leg: Carries the audio.
            call: What the brain is told about the call.
        """
        self._leg = leg
        self._call = call or self._call
        brain = self._parts.brain
        if type(brain).greet is not Brain.greet:
            self._speak_first(brain.greet(self._call))
        self._settle()

    async def end(self) -> None:
        """Closes open turns, stops everything; bounded in time. Returns when nothing of it is left.

        The leg must still be there: what the caller did not hear yet is dropped first.
        """
        self._over = True
        self._lane.close()
        self._driver.close()
        self._listening.close()
        if self._acting is not None:
            self._acting.cancel()
        try:
            # Records first: they must not depend on a leg that may be broken.
            for effect in sorted(self.machine.close(self._clock.time()), key=lambda each: type(each) is not CloseTurn):
                self._perform(effect)
        finally:
            await self._answering.stop()
            self._close_brain()
            await self._pipeline.stop()

    def on_frame(self, frame: CallerFrame) -> None:
        """Takes 20 ms of the caller."""
        if self._leg is not None:
            self._lane.on_frame(frame)

    def on_media(self, event: MediaEvent) -> None:
        """Takes keys, and what became of the answer's audio."""
        if isinstance(event, RanDry):
            self.ran_dry += 1
            return
        if isinstance(event, DtmfReceived):
            if self._leg is not None:
                self._listening.press(event.digit)
            return
        if not isinstance(event, FirstPacket | LastPacket | Halted):
            return
        if isinstance(event, LastPacket) and self._farewell is not None:
            self._farewell.sent(event.utterance)
        turn = self._turn_of.get(event.utterance)
        if turn is None:
            return
        match event:
            case FirstPacket(at=at):
                self._lane.answered(at)
                self._feed(PlaybackStarted(turn, at))
            case LastPacket(samples=0):
                self._feed(ReplyFailed(turn))
            case LastPacket(at=at, samples=samples):
                self._lane.own_voice.dropped(at)
                self._feed(PlaybackEnded(turn, at, samples))
            case Halted(at=at, samples=samples):
                self._lane.own_voice.halted(at)
                self._feed(PlaybackHalted(turn, at, samples))

    # --- what the voice makes ---

    def on_sentence(self, utterance: int, piece: str, text: str) -> None:
        """Takes what the next audio says."""
        self._transcript.sentence(utterance, piece, text)

    def on_word(self, utterance: int, piece: str, at_s: float) -> None:
        """Takes when a word begins."""
        self._transcript.word(utterance, piece, at_s)

    def on_audio(self, utterance: int, piece: str, samples: Pcm) -> None:
        """Takes audio of the answer; of one that was cancelled, none."""
        if utterance <= self._dropped_up_to:
            return
        self._transcript.audio(utterance, piece, samples)
        turn = self._turn_of.get(utterance)
        if turn is not None:
            self._feed(ReplyAudible(turn))
        self._outgoing.audio(self._leg_now(), utterance, samples, self._clock.time())

    def on_reply_end(self, utterance: int) -> None:
        """The answer's audio is complete."""
        if utterance > self._dropped_up_to:
            self._transcript.end(utterance)
            self._outgoing.end(self._leg_now(), utterance)

    # --- what the caller does ---

    def _on_speech(self, event: EndpointEvent) -> None:
        self._feed(event)
        if isinstance(event, SpeechStarted):
            words, self._words_ahead = self._words_ahead, None
            if words is not None:
                self._on_words(words)

    def _on_words(self, event: PartialHeard | FinalHeard) -> None:
        if self._lane.unsure and isinstance(event, PartialHeard):
            # Words of what is not known to be speech: they count once it is, and else never.
            self._words_ahead = event
            return
        self._words_ahead = None
        self._lane.hear(event.text)
        self._feed(event)

    def _on_keys(self, keys: str) -> None:
        text = f"({len(keys)} key{'s' if len(keys) > 1 else ''})"
        self._speak_first(self._parts.brain.on_keys(self._call, keys), text, interrupts=True)

    def _on_first_key(self) -> None:
        self._feed(AnswerCut())

    def _on_silence(self) -> None:
        self._speak_first(self._parts.brain.on_silence(self._call))

    def _on_transfer_failed(self, number: str) -> None:
        self._speak_first(self._parts.brain.on_transfer_failed(self._call, number), interrupts=True)

    def _speak_first(self, answer: Answer, text: str = "", interrupts: bool = False) -> None:
        """Has the brain speak without having been spoken to; where that may not be now, it is not done at all."""
        self._prompt = answer
        self._feed(Prompted(text, interrupts))
        self._prompt = None

    # --- the machine ---

    def _feed(self, event: TurnEvent) -> None:
        try:
            self._driver.feed(event)
        except LocalProtocolError as error:
            # Ours, but no reason to end a call: the machine is unchanged.
            log.error("turn_event_illegal", error=str(error))
        self._settle_soon()

    def _settle_soon(self) -> None:
        """Once the machine has come to rest: it may be in the middle of a step now."""
        if not self._settling:
            self._settling = True
            asyncio.get_running_loop().call_soon(self._settle)

    def _settle(self) -> None:
        self._settling = False
        if not self._over:
            acting = self._acting is not None and self._acting.busy
            self._listening.settle(self.machine.idle and self._leg is not None and not acting)

    def _perform(self, effect: TurnEffect) -> None:
        match effect:
            case AskBrain(turn, text, held):
                self._outgoing.begin(held)
                self._ask(turn, text)
            case ReleaseReply():
                self._outgoing.release(self._leg_now(), self._utterance, self._clock.time())
            case CancelReply():
                self._cancel_reply()
            case PausePlayout():
                self._leg_now().pause()
            case ResumePlayout():
                self._lane.own_voice.started(self._clock.time())
                self._leg_now().resume()
            case CloseTurn():
                self._close_turn(effect)
                self._settle_soon()

    def _ask(self, turn: int, text: str) -> None:
        """Has the brain answer; what it said before must be known to the word first."""
        self._utterance += 1
        self._turn_of[self._utterance] = turn
        self._transcript.begin(turn, self._utterance)
        answer = self._prompt or self._parts.brain.reply(self._call, text)
        self._answering.begin(turn, self._utterance, answer, lambda: not self._transcript.open_before(turn))

    def _close_turn(self, turn: CloseTurn) -> None:
        heard = self._transcript.close(turn)
        self._turn_of = {utterance: each for utterance, each in self._turn_of.items() if each != turn.turn}
        interrupted = turn.outcome is TurnOutcome.INTERRUPTED
        self._call.history.append(Exchange(turn.understood, heard, interrupted))
        del self._call.history[:-HISTORY_TURNS]
        self._on_turn(replace(turn, heard=heard))
        if turn.outcome is TurnOutcome.ANSWERED:
            self._act(turn.turn)

    def _on_answer(self, event: ReplyDecided | ReplyEmpty) -> None:
        self._feed(event)
        if isinstance(event, ReplyEmpty):
            # Where nobody had spoken either, there was no turn whose end could tell.
            self._act(event.turn)

    def _act(self, turn: int) -> None:
        actions = self._answering.take_actions(turn)
        if self._acting is not None and not self._over:
            self._acting.perform(self._leg_now(), actions)

    def _cancel_reply(self) -> None:
        self._answering.cancel()
        self._dropped_up_to = self._utterance
        self._turn_taking.interrupt()
        self._lane.own_voice.dropped(self._clock.time())
        leg = self._leg_now()
        leg.flush()
        if self._parts.chime and self.machine.barge_ins > self._barge_ins_heard:
            self._barge_ins_heard = self.machine.barge_ins
            self._utterance += 1
            self._dropped_up_to = self._utterance
            leg.play(self._utterance, CHIME)
            leg.end(self._utterance)

    def _close_brain(self) -> None:
        try:
            self._parts.brain.close()
        except Exception as error:  # noqa: BLE001 (somebody else's brain; the call is over anyway)
            log.error("brain_close_failed", error=repr(error))

    def _on_stage_error(self, stage: str, error: str) -> None:
        log.error("stage_failed", stage=stage, error=error, chain=self._pipeline.describe())

    def _on_speech_lost(self, error: SpeechLostError) -> None:
        """Nobody is left to hear or to speak: the caller is told, and the call ends."""
        if self._farewell is None or self._over or self._farewell.begun:
            return
        log.error("speech_lost", error=str(error))
        self._driver.close()
        self._listening.close()
        self._answering.cancel()
        self._utterance += 1
        self._dropped_up_to = self._utterance
        self._farewell.say(self._leg, self._utterance, error.termination)

    def _leg_now(self) -> MediaLeg:
        assert self._leg is not None, "no turn can begin before the caller's audio counts"
        return self._leg
