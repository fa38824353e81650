"""What an emulated recognizer understands, and when: from audio with numbers in it to partials and finals.

In: PCM as it arrives, and "finalize". Out, through `tell`: partials that grow word by word while the sentence lasts,
the first a set time after its first sample arrived; and finals, a set time after the finalize or the endpointing
silence.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from trunkline.core.units import SAMPLE_RATE_HZ, Pcm
from trunkline.emulators.behaviour import Fault, Luck
from trunkline.testing.sentences import sentence
from trunkline.testing.voice_code import KNOWN_STEP, UNKNOWN_STEP, Decoder, Sighting

ARRIVALS = 64
"""Messages whose arrival is remembered: a pre-roll sent at once, and more."""


@dataclass(frozen=True, slots=True)
class Words:
    """What is understood.

    Attributes:
        text: The words; may be empty in a final.
        begin: Sample of the stream where they begin.
        end: Sample of the stream up to which they were heard.
        final: They will not change.
        finalized: They end because the client asked.
    """

    text: str
    begin: int
    end: int
    final: bool = False
    finalized: bool = False


class Hearing:
    """The recognizer of one connection.

    Args:
        luck: Draws delays and faults.
        tell: Takes what is understood.
        on_fault: Takes the fault of a sentence at its first partial.
        endpoint_s: Silence after which a final comes by itself; None: never.
        delay_s: By so much later than luck says the first partial comes.
    """

    def __init__(
        self,
        luck: Luck,
        tell: Callable[[Words], None],
        on_fault: Callable[[Fault], None],
        endpoint_s: float | None,
        delay_s: float = 0.0,
    ) -> None:
        self._luck = luck
        self._tell = tell
        self._on_fault = on_fault
        self._endpoint_s = endpoint_s
        self._delay_s = delay_s
        self._loop = asyncio.get_running_loop()
        self._decoder = Decoder(UNKNOWN_STEP)
        self._unheard = bytearray()
        self._arrivals: deque[tuple[int, float]] = deque(maxlen=ARRIVALS)
        self._heard: list[Sighting] = []
        self._final_from = 0
        self._fault: Fault | None = None
        self._partial: asyncio.TimerHandle | None = None
        self._finals: set[asyncio.TimerHandle] = set()

    @property
    def position(self) -> int:
        """Samples that came so far."""
        return self._decoder.position + len(self._unheard) // 2

    def audio(self, pcm: bytes) -> None:
        """Takes PCM int16, mono, 16,000 Hz; half a sample at the end is lost."""
        unheard = self._unheard
        unheard += pcm if len(pcm) % 2 == 0 else pcm[:-1]
        self._arrivals.append((self._decoder.position + len(unheard) // 2, self._loop.time()))
        if len(unheard) >= 2 * self._decoder.step:
            self._listen()

    def _listen(self) -> None:
        """Listens to what came."""
        samples: Pcm = np.frombuffer(bytes(self._unheard), dtype="<i2")
        self._unheard.clear()
        sighting = self._decoder.feed(samples)
        self._decoder.step = UNKNOWN_STEP if self._decoder.current is None else KNOWN_STEP
        if sighting is not None:
            self._begin(sighting)
        elif self._heard and self._endpoint_s is not None and self._decoder.current is None:
            silence_s = (self._decoder.position - self._decoder.heard_until) / SAMPLE_RATE_HZ
            if silence_s >= self._endpoint_s:
                self._finish(finalized=False)

    def finalize(self) -> None:
        """The client wants what there is."""
        self._listen()
        self._finish(finalized=True)
        self._decoder.forget()

    def close(self) -> None:
        """Tells nothing any more."""
        self._stop_partials()
        for timer in self._finals:
            timer.cancel()
        self._finals.clear()

    def _begin(self, sighting: Sighting) -> None:
        self._heard.append(sighting)
        self._stop_partials()
        self._fault = self._luck.sentence_fault()
        arrived = next((at for position, at in self._arrivals if position >= sighting.began), self._loop.time())
        words = sentence(sighting.sentence_id, self._luck.behaviour.phrase).split()
        before = " ".join(self._text(self._heard[:-1]))
        due = arrived + self._delay_s + self._luck.behaviour.stt_partial.draw(self._luck.rng)
        self._partial = self._loop.call_at(due, self._show, due, sighting, before, words, 1)

    def _show(self, due: float, sighting: Sighting, before: str, words: list[str], count: int) -> None:
        self._partial = None
        if count > 1 and self._decoder.current is not sighting:
            return
        self._tell(Words(f"{before} {' '.join(words[:count])}".strip(), self._final_from, self._decoder.position))
        if count == 1 and self._fault is not None and self._fault is not Fault.LATE_FINALS:
            self._on_fault(self._fault)
        if count < len(words):
            due += self._luck.behaviour.stt_word_s
            self._partial = self._loop.call_at(due, self._show, due, sighting, before, words, count + 1)

    def _finish(self, finalized: bool) -> None:
        self._stop_partials()
        text = " ".join(self._text(self._heard))
        words = Words(text, self._final_from, self._decoder.position, final=True, finalized=finalized)
        self._heard.clear()
        self._final_from = self._decoder.position
        delay_s = self._luck.behaviour.stt_final.draw(self._luck.rng)
        if self._fault is Fault.LATE_FINALS:
            delay_s += self._luck.behaviour.late_final_s
        self._fault = None
        timer: asyncio.TimerHandle

        def tell() -> None:
            self._finals.discard(timer)
            self._tell(words)

        timer = self._loop.call_later(delay_s, tell)
        self._finals.add(timer)

    def _text(self, sightings: list[Sighting]) -> list[str]:
        return [sentence(sighting.sentence_id, self._luck.behaviour.phrase) for sighting in sightings]

    def _stop_partials(self) -> None:
        if self._partial is not None:
            self._partial.cancel()
            self._partial = None
