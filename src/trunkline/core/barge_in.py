"""Decides whether a sound over the agent's answer is the caller who wants to speak.

In come the voiced time and the words of one burst; out comes a verdict. Words decide at once, except those that only
tell the agent to go on ("mhm"). Without words the voice decides, when the time to decide is over: a cough has ended by
then. Asked by `core/turn.py`, once a burst.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

BACKCHANNELS = frozenset(
    {"mhm", "mm", "m", "hm", "hmm", "mmm", "uh", "um", "uhu", "huh", "uh-huh", "uhhuh", "mm-hmm", "mm-hm", "ah", "aha"}
    | {"oh", "yeah", "yep", "yes", "okay", "ok", "right", "sure", "alright", "fine", "good", "great"}
)
"""Words that tell the agent to go on, not to stop."""
GO_ON_PHRASES = frozenset({"i see", "go on", "got it", "all right", "of course"})
"""So do these; their first words alone tell nothing yet."""

STILL_S = 0.1
"""A voice that was heard so short a time ago goes on."""

_WORD = re.compile(r"[\w'-]+")


@dataclass(frozen=True, slots=True)
class BargeInParams:
    """How an interruption is told from other sounds.

    Args:
        decision_s: After so long a pause it is decided, in seconds.
        voiced_s: Voiced time that makes it real if the voice still goes on then, in seconds.
        sure_s: Voiced time that makes it real at any time, also after it was taken for something else, in seconds.
        go_on_s: The same where all words tell the agent to go on, in seconds.
    """

    decision_s: float = 0.28
    voiced_s: float = 0.24
    sure_s: float = 0.7
    go_on_s: float = 1.5


class Meaning(Enum):
    """What words over an answer mean."""

    NOTHING_YET = "nothing yet"
    GO_ON = "go on"
    STOP = "stop"


def meaning_of(words: str) -> Meaning:
    """What the words of a burst over an answer mean, as far as they go."""
    said = _WORD.findall(words.lower())
    phrase = " ".join(said)
    if not said or any(each.startswith(phrase + " ") for each in GO_ON_PHRASES):
        return Meaning.NOTHING_YET
    return Meaning.GO_ON if phrase in GO_ON_PHRASES or not set(said) - BACKCHANNELS else Meaning.STOP


class OverAnswer:
    """One burst of the caller over an answer, as far as it is known.

    Args:
        params: Thresholds.
        started_at: Monotonic seconds of its first frame.
    """

    def __init__(self, params: BargeInParams, started_at: float) -> None:
        self.started_at = started_at
        self.ended_at: float | None = None
        self.voiced_s = 0.0
        self._params = params
        self._voiced_at = started_at
        self._meaning = Meaning.NOTHING_YET

    def voiced(self, voiced_s: float, now: float) -> None:
        """So much of it was voiced until now."""
        if voiced_s > self.voiced_s:
            self._voiced_at = now
        self.voiced_s = voiced_s

    def heard(self, words: str) -> None:
        """The recognizer's words of it so far."""
        self._meaning = meaning_of(words) if words else self._meaning

    @property
    def certain(self) -> bool:
        """Whether it is real whatever comes."""
        if self._meaning is Meaning.GO_ON:
            return self.voiced_s >= self._params.go_on_s
        return self._meaning is Meaning.STOP or self.voiced_s >= self._params.sure_s

    def likely(self, now: float) -> bool:
        """Whether it is taken for real, now that it must be decided."""
        if self.certain or self._meaning is Meaning.GO_ON:
            return self.certain
        return self.voiced_s >= self._params.voiced_s and now - self._voiced_at <= STILL_S
