"""Decides how long a caller must be silent until the turn is over: the hangover.

In come the pauses after which the caller went on, and the words so far; out comes a time. A caller who pauses briefly
is answered sooner, one who pauses long is let finish, and nobody is cut off in the middle of a phone number. Asked by
`core/endpointing.py`; knows no audio and no clock.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass

import numpy as np

PRIOR_PAUSES = 4
"""Until the caller is known, so many made-up pauses stand for them: one long pause counts, but not for all."""
KEPT_PAUSES = 16
"""So many pauses are remembered: a caller who becomes quicker is believed after some sentences."""
QUANTILE = 0.9
"""The share of the caller's pauses that must not end a turn."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


NUMBERS = _words(
    """zero oh one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
    seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand double
    triple plus dash point dot"""
)
"""A number is rarely said in one breath."""

UNFINISHED = _words(
    """a an the my your his her its our their some any every and or but because if when while which whose than then as
    of to from with without by into at am be been i we they i'm it's i'd i'll we're would could should um uh er
    erm hmm"""
)
"""After one of these the sentence goes on: articles, conjunctions, prepositions, auxiliaries, fillers."""

_WORD = re.compile(r"[a-z0-9']+")


@dataclass(frozen=True, slots=True)
class HangoverParams:
    """Bounds of the hangover.

    Args:
        start_s: As long as the caller's pauses are not known, in seconds.
        min_s: Never shorter, in seconds.
        max_s: Never longer, whatever was learned and said, in seconds.
        margin_s: What the hangover is longer than the caller's pauses, in seconds.
        number_s: Added after a number, in seconds.
        unfinished_s: Added after a word that does not end a sentence, in seconds.
    """

    start_s: float = 0.2
    min_s: float = 0.16
    max_s: float = 0.8
    margin_s: float = 0.04
    number_s: float = 0.3
    unfinished_s: float = 0.3


class Hangover:
    """The hangover of one caller.

    Args:
        params: Bounds.
    """

    def __init__(self, params: HangoverParams | None = None) -> None:
        self.params = params or HangoverParams()
        prior_s = self.params.start_s - self.params.margin_s
        self._pauses: deque[float] = deque([prior_s] * PRIOR_PAUSES, maxlen=KEPT_PAUSES)
        self._learned_s = self._learn()
        self._extra_s = 0.0
        self._finished: bool | None = None

    @property
    def seconds(self) -> float:
        """How long a silence ends the turn now."""
        if self._finished is False:
            return self.params.max_s
        needed_s = self.params.min_s if self._finished else self._learned_s
        return min(needed_s + self._extra_s, self.params.max_s)

    def judge(self, finished: bool | None) -> None:
        """Whether this silence sounds like the end of what the caller had to say; None where nobody knows.

        Holds until it is taken back, which is due when the caller goes on.
        """
        self._finished = finished

    def went_on_after(self, pause_s: float) -> None:
        """The caller paused so long, and went on with the same thought; also where that pause had ended a turn."""
        self._pauses.append(pause_s)
        self._learned_s = self._learn()

    def hear(self, words: str) -> None:
        """Takes the words of the burst so far; empty where none are known."""
        said = _WORD.findall(words.lower())
        self._extra_s = 0.0
        if not said:
            return
        if words.rstrip().endswith(("?", "!")):
            return
        if said[-1].isdigit() or said[-1] in NUMBERS:
            self._extra_s = self.params.number_s
        elif said[-1] in UNFINISHED:
            self._extra_s = self.params.unfinished_s

    def _learn(self) -> float:
        wanted_s = float(np.quantile(self._pauses, QUANTILE)) + self.params.margin_s
        return min(max(wanted_s, self.params.min_s), self.params.max_s)
