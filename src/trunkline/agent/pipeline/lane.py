"""The short lane of the caller's audio: from the media engine to the pipeline's door, 50 times a second.

Every frame is levelled. What can't be speech, because it has been too quiet for a while, goes no further; the rest goes
to the voice activity model, which takes a quarter of a worker's time. What the model takes for speech while the agent
speaks is compared with what the agent said: its echo is no speech. Only speech, with a little of what came before it
and the hangover after it, is let into the pipeline. Recognizers that can bear it get it already before the model is
sure, and it is taken back where it never is. What the endpointer decides goes to the conversation.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np

from trunkline.agent.pipeline.smart_turn import FINISHED, HEARD_S, Question, SmartTurn
from trunkline.agent.pipeline.vad import WINDOW_S, VoiceActivity
from trunkline.core.early_ear import EarlyEar
from trunkline.core.endpointing import (
    Endpointer,
    EndpointEvent,
    EndpointingParams,
    SpeechContinues,
    SpeechEnded,
    SpeechPaused,
    SpeechStarted,
)
from trunkline.core.own_voice import COMPARED_S, OwnVoice
from trunkline.core.units import FRAME_S, Pcm, level_dbfs
from trunkline.media.engine import CallerFrame
from trunkline.media.transport import CallerInput

LISTEN_ON_S = 0.4
"""After the last frame that could be speech the model listens on for so long."""
LISTEN_BACK_FRAMES = 13
"""Quiet frames that the model hears before the first that could be speech. A soft first sound is among them; a model
that has heard silence is sure of speech sooner than one that has heard nothing; and with so many, two windows of speech
are whole when its third frame is (4 ms of quiet and 60 of speech)."""

ASK_AFTER_S = 0.08
"""After so much silence the model is asked whether the caller has finished: its answer takes as long again."""

PRE_ROLL_S = 0.3
"""Audio from before the detector was sure, so that no first sound is cut off."""


class CallerLane:
    """One caller's way in.

    Args:
        activity: The worker's model.
        caller_input: The pipeline's door.
        on_event: Takes what the endpointer decided.
        params: Endpointing thresholds and times.
        smart_turn: The worker's model of how finished sentences sound; None: the hangover decides alone.
        early: Decides what is let in before the model is sure; None: nothing is.

    Attributes:
        own_voice: Is told what the agent plays in this call.
        echo_windows: Windows that were taken for speech and were the agent's echo.
    """

    def __init__(
        self,
        activity: VoiceActivity,
        caller_input: CallerInput,
        on_event: Callable[[EndpointEvent], None],
        params: EndpointingParams,
        *,
        smart_turn: SmartTurn | None = None,
        early: EarlyEar | None = None,
    ) -> None:
        self._input = caller_input
        self._on_event = on_event
        self.own_voice = OwnVoice()
        self.echo_windows = 0
        self._endpointer = Endpointer(params)
        self._recent: deque[Pcm] = deque(maxlen=round(COMPARED_S / FRAME_S))
        self._stream = activity.open(self._on_window)
        self._before: deque[Pcm] = deque(maxlen=round(PRE_ROLL_S / FRAME_S))
        self._smart_turn = smart_turn
        self._burst: deque[Pcm] = deque(maxlen=round(HEARD_S / FRAME_S))
        self._question: Question | None = None
        self._early = early
        self._asked = False
        self._unheard: deque[CallerFrame] = deque(maxlen=LISTEN_BACK_FRAMES)
        self._quiet_frames = 0
        self._now = 0.0

    def on_frame(self, frame: CallerFrame) -> None:
        """Takes 20 ms of the caller."""
        level = level_dbfs(frame.samples)
        self._now = frame.ended_at
        self._recent.append(frame.samples)
        ended = self._endpointer.frame(frame.ended_at, level)
        if ended is not None:
            self._tell(ended)
        if self._endpointer.speaking:
            self._input.audio(frame.samples)
            if self._smart_turn is not None:
                self._ask_whether_finished(self._smart_turn, frame)
        else:
            self._before.append(frame.samples)
            if self._early is not None:
                self._let_in_ahead(self._early, level)
        self._listen(frame, could_be_speech=level >= self._endpointer.params.minimum_dbfs)

    @property
    def unsure(self) -> bool:
        """Whether sound is let in of which it is not known that it is speech."""
        return self._early is not None and self._early.open

    def hear(self, words: str) -> None:
        """What the recognizer understood of the burst so far: an unfinished phrase is waited for."""
        self._endpointer.hear(words)

    def answered(self, at: float) -> None:
        """The agent's answer plays since `at` (monotonic seconds)."""
        self.own_voice.started(at)
        self._endpointer.answered()

    def close(self) -> None:
        """Nothing is reported any more."""
        self._stream.close()
        self._withdraw()

    def _let_in_ahead(self, early: EarlyEar, level_dbfs: float) -> None:
        """Lets in what stands out, before it is known to be speech; not where it can be the agent's own echo."""
        loud = level_dbfs >= self._endpointer.params.minimum_dbfs and self._endpointer.stands_out(level_dbfs)
        if early.frame(self._now, loud and (early.open or not self.own_voice.could_return(self._now))):
            if early.open:
                self._burst.clear()
                self._input.start_ahead()
            else:
                self._input.take_back()
        if early.open:
            self._let_in_before()

    def _let_in_before(self) -> None:
        for samples in self._before:
            self._input.audio(samples)
        self._burst.extend(self._before)
        self._before.clear()

    def _ask_whether_finished(self, smart_turn: SmartTurn, frame: CallerFrame) -> None:
        """Once in each pause, early enough for the answer to count."""
        self._burst.append(frame.samples)
        silent_s = self._endpointer.silent_s(frame.ended_at)
        if silent_s < ASK_AFTER_S:
            self._withdraw()
        elif self._question is None:
            self._question = smart_turn.ask(np.concatenate(self._burst), self._on_verdict)

    def _on_verdict(self, probability: float) -> None:
        self._endpointer.hangover.judge(probability >= FINISHED)

    def _withdraw(self) -> None:
        if self._question is not None:
            self._question.withdrawn = True
            self._question = None

    def _listen(self, frame: CallerFrame, could_be_speech: bool) -> None:
        """Has the model hear a frame, unless it has been too quiet for speech for a while."""
        self._quiet_frames = 0 if could_be_speech else self._quiet_frames + 1
        if self._quiet_frames > LISTEN_ON_S / FRAME_S and not self._endpointer.speaking:
            if not self._unheard:
                self._stream.rest()
            self._unheard.append(frame)
            return
        hurry = could_be_speech and not self._endpointer.speaking
        while self._unheard:
            self._stream.feed(self._unheard.popleft(), hurry)
        self._stream.feed(frame, hurry)

    def _on_window(self, started_at: float, probability: float) -> None:
        if probability >= self._endpointer.params.stop_probability and self._is_echo():
            self.echo_windows += 1
            self._endpointer.not_the_caller(started_at + WINDOW_S)
            probability = 0.0
            # The model remembers a voice, and would take a cough after it for more of it.
            self._stream.reset()
        event = self._endpointer.window(started_at, WINDOW_S, probability)
        if event is not None:
            self._tell(event)

    def _is_echo(self) -> bool:
        own = self.own_voice
        return own.could_return(self._now) and own.is_echo(np.concatenate(self._recent), self._now)

    def _tell(self, event: EndpointEvent) -> None:
        if isinstance(event, SpeechStarted):
            self._withdraw()
            if self._early is not None and self._early.open:
                self._input.be_sure()
            else:
                self._burst.clear()
                self._input.start_speech()
            if self._early is not None:
                self._early.speech()
            self._let_in_before()
            self._asked = False
        elif isinstance(event, SpeechPaused):
            self._asked = True
            self._input.stop_speech(max(self._now - event.at, 0.0))
        elif isinstance(event, SpeechContinues):
            if self._asked:
                self._asked = False
                self._input.go_on()
        elif isinstance(event, SpeechEnded):
            self._withdraw()
            if not self._asked:
                self._input.stop_speech(max(self._now - event.at, 0.0))
            self._asked = False
            self._stream.reset()
        self._on_event(event)
