"""Keeps account of whether the recognizer has given all words of a burst up to its last pause.

A recognizer that was asked for its last words in a pause may give them before the pause has ended the turn; then
nothing is left to wait for. Where the caller goes on before they come, they are due all the same, and must not be
taken for those of the next pause. Kept by `core/turn.py`.
"""

from __future__ import annotations


class LastWords:
    """Of one call.

    Attributes:
        whole: The caller is silent, and all that was said is known.
        due: So many times more the recognizer was asked than it has answered.
    """

    def __init__(self) -> None:
        self.whole = False
        self.due = 0
        self._silent = False
        self._asks_in_pauses = False

    def begin(self) -> None:
        """A turn begins: what was asked before is nobody's any more."""
        self.whole = self._silent = False
        self.due = 0

    def paused(self) -> None:
        """The caller paused, and the recognizer was asked."""
        self._asks_in_pauses = self._silent = True
        self.whole = False
        self.due += 1

    def went_on(self) -> None:
        """The caller goes on."""
        self.whole = self._silent = False

    def ended(self) -> None:
        """The burst is over, which the recognizer is told where it was not asked in its last pause."""
        if self._asks_in_pauses and not self._silent:
            self.due += 1
        self._silent = False

    def came(self) -> None:
        """The recognizer has answered."""
        self.due = max(0, self.due - 1)
        self.whole = self._silent and self.due == 0
