"""What an emulated voice says, and when: from texts to pieces of speech with numbers in them.

In: texts of one context, as they come. Out, through `tell`: pieces of PCM, the first of each text a set time after the
text, the rest faster than they are spoken. The speech carries the number in the text, or one made from its words, as
`testing/voice_code.py` writes it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from trunkline.core.units import Pcm, s_to_samples, samples_to_s
from trunkline.emulators.bed import bed
from trunkline.emulators.behaviour import Fault, Luck
from trunkline.testing.sentences import number_for, number_in

MAX_TEXTS = 64
"""Texts of one context that may wait to be spoken."""
FIRST_PIECE_S = 0.1
PIECE_S = 0.5


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a text's speech.

    Attributes:
        text: The whole text.
        length: Samples of the whole text's speech.
        start: Where this piece begins in it.
        samples: int16, shape (n,), mono, 16,000 Hz.
        before: Samples of the context's speech before this text.
    """

    text: str
    length: int
    start: int
    samples: Pcm
    before: int

    @property
    def last(self) -> bool:
        """Nothing more comes of this text."""
        return self.start + self.samples.size >= self.length


class Speech:
    """One context: texts that are spoken one after another.

    Args:
        luck: Draws delays and faults.
        tell: Takes the pieces.
        on_fault: Takes the fault of a text after its first piece.
        on_end: Called when all is said.
    """

    def __init__(
        self,
        luck: Luck,
        tell: Callable[[Piece], None],
        on_fault: Callable[[Fault], None],
        on_end: Callable[[], None],
    ) -> None:
        self._luck = luck
        self._tell = tell
        self._on_fault = on_fault
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._number: int | None = None
        self._said = 0
        self._waiting: asyncio.Queue[tuple[str, float] | None] = asyncio.Queue(MAX_TEXTS)
        self._task = self._loop.create_task(self._speak())

    def say(self, text: str) -> bool:
        """Takes a text. Returns False where too much is waiting."""
        return self._put((" ".join(text.split()), self._loop.time()))

    def end(self) -> bool:
        """No more text comes. Returns False where too much is waiting."""
        return self._put(None)

    async def stop(self) -> None:
        """Says nothing more."""
        self._task.cancel()
        await asyncio.wait({self._task}, timeout=1.0)

    def _put(self, item: tuple[str, float] | None) -> bool:
        if self._waiting.full():
            return False
        self._waiting.put_nowait(item)
        return True

    async def _speak(self) -> None:
        fault = None
        while (item := await self._waiting.get()) is not None:
            text, came_at = item
            fault = self._luck.sentence_fault()
            await self._say(text, came_at, fault)
        if fault is Fault.LATE_FINALS:
            await asyncio.sleep(self._luck.behaviour.late_final_s)
        self._on_end()

    async def _say(self, text: str, came_at: float, fault: Fault | None) -> None:
        behaviour = self._luck.behaviour
        # The parts of an answer belong together, whichever of them has the number.
        if self._number is None or number_in(text) is not None:
            self._number = number_for(text)
        samples = bed(len(text) * behaviour.tts_s_per_char).encode(self._number)
        due = came_at + behaviour.tts_first.draw(self._luck.rng)
        start, length = 0, s_to_samples(FIRST_PIECE_S)
        while start < samples.size:
            await asyncio.sleep(max(0.0, due - self._loop.time()))
            piece = samples[start : start + length]
            self._tell(Piece(text, samples.size, start, piece, self._said))
            if start == 0 and fault is not None:
                self._on_fault(fault)
            start += piece.size
            due += samples_to_s(piece.size) / behaviour.tts_speed
            length = s_to_samples(PIECE_S)
        self._said += samples.size
