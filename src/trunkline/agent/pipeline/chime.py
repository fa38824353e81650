"""The chime that tells a caller the interruption was heard; off unless `BARGE_IN_CHIME` is set."""

from __future__ import annotations

import numpy as np

from trunkline.core.units import SAMPLE_RATE_HZ, Pcm


def _chime() -> Pcm:
    """80 ms of a falling pair of tones at -26 dBFS, faded at both ends so that it does not click."""
    length = SAMPLE_RATE_HZ * 80 // 1000
    time_s = np.arange(length) / SAMPLE_RATE_HZ
    tone = np.where(time_s < 0.04, np.sin(2 * np.pi * 880 * time_s), np.sin(2 * np.pi * 660 * time_s))
    fade = np.minimum(1.0, np.minimum(np.arange(length), np.arange(length)[::-1]) / 80)
    samples: Pcm = (tone * fade * 0.05 * np.sqrt(2) * 32767).astype(np.int16)
    return samples


CHIME = _chime()
"""int16, shape (1280,), mono, 16000 Hz."""
