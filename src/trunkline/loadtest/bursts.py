"""What the callers say, as WAV files: the phrase in several voices, or a recording; numbered for emulated providers."""

from __future__ import annotations

import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr

from trunkline.core.errors import ConfigError
from trunkline.core.units import SAMPLE_RATE_HZ, Pcm, samples_to_s
from trunkline.loadtest.answers import codes_of
from trunkline.loadtest.ear import burst, sound_only
from trunkline.loadtest.options import DEFAULT_PHRASE, LoadOptions
from trunkline.loadtest.voice import VOICES, speak, write_wav
from trunkline.testing.voice_code import Bed

MAX_WAV_S = 60.0


@dataclass(frozen=True, slots=True)
class Bursts:
    """What is said.

    Args:
        words: As far as they are known.
        longest_s: The longest burst.
        wavs: Those of each caller, to be spoken in turn.
    """

    words: str
    longest_s: float
    wavs: list[tuple[Path, ...]]


async def make_bursts(options: LoadOptions, folder: Path, numbered: bool) -> Bursts:
    """Writes what each caller says to a folder.

    Raises:
        ConfigError: espeak-ng is missing, or the phrase or the recording can't be spoken.
    """
    if options.wav is not None:
        words = "" if options.phrase == DEFAULT_PHRASE else options.phrase
        spoken = [read_recording(options.wav)]
    else:
        words = options.phrase
        voices = VOICES[: options.concurrency]
        spoken = [burst(sound_only(await speak(words, voice)), options.burst_seconds) for voice in voices]
    if not all(samples.size for samples in spoken):
        raise ConfigError(f"--phrase {options.phrase!r} has no sound")
    longest_s = samples_to_s(max(samples.size for samples in spoken))
    if not numbered:
        plain = [folder / f"voice-{number}.wav" for number in range(1, len(spoken) + 1)]
        for wav, samples in zip(plain, spoken, strict=True):
            write_wav(wav, samples)
        return Bursts(words, longest_s, [(plain[n % len(plain)],) for n in range(options.concurrency)])
    # An emulated recognizer reads which sentence is spoken from the sound, and knows no other words.
    beds = [Bed(samples) for samples in spoken]
    every = []
    for number in range(1, options.concurrency + 1):
        bed = beds[(number - 1) % len(beds)]
        wavs = []
        for code in codes_of(number):
            wavs.append(folder / f"code-{code}.wav")
            write_wav(wavs[-1], bed.encode(code))
        every.append(tuple(wavs))
    return Bursts(words, longest_s, every)


def read_recording(path: Path, option: str = "--wav") -> Pcm:
    """The sound of a WAV of 16 bits at any rate, mono or its first channel. Raises ConfigError."""
    try:
        with wave.open(str(path)) as source:
            rate_hz, channels, width = source.getframerate(), source.getnchannels(), source.getsampwidth()
            frames = source.readframes(min(source.getnframes(), int(rate_hz * MAX_WAV_S) + 1))
    except (OSError, EOFError, wave.Error) as error:
        raise ConfigError(f"{option} {path}: {getattr(error, 'strerror', None) or str(error) or 'cut off'}") from error
    if width != 2:
        raise ConfigError(f"{option} {path}: {8 * width} bits a sample, not 16")
    samples = np.frombuffer(frames, dtype="<i2")[::channels]
    if samples.size > rate_hz * MAX_WAV_S:
        raise ConfigError(f"{option} {path}: longer than {MAX_WAV_S:.0f} s")
    resampled: Pcm = soxr.resample(samples.astype(np.int16), rate_hz, SAMPLE_RATE_HZ)
    sound = sound_only(resampled)
    if not sound.size:
        raise ConfigError(f"{option} {path}: there is no sound in it")
    return sound
