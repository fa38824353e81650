"""Turns the speech of a synthesizer into what the pipeline plays: its rate, no silence before it, little after it.

In: PCM pieces at the voice's rate. Out: PCM at the pipeline's rate. No I/O, no clock.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import soxr

from trunkline.core.units import Pcm

SILENCE_PEAK = 100
"""A sample of this size or less is silence: -50 dBFS."""
LEAD_S = 0.005
"""Kept before the first sound, so that it starts softly."""
TAIL_S = 0.15
"""Kept after the last sound: the pause between two sentences. espeak-ng adds 390 ms."""


class SpeechShape:
    """Shapes one sentence.

    Args:
        sample_rate_in_hz: The voice's rate.
        sample_rate_out_hz: The pipeline's rate.
    """

    def __init__(self, sample_rate_in_hz: int, sample_rate_out_hz: int) -> None:
        self._resampler: Any = None
        if sample_rate_in_hz != sample_rate_out_hz:
            self._resampler = soxr.ResampleStream(sample_rate_in_hz, sample_rate_out_hz, 1, dtype="int16")
        self._lead_samples = round(LEAD_S * sample_rate_in_hz)
        self._tail_samples = round(TAIL_S * sample_rate_in_hz)
        self._odd = b""
        self._held: Pcm = np.empty(0, np.int16)
        """Silence of which is not known yet whether speech follows; before the first sound, just its last bit."""
        self._speaking = False

    def feed(self, pcm: bytes) -> Pcm:
        """Takes the next piece.

        Args:
            pcm: int16, mono, at the voice's rate; a sample may be cut in half, its rest comes with the next piece.

        Returns:
            int16, mono, at the pipeline's rate; may be empty.
        """
        pcm = self._odd + pcm
        whole = len(pcm) // 2 * 2
        self._odd = pcm[whole:]
        samples = np.concatenate((self._held, np.frombuffer(pcm[:whole], np.int16)))
        loud = np.flatnonzero(np.abs(samples.astype(np.int32)) > SILENCE_PEAK)
        if loud.size == 0:
            self._held = samples if self._speaking else samples[-self._lead_samples :]
            return np.empty(0, np.int16)
        start = 0 if self._speaking else max(0, int(loud[0]) - self._lead_samples)
        end = int(loud[-1]) + 1
        self._speaking = True
        self._held = samples[end:]
        return self._resample(samples[start:end], last=False)

    def end(self) -> Pcm:
        """The rest of the sentence: what the resampler still holds, and a short pause."""
        if not self._speaking:
            return np.empty(0, np.int16)
        return self._resample(self._held[: self._tail_samples], last=True)

    def _resample(self, samples: Pcm, last: bool) -> Pcm:
        if self._resampler is None:
            return samples
        out: Pcm = self._resampler.resample_chunk(samples, last)
        return out
