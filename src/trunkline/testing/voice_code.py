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
HISTORY: Final = 3 * WINDOW
"""Samples remembered, to find where a sentence began: 300 ms."""
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
        self._bed = speech.astype(np.float32)
        self._bed[self._first : self._last] = _without_band(spoken)

    def encode(self, sentence_id: int) -> Pcm:
        """The speech with this number in it; 0.1 ms a second. Raises ValueError where the number is out of range."""
        if not 0 <= sentence_id <= MAX_SENTENCE_ID:
            raise ValueError(f"sentence number {sentence_id} is not within 0 to {MAX_SENTENCE_ID}")
        coded = self._bed.copy()
        chord = _WAVES[_tones(sentence_id)].sum(axis=0)
        coded[self._first : self._last] += self._amplitude * np.resize(chord, self._last - self._first)
        samples: Pcm = np.clip(np.rint(coded), -32768, 32767).astype(np.int16)
        return samples


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
        self._history: Floats = np.zeros(HISTORY, dtype=np.float32)
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
            sighting = self._frame(frame[start : start + self.step].astype(np.float32)) or sighting
            start += self.step
        return sighting

    def forget(self) -> None:
        """What comes next does not belong to what was heard."""
        self.current = None
        self._history[:] = 0
        self._quiet_samples = HISTORY

    def _frame(self, frame: Floats) -> Sighting | None:
        self.position += frame.size
        quiet = float(np.dot(frame, frame)) < _QUIET_POWER * frame.size
        self._quiet_samples = self._quiet_samples + frame.size if quiet else 0
        if self._quiet_samples <= HISTORY:
            self._history[: -frame.size] = self._history[frame.size :]
            self._history[-frame.size :] = frame
        if not quiet and (self.current is None or self.position - self._looked_at >= LOOK_FRAMES * FRAME_SAMPLES):
            self._looked_at = self.position
            # Not a product with a matrix of waves: NumPy's BLAS would wake threads for it, which cost ten times more.
            parts = np.fft.rfft(self._history[-WINDOW:] * _HANN)[_BINS]
            power = (parts.real**2 + parts.imag**2).reshape(GROUPS, CHOICES)
            loudest = power.argmax(axis=1).astype(np.uint8).tobytes()
            if self.current is not None and _agreeing(loudest, self.current.sentence_id) >= STILL_GROUPS:
                self.heard_until = self.position
                return None
            number = _NUMBER_OF.get(loudest)
            if number is not None and _sure(power):
                self.heard_until = self.position
                self.current = Sighting(number, self._began(number), self.position)
                return self.current
        if self.current is not None and self.position - self.heard_until > GONE_FRAMES * FRAME_SAMPLES:
            self.current = None
        return None

    def _began(self, number: int) -> int:
        """Looks back for as long as the chord, as it sounds now, is in what was heard."""
        turns = _TURNS[_tones(number)]
        parts = (turns * (self._history[-WINDOW:] * _HANN)).sum(axis=1)
        chord = np.tile((parts.conj()[:, None] * turns).sum(axis=0).real, HISTORY // WINDOW)
        likeness = (self._history * chord).reshape(-1, PIECE).sum(axis=1) / (chord**2).reshape(-1, PIECE).sum(axis=1)
        # Where the sum of what speaks for the chord is greatest: a lost packet inside it does not end the search.
        votes = np.clip(likeness / np.median(likeness[-4:]), -1, 1.5) - 0.5
        pieces = int(np.argmax(np.cumsum(votes[::-1]))) + 1
        return max(0, self.position - pieces * PIECE)


def _sure(power: Floats) -> bool:
    """Whether each group has one loud tone, and all of these are about as loud, as tones of a chord are."""
    ordered = np.sort(power, axis=1)
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
_TURNS: Final = np.exp(-2j * np.pi / SAMPLE_RATE_HZ * np.outer(_TONES_HZ, np.arange(WINDOW))).astype(np.complex64)
_WAVES: Final = (-_TURNS * np.exp(-1j * _PHASES)).imag.astype(np.float32)
_BINS: Final = np.rint(_TONES_HZ * WINDOW / SAMPLE_RATE_HZ).astype(np.intp)
_QUIET_POWER: Final = (32768 * 10 ** (QUIET_DBFS / 20)) ** 2
_SURE: Final = 10 ** (SURE_DB / 10)
_ALIKE: Final = 10 ** (-ALIKE_DB / 10)
_CHOICES: Final = [_choices(number) for number in range(MAX_SENTENCE_ID + 1)]
_NUMBER_OF: Final = {choices: number for number, choices in enumerate(_CHOICES)}
