"""What the caller said since the last final, for a recognizer that must hear it again.

Frames are counted from the beginning of the call, and each recognizer's audio from the beginning of its connection, in
seconds: that is how recognizers tell how far they heard.
"""

from __future__ import annotations

import math
from itertools import islice

from pipecat.frames.frames import Frame, InputAudioRawFrame, VADUserStoppedSpeakingFrame

from trunkline.core.units import SAMPLE_RATE_HZ

MOST_FRAMES = 3_000
"""A minute of speech without a final; what is older is not sent again."""
CLOSE_S = 0.03
"""Recognizers round their instants."""


class KeptSpeech:
    """The frames of the caller's speech.

    Args:
        recognizers: How many there are.

    Attributes:
        begin: Number of the oldest frame.
    """

    def __init__(self, recognizers: int) -> None:
        self.begin = 0
        self._frames: list[Frame] = []
        self._given_s = [0.0] * recognizers
        # Words that reach beyond the first and up to the second of these seconds are not wanted.
        self._stale_s = [(0.0, 0.0)] * recognizers
        self._unsure: tuple[int, float] | None = None

    def add(self, frame: Frame) -> None:
        """Keeps one more."""
        self._frames.append(frame)
        if len(self._frames) > MOST_FRAMES:
            self._drop(len(self._frames) - MOST_FRAMES)

    def at(self, number: int) -> Frame | None:
        """The frame of this number, or None where it has not come yet."""
        index = number - self.begin
        return self._frames[index] if 0 <= index < len(self._frames) else None

    def clear(self) -> None:
        """Nothing of it is needed any more."""
        self._drop(len(self._frames))

    def understood(self) -> None:
        """The oldest burst is final; without a burst that is over, all of it."""
        ends = (index for index, frame in enumerate(self._frames) if isinstance(frame, VADUserStoppedSpeakingFrame))
        self._drop(next(ends, len(self._frames) - 1) + 1)

    def understood_until(self, recognizer: int, heard_s: float) -> None:
        """A part of the burst that lasts is final: up to this second of the recognizer's audio."""
        position_s, count = self._given_s[recognizer], len(self._frames)
        for frame in reversed(self._frames):
            if position_s <= heard_s + CLOSE_S:
                break
            position_s -= _length_s(frame)
            count -= 1
        self._drop(count)

    # --- each recognizer's own audio ---

    def given(self, recognizer: int, frame: Frame) -> None:
        """The recognizer was given this frame."""
        self._given_s[recognizer] += _length_s(frame)

    def abandon(self, recognizer: int) -> None:
        """What the recognizer was given so far is somebody else's now: its words about it are not wanted."""
        self._stale_s[recognizer] = (-math.inf, self._given_s[recognizer])

    def unsure(self, recognizer: int | None) -> None:
        """What the recognizer is given from now on may be no speech; None: it is."""
        self._unsure = None if recognizer is None else (recognizer, self._given_s[recognizer])

    def take_back(self, recognizer: int | None) -> bool:
        """It was none: its words about it are not wanted. False where this one was not given all of it."""
        unsure, self._unsure = self._unsure, None
        if recognizer is None or unsure is None or unsure[0] != recognizer:
            return False
        self._stale_s[recognizer] = (unsure[1] or -math.inf, self._given_s[recognizer])
        return True

    def is_stale(self, recognizer: int, heard_s: float | None) -> bool:
        """Whether words that reach up to this second are about audio of which they are not wanted."""
        begin_s, end_s = self._stale_s[recognizer]
        return heard_s is not None and end_s > 0 and begin_s + CLOSE_S < heard_s <= end_s + CLOSE_S

    def begin_anew(self, recognizer: int) -> None:
        """The recognizer has a new connection."""
        self._given_s[recognizer], self._stale_s[recognizer] = 0.0, (0.0, 0.0)
        self._unsure = None

    def _drop(self, count: int) -> None:
        self._frames = list(islice(self._frames, count, None))
        self.begin += count


def _length_s(frame: Frame) -> float:
    return len(frame.audio) / (2 * SAMPLE_RATE_HZ) if isinstance(frame, InputAudioRawFrame) else 0.0
