"""The stage that hears: one recognizer, and another one that takes over in the middle of a sentence.

In: the caller's speech, as `CallerInput` brings it. Out: transcriptions, as if there were one recognizer. What was said
since the last final is kept; `core/hearing.py` decides who hears, and when the kept sound goes to somebody else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog
from pipecat.frames.frames import (
    CancelFrame,
    EndFrame,
    Frame,
    InputAudioRawFrame,
    InterimTranscriptionFrame,
    TranscriptionFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor, FrameProcessorSetup

from trunkline.agent.pipeline.kept_speech import KeptSpeech
from trunkline.agent.pipeline.local_stt import NothingUnderstoodFrame
from trunkline.agent.pipeline.providers import Row
from trunkline.agent.pipeline.service_slot import ServiceSlot
from trunkline.core.errors import LocalProtocolError, SpeechLostError
from trunkline.core.hearing import Ear, HearingMachine, HearingParams, HearingState
from trunkline.core.hearing_events import (
    BurstBegan,
    BurstOver,
    BurstSure,
    BurstTakenBack,
    Hear,
    HearingEffect,
    HearingEvent,
    NobodyHears,
    ProviderFailed,
    Readiness,
    SignOfLife,
    Understood,
)
from trunkline.core.machine import Driver
from trunkline.media.stage import Stage
from trunkline.media.transport import SoundAheadFrame, SoundTakenBackFrame, SpeechGoesOnFrame, SpeechSureFrame

log = structlog.get_logger()

READY_S = 2.0
"""So long the pipeline's start waits for the first recognizer; a slower one is joined by the call when it is there."""
POLL_S = 0.05
"""How often it is looked whether a recognizer is back, while there is none."""
CALLERS = (VADUserStartedSpeakingFrame, VADUserStoppedSpeakingFrame, InputAudioRawFrame)
"""Frames of the caller's speech, which end here."""


@dataclass(frozen=True, slots=True)
class Recognizing:
    """One recognizer of a call.

    Args:
        label: For logs.
        row: What is known of its service.
        service: Pipecat's.
        ear: What the worker's calls know of the provider.
    """

    label: str
    row: Row
    service: FrameProcessor
    ear: Ear


class HearingStage(Stage):
    """Hears one caller.

    Args:
        recognizers: The first choice first.
        params: Times and counts.
    """

    def __init__(self, recognizers: Sequence[Recognizing], params: HearingParams | None = None, **kwargs: Any) -> None:
        super().__init__(name="hearing", **kwargs)
        self._recognizers = recognizers
        self._slots = [self._slot(index, each) for index, each in enumerate(recognizers)]
        self._machine = HearingMachine([each.ear for each in recognizers], params)
        self._driver: Driver[HearingEvent, HearingEffect] | None = None
        self._kept = KeptSpeech(len(recognizers))
        self._current: int | None = None
        self._more_expected = False
        self._moving: asyncio.Task[None] | None = None
        self._polling: asyncio.TimerHandle | None = None

    @property
    def switches(self) -> int:
        """How often another recognizer took over."""
        return self._machine.switches

    async def setup(self, setup: FrameProcessorSetup) -> None:  # type: ignore[override]
        """Connects all recognizers; waits for the first only, and not for long."""
        await super().setup(setup)
        self._driver = Driver(self._machine, self._perform, asyncio.get_running_loop())
        opening = [slot.open(self.processor_setup) for slot in self._slots]
        await asyncio.wait(opening[:1], timeout=READY_S)

    async def cleanup(self) -> None:
        """Releases all recognizers."""
        await self._close()
        await asyncio.gather(*(slot.cleanup() for slot in self._slots))
        await super().cleanup()  # type: ignore[no-untyped-call]

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Takes the caller's speech; passes everything else on."""
        if isinstance(frame, InputAudioRawFrame):
            await self._hear(frame)
            return
        await super().process_frame(frame, direction)
        match frame:
            case VADUserStartedSpeakingFrame():
                if self._machine.state is HearingState.IDLE:
                    self._kept.clear()
                sure = not isinstance(frame, SoundAheadFrame)
                self._feed(BurstBegan(self._ready(), sure=sure))
                self._kept.unsure(None if sure else self._current)
                await self._hear(frame)
            case SpeechSureFrame():
                self._kept.unsure(None)
                self._feed(BurstSure(self._ready()))
            case SoundTakenBackFrame():
                await self._take_back()
                self._feed(BurstTakenBack())
            case SpeechGoesOnFrame():
                self._feed(BurstBegan(self._ready(), goes_on=True))
            case VADUserStoppedSpeakingFrame():
                await self._hear(frame)
                self._feed(BurstOver())
            case EndFrame() | CancelFrame():
                await self._close()
                await asyncio.gather(*(slot.end(frame) for slot in self._slots))
                await self.push_frame(frame, direction)
            case _:
                await self.push_frame(frame, direction)

    # --- the caller's speech ---

    async def _hear(self, frame: Frame) -> None:
        """Keeps a frame, and gives it to who hears now; who is still catching up comes to it by themselves."""
        self._kept.add(frame)
        if self._current is not None:
            await self._give(self._current, frame)

    async def _take_back(self) -> None:
        """Has the recognizer be done with a noise that it was given: else its words for it come with the next ones."""
        if self._kept.take_back(self._current):
            assert self._current is not None
            await self._slots[self._current].feed(VADUserStoppedSpeakingFrame())

    async def _move(self, provider: int) -> None:
        """Gives a recognizer all that is kept, and from then on what comes."""
        position = self._kept.begin
        if not isinstance(self._kept.at(position), VADUserStartedSpeakingFrame):
            await self._slots[provider].feed(VADUserStartedSpeakingFrame(start_secs=0.0))
        while (frame := self._kept.at(position)) is not None:
            await self._give(provider, frame)
            position = max(position + 1, self._kept.begin)
        self._current, self._moving = provider, None

    async def _give(self, provider: int, frame: Frame) -> None:
        self._kept.given(provider, frame)
        await self._slots[provider].feed(frame)

    # --- the recognizers ---

    def _slot(self, index: int, recognizing: Recognizing) -> ServiceSlot:
        row, service = recognizing.row, recognizing.service
        if row.listening:
            take = getattr(service, row.listening)

            async def listen(message: Any) -> None:
                self._feed(SignOfLife(index))
                await take(message)
                if row.finished(message) and index == self._machine.active:
                    if self._kept.is_stale(index, row.heard_s(message)):
                        return
                    self._kept.understood()
                    self._feed(Understood(index, final=True))
                    if self._more_expected:
                        # All its words were final before: who waits for the last ones need not.
                        self._more_expected = False
                        await self.push_frame(NothingUnderstoodFrame())

            setattr(service, row.listening, listen)
        return ServiceSlot(service, row.connected, partial(self._on_frame, index), partial(self._on_failure, index))

    async def _on_frame(self, index: int, frame: Frame) -> None:
        if isinstance(frame, (InterimTranscriptionFrame, TranscriptionFrame, NothingUnderstoodFrame)):
            heard_s = self._heard_s(index, frame)
            final = not isinstance(frame, InterimTranscriptionFrame)
            if final and index != self._machine.active and self._machine.takes_late(index):
                self._go_back(index)
            elif index != self._machine.active or self._kept.is_stale(index, heard_s):
                log.debug("late_words_dropped", provider=self._recognizers[index].label)
                return
            if final:
                self._more_expected = not getattr(frame, "finalized", True)
                self._on_final(index, frame, heard_s)
            self._feed(Understood(index, final))
        elif index != self._machine.active or isinstance(frame, CALLERS):
            return
        await self.push_frame(frame)

    def _go_back(self, index: int) -> None:
        """A final that was only late came first: whoever was asked instead need not go on."""
        self._stop_moving()
        self._kept.abandon(self._machine.active)
        self._current = index

    def _on_final(self, index: int, frame: Frame, heard_s: float | None) -> None:
        """What is final need not be kept."""
        whole = self._machine.state is HearingState.FINISHING or getattr(frame, "finalized", True)
        if whole:
            self._kept.understood()
        elif heard_s is not None and self._current == index:
            self._kept.understood_until(index, heard_s)

    def _heard_s(self, index: int, frame: Frame) -> float | None:
        result = getattr(frame, "result", None)
        return self._recognizers[index].row.heard_s(result) if result is not None else None

    async def _on_failure(self, index: int, problem: str) -> None:
        log.warning("recognizer_failed", provider=self._recognizers[index].label, error=problem)
        self._kept.begin_anew(index)
        self._feed(ProviderFailed(index))

    def _ready(self) -> tuple[bool, ...]:
        return tuple(slot.ready for slot in self._slots)

    # --- the machine ---

    def _feed(self, event: HearingEvent) -> None:
        if self._driver is None:
            return
        try:
            self._driver.feed(event)
        except LocalProtocolError as error:
            log.error("hearing_event_illegal", error=str(error))
        if self._machine.state is HearingState.WAITING and self._polling is None:
            self._current = None
            self._polling = asyncio.get_running_loop().call_later(POLL_S, self._poll)

    def _poll(self) -> None:
        self._polling = None
        self._feed(Readiness(self._ready()))

    def _perform(self, effect: HearingEffect) -> None:
        match effect:
            case Hear(provider, again):
                before = self._current
                if before is not None and before != provider:
                    self._kept.abandon(before)
                    log.warning("recognizer_switched", provider=self._recognizers[provider].label, again=again)
                if again:
                    self._stop_moving()
                    self._current = None
                    self._moving = asyncio.get_running_loop().create_task(self._move(provider))
                elif self._moving is None:
                    # Otherwise it is still catching up, and will come to this burst.
                    self._current = provider
            case NobodyHears():
                self._current = None
                error = SpeechLostError(self._recognizers[self._machine.active].label, "nobody hears the caller")
                self.create_task(self.push_error(str(error), exception=error), name="nobody-hears")

    def _stop_moving(self) -> None:
        if self._moving is not None:
            self._moving.cancel()
            self._moving = None

    async def _close(self) -> None:
        if self._driver is not None:
            self._driver.close()
        if self._polling is not None:
            self._polling.cancel()
        if (moving := self._moving) is not None:
            self._stop_moving()
            await asyncio.wait({moving}, timeout=1.0)
