"""The emulated voice: one long piece of real speech, cut to length, with room for a number."""

from __future__ import annotations

import io
import subprocess
import wave
from functools import lru_cache

import numpy as np
import soxr

from trunkline.core.errors import ConfigError
from trunkline.core.units import SAMPLE_RATE_HZ, Pcm, s_to_samples
from trunkline.testing.voice_code import Bed

TEXT = (
    "Whoever calls this number hears the same words again and again, since nothing is meant by them and only the tones "
    "below them tell one answer from another, which is enough for those who listen for nothing else than that."
)
PEAK = 0.4
SPEAK_TIMEOUT_S = 20.0
STEP_S = 0.1
"""Lengths are multiples of it, so that few beds serve many sentences."""
MAX_S = 60.0


@lru_cache(maxsize=1)
def _speech() -> Pcm:
    """Speech without a pause at either end. Raises ConfigError where espeak-ng is missing."""
    command = ["espeak-ng", "-v", "en-us+f2", "-s", "170", "--stdin", "--stdout"]
    try:
        done = subprocess.run(command, input=TEXT.encode(), capture_output=True, timeout=SPEAK_TIMEOUT_S, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError) as error:
        raise ConfigError("the emulated voice needs espeak-ng", "apt-get install espeak-ng") from error
    with wave.open(io.BytesIO(done.stdout)) as source:
        rate_hz = source.getframerate()
        samples = np.frombuffer(source.readframes(source.getnframes()), dtype=np.int16)
    speech = soxr.resample(samples.astype(np.float32), rate_hz, SAMPLE_RATE_HZ)
    loud = np.flatnonzero(np.abs(speech) > 0.05 * np.abs(speech).max())
    speech = speech[loud[0] : loud[-1]]
    levelled: Pcm = (speech * (PEAK * 32767 / np.abs(speech).max())).astype(np.int16)
    return levelled


@lru_cache(maxsize=128)
def bed(length_s: float) -> Bed:
    """Speech of this length, rounded to 0.1 s and at most a minute; repeated where it is longer than there is.

    Raises:
        ConfigError: espeak-ng is missing.
    """
    length_s = min(MAX_S, max(STEP_S, round(length_s / STEP_S) * STEP_S))
    return Bed(np.resize(_speech(), s_to_samples(length_s)))
