"""What the agent says: a brain takes the caller's words and gives the answer, sentence by sentence.

`echo` is the brief's minimal logic. One's own brain is a class with `reply`; see `Brain`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from trunkline.core.errors import ConfigError

NOT_UNDERSTOOD = "Sorry, I did not understand that."


class Brain(Protocol):
    """Answers one caller; made anew for each call, so it may keep the conversation."""

    def reply(self, words: str) -> AsyncIterator[str]:
        """The answer, sentence by sentence; the first is spoken while later ones are being made.

        No words: the caller spoke and was not understood. Silence would leave the caller wondering, so ask again.
        Cancelled when the caller interrupts: what was not yielded is never said.
        """
        ...


class EchoBrain:
    """Says back what it understood."""

    async def reply(self, words: str) -> AsyncIterator[str]:
        """One sentence pair, at once."""
        yield f"You said: {words}. Nice!" if words else NOT_UNDERSTOOD


BRAINS: dict[str, type[Brain]] = {"echo": EchoBrain}


def make_brain(name: str) -> Brain:
    """A brain for one call. Raises ConfigError for a name that nobody knows."""
    if name not in BRAINS:
        raise ConfigError(f"BRAIN={name!r} is unknown", f"known: {', '.join(sorted(BRAINS))}")
    return BRAINS[name]()
