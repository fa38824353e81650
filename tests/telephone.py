"""What a telephone does to a voice, for tests."""

from __future__ import annotations

import numpy as np

from trunkline.core.units import Pcm
from trunkline.testing.speech import silence


def telephoned(samples: Pcm) -> Pcm:
    """Nothing above 3.4 kHz, a little quiet around it."""
    spectrum = np.fft.rfft(np.concatenate([silence(0.3), samples, silence(0.3)]))
    spectrum[round(spectrum.size * 3400 / 8000) :] = 0
    heard: Pcm = np.fft.irfft(spectrum).astype(np.int16)
    return heard
