"""Conversions between units. The only place where they are written.

Audio inside trunkline is PCM int16, mono, 16,000 Hz, in frames of 20 ms.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

SAMPLE_RATE_HZ = 16_000
FRAME_S = 0.02
FRAME_SAMPLES = 320
FRAME_BYTES = 640
SILENCE_DBFS = -100.0

Pcm = npt.NDArray[np.int16]

SILENT_FRAME: Pcm = np.zeros(FRAME_SAMPLES, dtype=np.int16)
"""The frame of whoever is not heard: always this one, so that it is known for silence without being looked at."""
SILENT_FRAME.flags.writeable = False

_FULL_POWER = 32768.0**2


def s_to_us(seconds: float) -> int:
    """Seconds to whole microseconds, rounded to the nearest."""
    return round(seconds * 1_000_000)


def us_to_s(microseconds: int) -> float:
    """Microseconds to seconds."""
    return microseconds / 1_000_000


def us_to_ms(microseconds: int) -> float:
    """Microseconds to milliseconds, for screens and reports."""
    return microseconds / 1_000


def samples_to_s(samples: int, sample_rate_hz: int = SAMPLE_RATE_HZ) -> float:
    """Length of so many samples in seconds."""
    return samples / sample_rate_hz


def s_to_samples(seconds: float, sample_rate_hz: int = SAMPLE_RATE_HZ) -> int:
    """Samples in so many seconds, rounded to the nearest."""
    return round(seconds * sample_rate_hz)


def level_dbfs(samples: Pcm) -> float:
    """Root mean square level of PCM in dBFS; silence is -100.

    Args:
        samples: int16, shape (n,), mono, any rate.
    """
    if samples is SILENT_FRAME or samples.size == 0:
        return SILENCE_DBFS
    wide = samples.astype(np.float32)
    power = float(np.dot(wide, wide)) / samples.size
    if power <= 0.0:
        return SILENCE_DBFS
    return max(SILENCE_DBFS, 10.0 * math.log10(power / _FULL_POWER))
