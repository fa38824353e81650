"""Finds the sounds in what a caller hears; the same rule as the simulated phone's (`media-engine/internal/pcm/ear.go`).

A sound starts with a block of 10 ms over the noise gate after 200 ms of quiet, and has stopped when it has been quiet
for 200 ms. `CodeEar` reads the numbers that emulated voices write into their sound. Also cuts speech to its sound and
repeats it, so that what a caller says begins and ends with sound.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trunkline.core.units import SAMPLE_RATE_HZ, Pcm, level_dbfs, s_to_samples, s_to_us, samples_to_s
from trunkline.loadtest.phone import HeardStart, HeardStop
from trunkline.testing.voice_code import KNOWN_STEP, UNKNOWN_STEP, Decoder

GATE_DBFS = -45.0
QUIET_US = 200_000
BLOCK_SAMPLES = SAMPLE_RATE_HZ // 100
BLOCK_US = 10_000
GATE_ENERGY = BLOCK_SAMPLES * (32768 * 10 ** (GATE_DBFS / 20)) ** 2
"""Sum of squares of a block at the gate."""
GAP_S = 0.08
"""Between repetitions of a phrase: far less than the silence that ends a turn."""


class Ear:
    """What one caller hears."""

    def __init__(self) -> None:
        self._sounding = False
        self._sound_end_us = -QUIET_US

    def listen(self, samples: Pcm, ended_us: int) -> list[HeardStart | HeardStop]:
        """Takes the next piece of what is heard.

        Args:
            samples: int16, whole blocks of 160 samples, mono, 16000 Hz.
            ended_us: Instant of its last sample; never less than before.

        Returns:
            What was found in it, in order.
        """
        found: list[HeardStart | HeardStop] = []
        blocks = samples.size // BLOCK_SAMPLES
        wide = samples.astype(np.float32)
        for number in range(blocks):
            block = wide[number * BLOCK_SAMPLES : (number + 1) * BLOCK_SAMPLES]
            end_us = ended_us - (blocks - 1 - number) * BLOCK_US
            if np.dot(block, block) > GATE_ENERGY:
                if not self._sounding:
                    self._sounding = True
                    found.append(
                        HeardStart(
                            end_us - BLOCK_US,
                            level_dbfs(samples[number * BLOCK_SAMPLES : (number + 1) * BLOCK_SAMPLES]),
                        )
                    )
                self._sound_end_us = end_us
            elif self._sounding and end_us - self._sound_end_us >= QUIET_US:
                self._sounding = False
                found.append(HeardStop(self._sound_end_us))
        return found

    def rest(self, ended_us: int) -> list[HeardStart | HeardStop]:
        """Takes whole blocks in which nothing came; `ended_us` as in `listen`."""
        if not self._sounding or ended_us - self._sound_end_us < QUIET_US:
            return []
        self._sounding = False
        return [HeardStop(self._sound_end_us)]


@dataclass(frozen=True, slots=True)
class HeardCode:
    """A number in what was heard; `at_us`: where the speech that carries it began, to about 10 ms."""

    at_us: int
    code: int


class CodeEar:
    """Reads the numbers in what one caller hears; 0.2 ms of CPU for each second of a call with 30 % sound.

    Attributes:
        found: In order.
    """

    def __init__(self) -> None:
        self._decoder = Decoder(UNKNOWN_STEP)
        self._unheard: list[Pcm] = []
        self._unheard_samples = 0
        self.found: list[HeardCode] = []

    def listen(self, samples: Pcm, ended_us: int) -> None:
        """Takes the next piece of what is heard: int16, mono, 16000 Hz; `ended_us` is its last sample's instant."""
        self._unheard.append(samples)
        self._unheard_samples += samples.size
        if self._unheard_samples >= self._decoder.step:
            self._look(ended_us)

    def rest(self, samples: int, ended_us: int) -> None:
        """Takes so many samples in which nothing came."""
        if self._unheard:
            self._look(ended_us - s_to_us(samples_to_s(samples)))
        self._decoder.rest(samples)

    def _look(self, ended_us: int) -> None:
        sighting = self._decoder.feed(np.concatenate(self._unheard))
        self._unheard.clear()
        self._unheard_samples = 0
        self._decoder.step = UNKNOWN_STEP if self._decoder.current is None else KNOWN_STEP
        if sighting is not None:
            ago_us = s_to_us(samples_to_s(self._decoder.position - sighting.began))
            self.found.append(HeardCode(ended_us - ago_us, sighting.sentence_id))


def sound_only(samples: Pcm) -> Pcm:
    """Speech from its first to its last block of sound; nothing where it has none."""
    blocks = samples.size // BLOCK_SAMPLES
    loud = [
        number
        for number in range(blocks)
        if level_dbfs(samples[number * BLOCK_SAMPLES : (number + 1) * BLOCK_SAMPLES]) > GATE_DBFS
    ]
    return samples[loud[0] * BLOCK_SAMPLES : (loud[-1] + 1) * BLOCK_SAMPLES] if loud else samples[:0]


def burst(phrase: Pcm, most_s: float) -> Pcm:
    """A phrase over and over for up to `most_s` seconds: as often as it fits in whole, but at least once.

    Args:
        phrase: int16, mono, 16000 Hz; begins and ends with sound.
    """
    gap = np.zeros(s_to_samples(GAP_S), dtype=np.int16)
    length_s = samples_to_s(phrase.size)
    times = max(1, int((most_s + GAP_S) / (length_s + GAP_S))) if phrase.size else 1
    return np.concatenate([phrase, *([gap, phrase] * (times - 1))])
