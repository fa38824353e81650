"""One sentence on its way through a voice: what of it was said, when its sound is overdue, and what is left to say."""

from __future__ import annotations

WORD_S_PER_CHAR = 0.065
"""Length of speech where nothing tells it: about fifteen characters a second."""
LEAD_S = 0.2
"""So long before the sound at hand has been played, more is due."""


class Saying:
    """A sentence that is being made into sound.

    Args:
        text: What to say.
        asked_at: When the provider was asked for it, in monotonic seconds.
    """

    def __init__(self, text: str, asked_at: float) -> None:
        self.text = text
        self.asked_at = asked_at
        self.sound_s = 0.0
        self._first_at: float | None = None
        self._last_at = 0.0
        self._words: list[float] = []

    @property
    def begun(self) -> bool:
        """Some of its sound is there."""
        return self._first_at is not None

    def sound(self, length_s: float, now: float) -> float:
        """More sound came. Returns after how long: since it was asked for, or since the sound before."""
        waited_s = now - (self.asked_at if self._first_at is None else self._last_at)
        if self._first_at is None:
            self._first_at = now
        self._last_at = now
        self.sound_s += length_s
        return waited_s

    def word(self, start_s: float) -> None:
        """The provider tells where in the sound the next word begins, in seconds."""
        self._words.append(start_s)

    def due_at(self, first_s: float, gap_s: float) -> float:
        """When the provider is taken for stalled, if nothing comes.

        Args:
            first_s: How long the first sound may take.
            gap_s: How long more sound may take, even where none is left to be played.
        """
        if self._first_at is None:
            return self.asked_at + first_s
        return max(self._last_at + gap_s, self._first_at + self.sound_s - LEAD_S)

    def rest(self) -> str:
        """The words that were not said: from the first of which less than half was heard."""
        words = self.text.split()
        if not self.begun:
            return " ".join(words)
        if not self._words:
            said_chars, at = self.sound_s / WORD_S_PER_CHAR, 0
            for index, word in enumerate(words):
                if at + len(word) / 2 >= said_chars:
                    return " ".join(words[index:])
                at += len(word) + 1
            return ""
        known = self._words[: len(words)]
        for index, start_s in enumerate(known):
            end_s = known[index + 1] if index + 1 < len(known) else start_s + len(words[index]) * WORD_S_PER_CHAR
            if (start_s + end_s) / 2 > self.sound_s:
                return " ".join(words[index:])
        return " ".join(words[len(known) :])
