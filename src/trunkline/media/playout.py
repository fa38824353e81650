"""The agent's audio of one call, waiting to be sent: what `play`, `pause`, `resume` and `flush` mean, to the sample.

PCM goes in as it is synthesized; the pacer of an engine takes one 20 ms frame at a time and sends it. No I/O, no clock.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from trunkline.core.units import FRAME_SAMPLES, SAMPLE_RATE_HZ, Pcm
from trunkline.media.engine import FirstPacket, Halted, LastPacket, MediaEvent, RanDry

FADE_SAMPLES = SAMPLE_RATE_HZ // 100
"""10 ms: long enough to hide the cut, short enough to be silent within one frame."""

MAX_WAITING_SAMPLES = 120 * SAMPLE_RATE_HZ
"""The most that may wait to be sent, two minutes; more is refused, since no caller listens that long."""

_FADE_OUT = np.linspace(1.0, 0.0, FADE_SAMPLES, dtype=np.float32)
_FADE_IN = _FADE_OUT[::-1]


@dataclass(slots=True)
class _Utterance:
    number: int
    waiting: deque[Pcm] = field(default_factory=deque)
    waiting_samples: int = 0
    sent_samples: int = 0
    begun: bool = False
    ended: bool = False
    dry: bool = False


class Playout:
    """What waits to be sent in one call."""

    def __init__(self) -> None:
        self.paused = False
        self.refused_samples = 0
        self._utterances: deque[_Utterance] = deque()
        self._newest = 0
        self._fading_in = False
        self._last_frame: Pcm | None = None
        self._tail: Pcm | None = None

    @property
    def idle(self) -> bool:
        """True where nothing is being played: no utterance is open, no fade is due."""
        return not self._utterances and self._tail is None

    def play(self, number: int, samples: Pcm) -> None:
        """Appends samples (int16, mono, 16000 Hz) to an utterance; one that was flushed or ended ignores them."""
        utterance = self._open(number)
        if utterance is None or utterance.ended or samples.size == 0:
            return
        room = MAX_WAITING_SAMPLES - sum(each.waiting_samples for each in self._utterances)
        if samples.size > room:
            self.refused_samples += int(samples.size - room)
            samples = samples[:room]
        utterance.waiting.append(samples)
        utterance.waiting_samples += int(samples.size)

    def end(self, number: int) -> None:
        """Nothing more comes of this utterance."""
        utterance = self._open(number)
        if utterance is not None:
            utterance.ended = True

    def pause(self, now: float) -> list[MediaEvent]:
        """Fades out and keeps the rest. The faded 10 ms are taken again on resume, so no sample is lost."""
        if self.paused or not self._utterances:
            return []
        self.paused = True
        current = self._utterances[0]
        self._fade_out(current)
        return [Halted(current.number, now, current.sent_samples)]

    def resume(self) -> None:
        """Goes on where it paused."""
        if self.paused:
            self.paused = False
            self._fading_in = True

    def flush(self, now: float) -> list[MediaEvent]:
        """Fades out and drops everything."""
        if not self._utterances:
            return []
        current = self._utterances[0]
        if not self.paused:
            self._fade_out(current)
        self._utterances.clear()
        self.paused = self._fading_in = False
        return [Halted(current.number, now, current.sent_samples)]

    def next_frame(self, now: float) -> tuple[Pcm | None, list[MediaEvent]]:
        """The next 20 ms to send at `now`, and what that means.

        Returns:
            int16, shape (320,), or None where there is nothing to say; and events in order.
        """
        if self._tail is not None:
            tail, self._tail = self._tail, None
            return tail, []
        if self.paused or not self._utterances:
            return None, []
        current = self._utterances[0]
        events: list[MediaEvent] = []
        frame = self._take(current)
        if frame is None:
            if current.ended:
                self._utterances.popleft()
                # An utterance without a sample was never begun; it ends all the same, so that nobody waits for it.
                return None, [LastPacket(current.number, now, current.sent_samples)]
            if current.begun and not current.dry:
                current.dry = True
                events.append(RanDry(current.number, now))
            return None, events
        if not current.begun:
            current.begun = True
            events.append(FirstPacket(current.number, now))
        current.dry = False
        if self._fading_in:
            self._fading_in = False
            frame = _faded(frame, _FADE_IN, 0)
        if current.ended and current.waiting_samples == 0:
            self._utterances.popleft()
            events.append(LastPacket(current.number, now, current.sent_samples))
        return frame, events

    def _open(self, number: int) -> _Utterance | None:
        for utterance in self._utterances:
            if utterance.number == number:
                return utterance
        if number <= self._newest:
            return None
        self._newest = number
        self._utterances.append(_Utterance(number))
        return self._utterances[-1]

    def _take(self, utterance: _Utterance) -> Pcm | None:
        """20 ms of the utterance; a last piece that is shorter is filled with silence."""
        if utterance.waiting_samples < FRAME_SAMPLES and not (utterance.ended and utterance.waiting_samples):
            return None
        frame = np.zeros(FRAME_SAMPLES, dtype=np.int16)
        filled = 0
        while filled < FRAME_SAMPLES and utterance.waiting:
            piece = utterance.waiting.popleft()
            used = min(FRAME_SAMPLES - filled, piece.size)
            frame[filled : filled + used] = piece[:used]
            filled += used
            if used < piece.size:
                utterance.waiting.appendleft(piece[used:])
        utterance.waiting_samples -= filled
        utterance.sent_samples += filled
        return frame

    def _fade_out(self, utterance: _Utterance) -> None:
        """Makes the next frame a fade over the coming 10 ms, without counting them as sent."""
        if not utterance.begun:
            return
        ahead = np.concatenate([*utterance.waiting, np.zeros(FADE_SAMPLES, dtype=np.int16)])[:FADE_SAMPLES]
        tail = np.zeros(FRAME_SAMPLES, dtype=np.int16)
        tail[:FADE_SAMPLES] = ahead
        self._tail = _faded(tail, _FADE_OUT, 0)


def _faded(frame: Pcm, curve: np.ndarray[tuple[int], np.dtype[np.float32]], start: int) -> Pcm:
    faded = frame.copy()
    stop = start + curve.size
    faded[start:stop] = (faded[start:stop] * curve).astype(np.int16)
    return faded
