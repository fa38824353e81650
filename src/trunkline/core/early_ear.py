"""Decides whether the caller's audio goes to the recognizer before the detector is sure of speech.

A detector needs 60 to 100 ms of speech until it is sure, and a recognizer that got those at once has its first words
so much sooner. So it is given the sound from its first frame that stands out of the noise, and it is taken back where
the sound turns out to be none of the caller's speech: nothing comes of it then but that the recognizer heard a noise.
How much noise it hears is bounded: each one in vain is followed by a rest, twice as long as the one before.

    SHUT --a sound stands out--> OPEN --speech--> SHUT
      ^                           |
      +---- rest, if in vain -----+

Asked by `agent/pipeline/lane.py`, once a frame.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EarlyEarParams:
    """How long, in seconds.

    Args:
        patience_s: A sound that is not known to be speech after so long is none.
        quiet_s: Nor is one that was followed by so much quiet.
        rest_s: After the first sound in vain nothing is given ahead for so long; twice as long after the next.
        most_rest_s: The longest rest.
    """

    patience_s: float = 0.24
    quiet_s: float = 0.1
    rest_s: float = 0.5
    most_rest_s: float = 8.0


class EarlyEar:
    """One caller's.

    Args:
        params: Times.

    Attributes:
        open: Audio is given to the recognizer ahead of the detector.
        in_vain: How often that was taken back.
    """

    def __init__(self, params: EarlyEarParams | None = None) -> None:
        self.params = params or EarlyEarParams()
        self.open = False
        self.in_vain = 0
        self._began_at = 0.0
        self._loud_at = 0.0
        self._rests_until = 0.0
        self._rest_s = self.params.rest_s

    def frame(self, now: float, stands_out: bool) -> bool:
        """Takes whether a frame that ended at `now` (monotonic seconds) could be the caller's speech.

        Returns:
            Whether `open` changed.
        """
        if not self.open:
            if not stands_out or now < self._rests_until:
                return False
            self.open = True
            self._began_at = self._loud_at = now
            return True
        if stands_out:
            self._loud_at = now
        params = self.params
        if now - self._began_at < params.patience_s and now - self._loud_at < params.quiet_s:
            return False
        self.open = False
        self.in_vain += 1
        self._rests_until = now + self._rest_s
        self._rest_s = min(2 * self._rest_s, params.most_rest_s)
        return True

    def speech(self) -> None:
        """The detector is sure: whatever was given ahead was speech."""
        self.open = False
        self._rest_s = self.params.rest_s
        self._rests_until = 0.0
