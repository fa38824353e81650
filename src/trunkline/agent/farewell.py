"""The last words of a call that can't go on: a kept sentence, and then the call's orderly end."""

from __future__ import annotations

from collections.abc import Callable

from trunkline.agent.acting import LAST_WORDS_S
from trunkline.agent.clock import LoopClock
from trunkline.core.errors import Termination
from trunkline.core.units import Pcm, samples_to_s
from trunkline.media.engine import MediaLeg

MORE_S = 2.0
"""So much longer than it lasts the sentence may take to be sent."""


class Farewell:
    """Says good-bye once, and ends the call when that was heard, or can't be.

    Args:
        words: The sentence's sound; None: there is none.
        end: Ends the call.
        clock: Timers.
    """

    def __init__(self, words: Pcm | None, end: Callable[[Termination], None], clock: LoopClock) -> None:
        self._words = words
        self._end = end
        self._clock = clock
        self._utterance: int | None = None
        self._termination: Termination | None = None

    @property
    def begun(self) -> bool:
        """The call is about to end."""
        return self._termination is not None

    def say(self, leg: MediaLeg | None, utterance: int, termination: Termination) -> None:
        """Drops what is being said, says the sentence as this utterance, and ends the call in this way."""
        if self.begun:
            return
        self._termination = termination
        if leg is None or self._words is None:
            self._end(termination)
            return
        self._utterance = utterance
        leg.flush()
        leg.play(utterance, self._words)
        leg.end(utterance)
        self._clock.call_at(self._clock.time() + samples_to_s(self._words.size) + MORE_S, self._finish)

    def sent(self, utterance: int) -> None:
        """All of an utterance was handed to the network."""
        if utterance == self._utterance:
            self._clock.call_at(self._clock.time() + LAST_WORDS_S, self._finish)

    def _finish(self) -> None:
        if self._termination is not None:
            self._end(self._termination)
