"""What was said in one call, and what the caller heard of it: kept turn by turn, to the word."""

from __future__ import annotations

from trunkline.core.heard import SpokenAnswer
from trunkline.core.turn_events import CloseTurn
from trunkline.core.units import Pcm


class Transcript:
    """The answers that are not over yet, and how much of each was sent."""

    def __init__(self) -> None:
        self._answers: dict[int, SpokenAnswer] = {}
        self._turns: dict[int, int] = {}

    def begin(self, turn: int, utterance: int) -> None:
        """The answer to `turn` is this utterance."""
        self._answers[turn] = SpokenAnswer()
        self._turns[utterance] = turn

    def sentence(self, utterance: int, piece: str, text: str) -> None:
        """What comes next of an utterance says this text."""
        if (answer := self._of(utterance)) is not None:
            answer.sentence(piece, text)

    def audio(self, utterance: int, piece: str, samples: Pcm) -> None:
        """More audio of an utterance: int16, mono, 16000 Hz."""
        if (answer := self._of(utterance)) is not None:
            answer.audio(piece, samples)

    def word(self, utterance: int, piece: str, at_s: float) -> None:
        """The next word of a piece begins."""
        if (answer := self._of(utterance)) is not None:
            answer.word(piece, at_s)

    def end(self, utterance: int) -> None:
        """No more audio comes of an utterance."""
        if (answer := self._of(utterance)) is not None:
            answer.end()

    def close(self, closed: CloseTurn) -> str:
        """A turn is over: the words of its answer that the caller heard."""
        answer = self._answers.pop(closed.turn, None)
        self._turns = {utterance: turn for utterance, turn in self._turns.items() if turn != closed.turn}
        return answer.heard(closed.heard_samples) if answer is not None else ""

    def open_before(self, turn: int) -> bool:
        """True where an earlier answer has not been told to be over yet."""
        return any(each < turn for each in self._answers)

    def _of(self, utterance: int) -> SpokenAnswer | None:
        turn = self._turns.get(utterance)
        return self._answers.get(turn) if turn is not None else None
