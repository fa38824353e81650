"""The callers' voice: sentences as WAV files, made by espeak-ng."""

from __future__ import annotations

import asyncio
import io
import wave
from pathlib import Path

import numpy as np
import soxr

from trunkline.core.errors import ConfigError, UpstreamRejectedError, UpstreamTimeoutError
from trunkline.core.units import SAMPLE_RATE_HZ, Pcm

RATE_WPM = 140
"""Slow enough for a small recognizer, quick enough not to pause within a sentence for as long as the hangover."""
PEAK = 0.5
SPEAK_TIMEOUT_S = 20.0
VOICES = ("en-us", "en-us+m3", "en-us+f2", "en-us+m7", "en-us+f4")
"""Callers who don't all sound the same."""


async def speak_to_wav(text: str, path: Path, voice: str = VOICES[0]) -> None:
    """Writes a sentence as WAV: mono, 16-bit, 16000 Hz, peak at -6 dBFS. Raises what `speak` raises."""
    write_wav(path, await speak(text, voice))


async def speak(text: str, voice: str = VOICES[0], rate_wpm: int = RATE_WPM) -> Pcm:
    """Speaks a sentence: int16, mono, 16000 Hz, peak at -6 dBFS.

    Raises:
        ConfigError: espeak-ng is not installed.
        UpstreamError: it did not speak.
    """
    sound = await _espeak(text, voice, rate_wpm)
    with wave.open(io.BytesIO(sound)) as source:
        rate_hz = source.getframerate()
        samples = np.frombuffer(source.readframes(source.getnframes()), dtype=np.int16)
    return _levelled(soxr.resample(samples.astype(np.float32) / 32768, rate_hz, SAMPLE_RATE_HZ))


def write_wav(path: Path, samples: Pcm) -> None:
    """Writes int16, mono, 16000 Hz."""
    with wave.open(str(path), "wb") as target:
        target.setnchannels(1)
        target.setsampwidth(2)
        target.setframerate(SAMPLE_RATE_HZ)
        target.writeframes(samples.tobytes())


async def _espeak(text: str, voice: str, rate_wpm: int) -> bytes:
    command = ["espeak-ng", "-v", voice, "-s", str(rate_wpm), "--stdin", "--stdout"]
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
    except OSError as error:
        raise ConfigError("the callers' voice needs espeak-ng", "apt-get install espeak-ng") from error
    try:
        sound, _ = await asyncio.wait_for(process.communicate(text.encode()), SPEAK_TIMEOUT_S)
    except TimeoutError as error:
        process.kill()
        await process.wait()
        raise UpstreamTimeoutError("espeak-ng", f"did not say {text!r} within {SPEAK_TIMEOUT_S:.0f} s") from error
    if process.returncode != 0 or not sound:
        raise UpstreamRejectedError("espeak-ng", f"could not say {text!r}")
    return sound


def _levelled(samples: np.ndarray[tuple[int], np.dtype[np.float32]]) -> Pcm:
    peak = float(np.max(np.abs(samples))) if samples.size else 0.0
    gain = PEAK / peak if peak > 0 else 0.0
    levelled: Pcm = np.clip(samples * gain * 32767, -32768, 32767).astype(np.int16)
    return levelled
