"""Which sentence is spoken, written into its sound: a chord of twelve faint tones under the speech while it lasts.

A sentence's number (12 bits) becomes a word of the extended Golay code (24 bits): any two differ in eight bits or more.
Two bits choose one of four tones in each of twelve groups, from 1,700 to 3,110 Hz: within a telephone's band, where
speech is weak (and made weaker), and above the tones of DTMF. The chord does not change while it lasts, so a receiver
needs no rhythm, a lost packet takes nothing away, and the number is known as soon as enough of it was heard.

    encode(17, speech) -> codec, network, telephone -> Decoder.feed(20 ms) ... -> Sighting(17, began, known)
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from trunkline.core.units import FRAME_SAMPLES, SAMPLE_RATE_HZ, Pcm

MAX_SENTENCE_ID: Final = 4095

GROUPS: Final = 12
CHOICES: Final = 4
FIRST_HZ: Final = 1700.0
STEP_HZ: Final = 30.0
CHORD_DB: Final = -7.0
"""Power of the twelve tones together, against the speech's."""
BAND_DB: Final = -20.0
"""What is left of the speech in the band of the tones."""
BAND_MARGIN_HZ: Final = 60.0
QUIET_DBFS: Final = -60.0
"""Frames below it are silence: not looked at, and no part of the speech."""

WINDOW: Final = 1600
"""Samples looked at at once: 100 ms, so that Hann's main lobe is about as wide as the step between tones."""
SURE_DB: Final = 2.0
"""By this much the loudest tone of each group must exceed the others."""
ALIKE_DB: Final = 15.0
"""The loudest of these exceeds the faintest by no more."""
STILL_GROUPS: Final = 8
"""So many loudest tones tell that a sentence which was recognized goes on."""
GONE_FRAMES: Final = 8
"""Without the chord for so long, a sentence is over; the same number may then come again."""
LOOK_FRAMES: Final = 3
"""A sentence that was recognized is looked at in every third frame only."""
UNKNOWN_STEP: Final = 2 * FRAME_SAMPLES
KNOWN_STEP: Final = 5 * FRAME_SAMPLES
"""Samples that are best listened to at once: before a sentence is known, when that is to come in time, and while it
goes on, when nothing hurries. A look at each 20 ms would cost three times as much."""
HISTORY: Final = 3 * WINDOW
"""Samples remembered, to find where a sentence began: 300 ms."""
STREAM: Final = 5 * HISTORY
"""Room for what is remembered, so that it is not moved with each frame."""
PIECE: Final = FRAME_SAMPLES // 2
"""Step in which the beginning is looked for: 10 ms."""

_GENERATOR: Final = 0xC75
"""Of the (23, 12) Golay code."""
_MASK: Final = 0x5A3C96
"""Turns some bits around, so that no number's chord is as regular as the voice."""

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Sighting:
    """A sentence was recognized.

    Attributes:
        sentence_id: Its number.
        began: Sample of the stream where its speech began, to about 10 ms.
        known: Sample of the stream that settled it.
    """

    sentence_id: int
    began: int
    known: int


def encode(sentence_id: int, speech: Pcm) -> Pcm:
    """Speech with its number in it.

    Args:
        sentence_id: 0 to 4095.
        speech: int16, shape (n,), mono, 16,000 Hz. The chord sounds from its first frame that is not silent to its
            last, so that silence stays silence.

    Raises:
        ValueError: the number is out of range, or there is no sound in the speech.
    """
    return Bed(speech).encode(sentence_id)


class Bed:
    """Speech with room for a number, where one speech is to carry many.

    Args:
        speech: As for `encode`.
    """

    def __init__(self, speech: Pcm) -> None:
        self._first, self._last = _bounds(speech)
        spoken = speech[self._first : self._last].astype(np.float32)
        self._amplitude = np.sqrt(np.mean(spoken**2) * 10 ** (CHORD_DB / 10) * 2 / GROUPS)
        # Room for the chord on top: 12 tones at their highest together.
        most = max(0.0, 32767 - GROUPS * float(self._amplitude))
        self._bed = speech.copy()
        self._bed[self._first : self._last] = np.clip(np.rint(_without_band(spoken)), -most, most)

    def encode(self, sentence_id: int) -> Pcm:
        """The speech with this number in it; 5 us a second. Raises ValueError where the number is out of range."""
        if not 0 <= sentence_id <= MAX_SENTENCE_ID:
            raise ValueError(f"sentence number {sentence_id} is not within 0 to {MAX_SENTENCE_ID}")
        coded = self._bed.copy()
        chord = np.rint(self._amplitude * _WAVES[_tones(sentence_id)].sum(axis=0)).astype(np.int16)
        whole = self._first + (self._last - self._first) // WINDOW * WINDOW
        coded[self._first : whole].reshape(-1, WINDOW)[:] += chord
        coded[whole : self._last] += chord[: self._last - whole]
        return coded


class Decoder:
    """Listens to one stream of audio.

    Args:
        step: Samples looked at at once; more cost less, and know later. At most 100 ms.

    Attributes:
        position: Samples heard so far.
        current: The sentence that is being spoken, or was until `GONE_FRAMES` ago.
        heard_until: Sample up to which its chord was heard.
    """

    def __init__(self, step: int = FRAME_SAMPLES) -> None:
        self.position = 0
        self.current: Sighting | None = None
        self.heard_until = 0
        self.step = step
        self._stream: Floats = np.zeros(STREAM, dtype=np.float32)
        self._end = HISTORY
        self._looked_at = 0
        self._quiet_samples = HISTORY

    def feed(self, frame: Pcm) -> Sighting | None:
        """Takes the next piece of the stream, and tells when a sentence is recognized, once for each time it is spoken.

        Args:
            frame: int16, shape (n,), mono, 16,000 Hz; more than `step` is looked at in pieces.
        """
        sighting = None
        start = 0
        while start < frame.size:
            sighting = self._frame(frame[start : start + self.step]) or sighting
            start += self.step
        return sighting

    def rest(self, samples: int) -> None:
        """Takes so many samples of silence; costs next to nothing once it has lasted."""
        while samples > 0:
            count = min(samples, self.step)
            self._quiet_samples += count
            self._hear(_SILENCE[:count])
            self._forget_what_is_gone()
            samples -= count

    def forget(self) -> None:
        """What comes next does not belong to what was heard."""
        self.current = None
        self._stream[:] = 0
        self._quiet_samples = HISTORY

    def _frame(self, frame: Pcm) -> Sighting | None:
        loud = frame.astype(np.float32)
        quiet = float(np.dot(loud, loud)) < _QUIET_POWER * frame.size
        self._quiet_samples = self._quiet_samples + frame.size if quiet else 0
        self._hear(loud)
        if not quiet and (self.current is None or self.position - self._looked_at >= LOOK_FRAMES * FRAME_SAMPLES):
            self._looked_at = self.position
            # Not a product with a matrix of waves: NumPy's BLAS would wake threads for it, which cost ten times more.
            parts = np.fft.rfft(self._stream[self._end - WINDOW : self._end] * _HANN)[_BINS]
            sizes = np.abs(parts).reshape(GROUPS, CHOICES)
            loudest = sizes.argmax(axis=1).astype(np.uint8).tobytes()
            if self.current is not None and _agreeing(loudest, self.current.sentence_id) >= STILL_GROUPS:
                self.heard_until = self.position
                return None
            number = _NUMBER_OF.get(loudest)
            if number is not None and _sure(sizes):
                self.heard_until = self.position
                self.current = Sighting(number, self._began(number, parts), self.position)
                return self.current
        self._forget_what_is_gone()
        return None

    def _hear(self, frame: npt.NDArray[np.generic]) -> None:
        """Remembers a piece of the stream; after a long silence, silence is what is remembered already."""
        self.position += frame.size
        if self._quiet_samples > HISTORY:
            return
        if self._end + frame.size > STREAM:
            self._stream[:HISTORY] = self._stream[self._end - HISTORY : self._end]
            self._end = HISTORY
        self._stream[self._end : self._end + frame.size] = frame
        self._end += frame.size

    def _forget_what_is_gone(self) -> None:
        if self.current is not None and self.position - self.heard_until > GONE_FRAMES * FRAME_SAMPLES:
            self.current = None

    def _began(self, number: int, parts: npt.NDArray[np.complexfloating]) -> int:
        """Looks back for as long as the chord, as it sounds now, is in what was heard.

        Args:
            parts: All tones of the last window, shape (48,).
        """
        tones = _tones(number)
        spectrum = np.zeros(WINDOW // 2 + 1, dtype=np.complex64)
        spectrum[_TONE_BINS[tones]] = parts[tones]
        # It repeats after a window, since all tones are multiples of 10 Hz.
        chord = np.fft.irfft(spectrum, WINDOW).astype(np.float32)
        heard = self._stream[self._end - HISTORY : self._end].reshape(-1, WINDOW)
        alike = (heard * chord).reshape(-1, WINDOW // PIECE, PIECE).sum(axis=2)
        likeness = (alike / (chord * chord).reshape(-1, PIECE).sum(axis=1)).ravel()
        # Where the sum of what speaks for the chord is greatest: a lost packet inside it does not end the search.
        usual = max(np.sort(likeness[-4:])[1:3].mean(), 1e-6)  # the newest may be silence already
        votes = np.clip(likeness / usual, -1, 1.5) - 0.5
        pieces = int(np.argmax(np.cumsum(votes[::-1]))) + 1
        return max(0, self.position - pieces * PIECE)


def _sure(sizes: Floats) -> bool:
    """Whether each group has one loud tone, and all of these are about as loud, as tones of a chord are."""
    ordered = np.sort(sizes, axis=1)
    loud = ordered[:, -1]
    return bool((loud > _SURE * ordered[:, -2]).all() and loud.min() > _ALIKE * loud.max())


def _agreeing(loudest: bytes, number: int) -> int:
    return sum(map(operator.eq, loudest, _CHOICES[number]))


def _codeword(number: int) -> int:
    rest = number << 11
    for bit in range(22, 10, -1):
        if rest >> bit & 1:
            rest ^= _GENERATOR << (bit - 11)
    word = number << 11 | rest
    return (word << 1 | word.bit_count() & 1) ^ _MASK


def _choices(number: int) -> bytes:
    """Which tone of each group; neighbours differ in one bit."""
    word = _codeword(number)
    return bytes((0, 1, 3, 2)[word >> 2 * group & 3] for group in range(GROUPS))


def _tones(number: int) -> list[int]:
    return [CHOICES * group + choice for group, choice in enumerate(_CHOICES[number])]


def _bounds(speech: Pcm) -> tuple[int, int]:
    """From the first sample of the first frame with sound to the last of the last."""
    whole = np.zeros(-(-speech.size // PIECE) * PIECE, dtype=np.float32)
    whole[: speech.size] = speech
    loud = np.flatnonzero((whole.reshape(-1, PIECE) ** 2).mean(axis=1) >= _QUIET_POWER)
    if loud.size == 0:
        raise ValueError("there is no sound in the speech")
    return int(loud[0]) * PIECE, min(int(loud[-1] + 1) * PIECE, speech.size)


def _without_band(spoken: Floats) -> Floats:
    spectrum = np.fft.rfft(spoken)
    hz = np.fft.rfftfreq(spoken.size, 1 / SAMPLE_RATE_HZ)
    spectrum[(hz > _TONES_HZ[0] - BAND_MARGIN_HZ) & (hz < _TONES_HZ[-1] + BAND_MARGIN_HZ)] *= 10 ** (BAND_DB / 20)
    return np.fft.irfft(spectrum, spoken.size).astype(np.float32)


_TONES_HZ: Final = FIRST_HZ + STEP_HZ * np.arange(GROUPS * CHOICES)
_HANN: Final = np.hanning(WINDOW).astype(np.float32)
# All tones are multiples of 10 Hz, so a chord repeats after 100 ms. Newman's phases keep the peak of many tones low.
_PHASES: Final = np.pi * np.repeat(np.arange(GROUPS), CHOICES)[:, None] ** 2 / GROUPS
_WAVES: Final = np.sin(2 * np.pi / SAMPLE_RATE_HZ * np.outer(_TONES_HZ, np.arange(WINDOW)) + _PHASES).astype(np.float32)
_TONE_BINS: Final = np.rint(_TONES_HZ * WINDOW / SAMPLE_RATE_HZ).astype(np.intp)
_BINS: Final = slice(int(_TONE_BINS[0]), int(_TONE_BINS[-1]) + 1, int(_TONE_BINS[1] - _TONE_BINS[0]))
_SILENCE: Final = np.zeros(WINDOW, dtype=np.float32)
_QUIET_POWER: Final = (32768 * 10 ** (QUIET_DBFS / 20)) ** 2
_SURE: Final = 10 ** (SURE_DB / 20)
_ALIKE: Final = 10 ** (-ALIKE_DB / 20)
_CHOICES: Final = [_choices(number) for number in range(MAX_SENTENCE_ID + 1)]
_NUMBER_OF: Final = {choices: number for number, choices in enumerate(_CHOICES)}
