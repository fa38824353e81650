"""The short lane of the caller's audio: from the media engine to the pipeline's door, 50 times a second.

Every frame is levelled and goes to the voice activity model; only speech, with a little of what came before it and the
hangover after it, is let into the pipeline. What the endpointer decides goes to the conversation.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from trunkline.agent.pipeline.vad import WINDOW_S, VoiceActivity
from trunkline.core.endpointing import Endpointer, EndpointEvent, EndpointingParams, SpeechEnded, SpeechStarted
from trunkline.core.units import FRAME_S, Pcm, level_dbfs
from trunkline.media.engine import CallerFrame
from trunkline.media.transport import CallerInput

PRE_ROLL_S = 0.3
"""Audio from before the detector was sure, so that no first sound is cut off."""


class CallerLane:
    """One caller's way in.

    Args:
        activity: The worker's model.
        caller_input: The pipeline's door.
        on_event: Takes what the endpointer decided.
        params: Endpointing thresholds and times.
    """

    def __init__(
        self,
        activity: VoiceActivity,
        caller_input: CallerInput,
        on_event: Callable[[EndpointEvent], None],
        params: EndpointingParams,
    ) -> None:
        self._input = caller_input
        self._on_event = on_event
        self._endpointer = Endpointer(params)
        self._stream = activity.open(self._on_window)
        self._before: deque[Pcm] = deque(maxlen=round(PRE_ROLL_S / FRAME_S))

    def on_frame(self, frame: CallerFrame) -> None:
        """Takes 20 ms of the caller."""
        self._endpointer.frame(frame.ended_at, level_dbfs(frame.samples))
        if self._endpointer.speaking:
            self._input.audio(frame.samples)
        else:
            self._before.append(frame.samples)
        self._stream.feed(frame)

    def close(self) -> None:
        """Nothing is reported any more."""
        self._stream.close()

    def _on_window(self, started_at: float, probability: float) -> None:
        event = self._endpointer.window(started_at, WINDOW_S, probability)
        if event is None:
            return
        if isinstance(event, SpeechStarted):
            self._input.start_speech()
            for samples in self._before:
                self._input.audio(samples)
            self._before.clear()
        elif isinstance(event, SpeechEnded):
            self._input.stop_speech(self._endpointer.params.hangover_s)
            self._stream.reset()
        self._on_event(event)
