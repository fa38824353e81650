"""What the callers of the media benches say."""

from __future__ import annotations

import numpy as np

from trunkline.core.units import SAMPLE_RATE_HZ, Pcm


def burst(length_s: float, seed: int) -> Pcm:
    """Noise in the band of speech, loud from its first sample: int16, mono, 16000 Hz."""
    noise = np.random.default_rng(seed).normal(0, 1, round(length_s * SAMPLE_RATE_HZ))
    smooth = np.convolve(noise, np.ones(6) / 6, "same")
    samples: Pcm = (4000 * smooth / np.std(smooth)).clip(-32768, 32767).astype(np.int16)
    return samples
