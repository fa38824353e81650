"""What is known of one turn that is not over: its marks, its words and its answer. Kept by `core/turn.py`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from trunkline.core.turn_events import CloseTurn
from trunkline.core.wire import Mark, TurnOutcome

WORD_S = 0.4
"""Shorter speech that is not understood was a cough."""


_WORD = re.compile(r"\w+")


def _plain(words: str) -> list[str]:
    return _WORD.findall(words.lower())


@dataclass(slots=True)
class OpenTurn:
    """One turn.

    Args:
        number: From 1, ascending within a call.
        marks: Instants in monotonic seconds.
        finals: Words that will not change any more.
        partial: Words that may still change, spoken after the finals.
        asked: True once the brain was asked.
        answer: What the brain said so far.
        heard_samples: Samples of the answer that were sent.
        prompted: True where the agent speaks without having been spoken to.
        prepared: The words to which an answer is being prepared while the turn is open; None where none is.
        prepared_times: How often that was begun.
    """

    number: int
    marks: dict[Mark, float] = field(default_factory=dict)
    finals: list[str] = field(default_factory=list)
    partial: str = ""
    asked: bool = False
    answer: str = ""
    heard_samples: int = 0
    prompted: bool = False
    prepared: str | None = None
    prepared_times: int = 0

    def mark(self, mark: Mark, at: float) -> None:
        """Keeps the first instant of a mark."""
        self.marks.setdefault(mark, at)

    def words(self) -> str:
        """What was understood so far: finals, and the partial that follows them."""
        return " ".join([*self.finals, self.partial] if self.partial else self.finals)

    def add_final(self, text: str, at: float) -> None:
        """Keeps words that will not change any more; the last of them completes the transcript.

        A final without words takes back what was half-heard, unless that is being answered already.
        """
        if text or not self.asked:
            self.partial = ""
        if text:
            self.finals.append(text)
            self.marks[Mark.STT_FINAL] = at
        self.mark(Mark.STT_FINAL, at)

    @property
    def is_prepared(self) -> bool:
        """Whether what is prepared answers what was said, whatever the punctuation."""
        return self.prepared is not None and _plain(self.prepared) == _plain(self.words())

    def forget_answer(self) -> None:
        """What was decided and prepared so far is not said."""
        self.prepared = None
        self.answer = ""
        for mark in (Mark.AGENT_DECISION, Mark.TTS_FIRST_BYTE, Mark.PREPARED, Mark.RELEASED):
            self.marks.pop(mark, None)

    @property
    def missed(self) -> bool:
        """True where the recognizer says that it understood nothing of what was long enough to be words."""
        spoken_s = self.marks.get(Mark.SPEECH_END, 0.0) - self.marks[Mark.SPEECH_START]
        return Mark.STT_FINAL in self.marks and spoken_s >= WORD_S

    def closed(self, outcome: TurnOutcome) -> CloseTurn:
        """The turn as it goes into its record."""
        return CloseTurn(self.number, outcome, self.words(), self.answer, self.heard_samples, dict(self.marks))
