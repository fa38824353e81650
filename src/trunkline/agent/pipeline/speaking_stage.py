"""The stage that speaks: one voice, and another one that goes on at the next word where the first fails.

In: `TTSSpeakFrame`s between the frames that begin and end an answer. Out: for each sentence its text, its words'
instants and its audio, as one service would give them, and the frames around it in their order. Fixed prompts come from
memory. `core/saying.py` knows what of a sentence was said and when its sound is overdue.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import structlog
from pipecat.frames.frames import (
    AggregatedTextFrame,
    CancelFrame,
    EndFrame,
    Frame,
    InterruptionFrame,
    TTSAudioRawFrame,
    TTSSpeakFrame,
    TTSStoppedFrame,
    TTSTextFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor, FrameProcessorSetup

from trunkline.agent.pipeline.prompts import Prompts
from trunkline.agent.pipeline.providers import Row
from trunkline.agent.pipeline.service_slot import ServiceSlot
from trunkline.core.breaker import Breaker
from trunkline.core.errors import SpeechLostError
from trunkline.core.saying import Saying
from trunkline.core.units import SAMPLE_RATE_HZ
from trunkline.core.usual_delay import UsualDelay
from trunkline.media.stage import Stage
from trunkline.media.transport import ReplyEndFrame, ReplyStartFrame

log = structlog.get_logger()

READY_S = 2.0
"""So long the pipeline's start waits for the first voice."""
RECOVER_S = 1.5
"""Without any voice, how long one may take to come back."""
POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Speaking:
    """One voice of a call.

    Args:
        label: For logs.
        row: What is known of its service.
        service: Pipecat's.
        breaker: Whether the worker's calls may use the provider.
        first: How long its first sound takes.
        gap: How long it takes from one piece of sound to the next.
    """

    label: str
    row: Row
    service: FrameProcessor
    breaker: Breaker
    first: UsualDelay
    gap: UsualDelay


@dataclass
class _Sentence:
    """One that was asked for, and is not over yet."""

    text: str
    saying: Saying
    voice: int | None = None
    piece: str = ""
    origin_s: float | None = None
    tried: set[int] = field(default_factory=set)


class SpeakingStage(Stage):
    """Speaks to one caller.

    Args:
        voices: The first choice first.
        prompts: What need not be made.

    Attributes:
        switches: How often another voice went on.
    """

    def __init__(self, voices: Sequence[Speaking], prompts: Prompts | None = None, **kwargs: Any) -> None:
        super().__init__(name="speaking", **kwargs)
        self._voices = voices
        self._prompts = prompts
        self._slots = [
            ServiceSlot(
                each.service, each.row.connected, partial(self._on_frame, index), partial(self._on_failure, index)
            )
            for index, each in enumerate(voices)
        ]
        self._line: deque[_Sentence | Frame] = deque()
        self._deaf = [0] * len(voices)
        self._timer: asyncio.TimerHandle | None = None
        self._lost_at: float | None = None
        self._over = False
        self.switches = 0

    async def setup(self, setup: FrameProcessorSetup) -> None:  # type: ignore[override]
        """Connects all voices; waits for the first only, and not for long."""
        await super().setup(setup)
        opening = [slot.open(self.processor_setup) for slot in self._slots]
        await asyncio.wait(opening[:1], timeout=READY_S)

    async def cleanup(self) -> None:
        """Releases all voices."""
        self._close()
        await asyncio.gather(*(slot.cleanup() for slot in self._slots))
        await super().cleanup()  # type: ignore[no-untyped-call]

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Takes what is to be said; passes everything else on."""
        await super().process_frame(frame, direction)
        match frame:
            case TTSSpeakFrame():
                self._line.append(_Sentence(frame.text, Saying(frame.text, self._now())))
                await self._go_on()
            case ReplyStartFrame() | ReplyEndFrame():
                self._line.append(frame)
                await self._go_on()
            case InterruptionFrame():
                await self._interrupt(frame)
                await self.push_frame(frame, direction)
            case EndFrame() | CancelFrame():
                self._close()
                await asyncio.gather(*(slot.end(frame) for slot in self._slots))
                await self.push_frame(frame, direction)
            case _:
                await self.push_frame(frame, direction)

    # --- the line ---

    async def _go_on(self) -> None:
        """Passes on what stands first in line, and has the first sentence spoken."""
        while self._line and not self._over:
            first = self._line[0]
            if isinstance(first, Frame):
                self._line.popleft()
                await self.push_frame(first)
            elif first.voice is not None:
                break
            elif (pcm := self._prompts.of(first.text) if self._prompts is not None else None) is not None:
                self._line.popleft()
                await self._push_sound(first.text, pcm.tobytes())
            elif not await self._ask(first):
                break
        self._watch()

    async def _ask(self, sentence: _Sentence) -> bool:
        """Has a voice speak what is left of a sentence. Returns False where there is none, for now."""
        now = self._now()
        ready = [each for each, slot in enumerate(self._slots) if slot.ready and each not in sentence.tried]
        allowed = (each for each in ready if self._voices[each].breaker.allows(now))
        voice = next(allowed, next(iter(ready), None))
        if voice is None:
            if self._lost_at is None:
                self._lost_at = now + RECOVER_S
            return False
        self._lost_at = None
        sentence.voice, sentence.piece, sentence.origin_s = voice, "", None
        sentence.saying = Saying(sentence.text, now)
        await self._slots[voice].feed(TTSSpeakFrame(sentence.text, append_to_context=False))
        return True

    async def _push_sound(self, text: str, pcm: bytes) -> None:
        piece = uuid.uuid4().hex
        await self.push_frame(AggregatedTextFrame(text, "sentence", context_id=piece))
        await self.push_frame(TTSAudioRawFrame(pcm, SAMPLE_RATE_HZ, 1, context_id=piece))

    async def _interrupt(self, frame: InterruptionFrame) -> None:
        """Forgets what was to be said. What a voice still says of it is not listened to."""
        self._line.clear()
        self._lost_at = None
        self._watch()
        for index, slot in enumerate(self._slots):
            if slot.ready:
                self._deaf[index] += 1
                await slot.feed(InterruptionFrame())

    # --- the voices ---

    async def _on_frame(self, index: int, frame: Frame) -> None:
        if isinstance(frame, InterruptionFrame):
            self._deaf[index] = max(0, self._deaf[index] - 1)
            return
        sentence = self._speaking()
        if self._deaf[index] or sentence is None or sentence.voice != index:
            return
        if isinstance(frame, AggregatedTextFrame) and not isinstance(frame, TTSTextFrame):
            if not sentence.piece:
                sentence.piece = frame.context_id or ""
                await self.push_frame(frame)
            return
        if getattr(frame, "context_id", None) != sentence.piece:
            return
        if isinstance(frame, TTSAudioRawFrame):
            self._on_sound(index, sentence, len(frame.audio) / (2 * SAMPLE_RATE_HZ))
            await self.push_frame(frame)
            self._watch()
        elif isinstance(frame, TTSTextFrame):
            self._on_word(sentence, frame)
            await self.push_frame(frame)
        elif isinstance(frame, TTSStoppedFrame):
            await self._on_stopped(index, sentence)

    def _on_sound(self, index: int, sentence: _Sentence, length_s: float) -> None:
        usual = self._voices[index].gap if sentence.saying.begun else self._voices[index].first
        usual.took(sentence.saying.sound(length_s, self._now()))

    @staticmethod
    def _on_word(sentence: _Sentence, frame: TTSTextFrame) -> None:
        if frame.pts:
            at_s = frame.pts / 1e9
            sentence.origin_s = at_s if sentence.origin_s is None else sentence.origin_s
            sentence.saying.word(at_s - sentence.origin_s)

    async def _on_stopped(self, index: int, sentence: _Sentence) -> None:
        if not sentence.saying.begun:
            await self._failed(index, sentence, "no sound")
            return
        self._voices[index].breaker.succeeded(self._now())
        self._line.popleft()
        await self._go_on()

    async def _on_failure(self, index: int, problem: str) -> None:
        sentence = self._speaking()
        self._deaf[index] = 0
        if sentence is not None and sentence.voice == index:
            await self._failed(index, sentence, problem)
        else:
            log.warning("voice_failed", provider=self._voices[index].label, error=problem)
            self._voices[index].breaker.failed(self._now())

    async def _failed(self, index: int, sentence: _Sentence, problem: str) -> None:
        """The voice will not go on: another one does, with the next word."""
        label = self._voices[index].label
        rest = sentence.saying.rest()
        log.warning("voice_failed", provider=label, error=problem, begun=sentence.saying.begun, left=bool(rest))
        if self._slots[index].ready:
            # What it may still say is not wanted, and must not hold up the next sentence.
            self._deaf[index] += 1
            await self._slots[index].feed(InterruptionFrame())
        if not rest:
            # All was said; only its end was not told.
            self._line.popleft()
            await self._go_on()
            return
        self._voices[index].breaker.failed(self._now())
        if sentence.piece:
            words = sentence.text.split()
            said = " ".join(words[: len(words) - len(rest.split())])
            await self.push_frame(AggregatedTextFrame(said, "sentence", context_id=sentence.piece))
        sentence.tried.add(index)
        sentence.text, sentence.voice = rest, None
        sentence.saying = Saying(rest, self._now())
        self.switches += 1
        await self._go_on()

    def _speaking(self) -> _Sentence | None:
        first = self._line[0] if self._line else None
        return first if isinstance(first, _Sentence) and first.voice is not None else None

    # --- time ---

    def _watch(self) -> None:
        """Arms the timer for what stands first in line."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._over or not self._line:
            return
        sentence = self._speaking()
        if sentence is not None and sentence.voice is not None:
            due = self._due_at(sentence.voice, sentence)
        else:
            due = self._now() + POLL_S
        self._timer = asyncio.get_running_loop().call_at(due, self._overdue)

    def _due_at(self, voice: int, sentence: _Sentence) -> float:
        usual = self._voices[voice]
        return sentence.saying.due_at(usual.first.limit_s, usual.gap.limit_s)

    def _overdue(self) -> None:
        self._timer = None
        self.create_task(self._on_overdue(), name="overdue")

    async def _on_overdue(self) -> None:
        sentence = self._speaking()
        if sentence is not None and sentence.voice is not None:
            if self._due_at(sentence.voice, sentence) <= self._now():
                await self._failed(sentence.voice, sentence, "stalled")
            else:
                self._watch()
        elif self._lost_at is not None and self._lost_at <= self._now():
            self._close()
            label = self._voices[0].label
            error = SpeechLostError(label, "nobody speaks")
            await self.push_error(str(error), exception=error)
        else:
            if self._line and isinstance(self._line[0], _Sentence):
                # Whoever failed may be back by now.
                self._line[0].tried.clear()
            await self._go_on()

    def _close(self) -> None:
        self._over = True
        self._line.clear()
        self._watch()

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
