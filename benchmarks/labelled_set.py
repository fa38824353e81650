"""Makes a labelled set of sounds over the agent's speech: what interrupts it, and what only sounds as if.

Speech is espeak-ng's in four voices; noises, coughs and music are computed from a seed. There is no recorded human in
it: it shows what the lane does with known sounds under known conditions, and replaces no trial with people. Thresholds
were chosen on the set of `CAST`; that of `HELD_OUT`, with other voices, phrases and noises, was not looked at for that.
`benchmarks/barge_in.py` runs it; `--write DIR` there keeps it as WAV files with labels.
"""

from __future__ import annotations

import io
import subprocess
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from functools import cache, partial

import numpy as np
import soxr

RATE_HZ = 16_000
PHONE_VOICES = ("en-us", "en-gb+f2", "en-gb-scotland+m3", "en-us+f4")
AGENT_VOICES = ("en-us", "en-gb+f2", "en-us+m7", "en-gb-x-rp+f5")
SPEECH_DBFS = -26.0
"""Of the caller, as phones send it."""
AGENT_DBFS = -20.0
"""Of the agent, as it leaves us."""

OPENING = "Hello, I have a question about my order."
"""What the caller says first, and the agent then answers."""
ANSWER = (
    "Thank you for calling. Your order was sent on Monday, and it should be with you by the end of this week. If it "
    "does not come by then, please call us again, and we will look into it. "
    "Is there anything else that I can do for you?"
)

Sound = np.ndarray
"""float64, mono, 16000 Hz, -1 to 1."""


class Label(Enum):
    """What a sound is to the agent that is speaking."""

    SPEECH = "speech"
    """The caller interrupts: pause, and then stop."""
    VOICE = "voice"
    """The caller makes a sound, and wants the agent to go on: it may pause, and must go on."""
    NOISE = "noise"
    """Not the caller's voice: it should not pause, and must go on."""
    ECHO = "echo"
    """The agent's own voice: it should not pause, and must go on."""


@dataclass(frozen=True)
class Condition:
    """What the line adds.

    Args:
        name: For the tables.
        noise: Kind of noise under everything; empty for none.
        snr_db: Speech over that noise.
        echo_db: The agent's own voice as it comes back, relative to how it was sent; None for none.
        echo_s: How late.
        band: Telephone band and mu-law.
    """

    name: str
    noise: str = ""
    snr_db: float = 99.0
    echo_db: float | None = None
    echo_s: float = 0.0
    band: bool = True


@dataclass(frozen=True)
class Clip:
    """One sound over the agent's speech.

    Args:
        kind: What it is, for the tables.
        label: What is right.
        make: Makes the sound alone.
        words: What an STT would write; empty for no words.
        condition: The line.
        agent_voice: Who is interrupted.
        voice: The caller's voice, in which the call was opened.
        seed: Of the line's noise.
    """

    kind: str
    label: Label
    make: Callable[[], Sound] = field(repr=False)
    words: str
    condition: Condition
    agent_voice: str = AGENT_VOICES[0]
    voice: str = PHONE_VOICES[0]
    seed: int = 0


CONDITIONS = (
    Condition("wideband", band=False),
    Condition("phone"),
    Condition("phone, hum 20 dB", noise="hum", snr_db=20),
    Condition("phone, hiss 20 dB", noise="hiss", snr_db=20),
    Condition("phone, hiss 10 dB", noise="hiss", snr_db=10),
    Condition("phone, babble 15 dB", noise="babble", snr_db=15),
    Condition("phone, echo -15 dB 60 ms", echo_db=-15, echo_s=0.06),
    Condition("phone, echo -25 dB 250 ms", echo_db=-25, echo_s=0.25),
)

# What is said, as espeak-ng takes it, and what an STT writes.
HUMS = (("[[mhm:]]", "mhm"), ("[[m:hm:]]", "mhm"), ("[['Vh'V]]", "uh-huh"), ("[[m:]]", ""))


@dataclass(frozen=True)
class Cast:
    """Who says what over the agent.

    Args:
        voices: Of callers.
        agent_voices: Of the agent, and so of its echo.
        interruptions: What callers say to interrupt.
        backchannels: What they say to have the agent go on: as espeak-ng takes it, and as an STT writes it.
        seed: Of all noises.
    """

    voices: tuple[str, ...]
    agent_voices: tuple[str, ...]
    interruptions: tuple[str, ...]
    backchannels: tuple[tuple[str, str], ...]
    seed: int = 0


CAST = Cast(
    PHONE_VOICES,
    AGENT_VOICES,
    (
        "stop",
        "wait",
        "no",
        "hold on",
        "excuse me",
        "wait a moment please",
        "no that is wrong",
        "can I ask you something",
        "I would like to speak to somebody",
        "okay but what about Sunday",
        "what did you say",
        "sorry I did not get that",
    ),
    (*HUMS, ("yeah", "yeah"), ("okay", "okay"), ("right", "right"), ("yeah okay", "yeah okay")),
)

HELD_OUT = Cast(
    ("en-gb", "en-us+m5", "en-029+f1", "en-gb-x-gbclan+m4"),
    ("en-gb-x-rp", "en-us+f3", "en-gb-scotland", "en-029+m2"),
    (
        "hang on",
        "hello",
        "not that one",
        "please listen",
        "one second",
        "that is not what I meant",
        "how much does it cost",
        "let me think about it",
        "I have another question",
        "yes but not today",
        "who are you",
        "the number is wrong",
    ),
    (*HUMS, ("yes", "yes"), ("sure", "sure"), ("oh okay", "oh okay"), ("I see", "i see")),
    seed=40,
)


def make_set(cast: Cast = CAST, small: bool = False) -> list[Clip]:
    """All clips with their labels.

    Args:
        cast: Who says what.
        small: A few of each kind, for tests.
    """
    clips = [*_said(cast), *_vocal_noises(cast), *_noises(cast), *_echoes(cast)]
    if not small:
        return clips
    few: dict[str, list[Clip]] = {}
    for clip in clips:
        few.setdefault(clip.kind, []).append(clip)
    return [clip for kind in few.values() for clip in kind[:: max(1, len(kind) // 5)][:5]]


def _said(cast: Cast) -> Iterator[Clip]:
    said = [("interruption", Label.SPEECH, words, words) for words in cast.interruptions]
    said += [("backchannel", Label.VOICE, sound, words) for sound, words in cast.backchannels]
    for number, (kind, label, sound, words) in enumerate(said):
        for speaker, voice in enumerate(cast.voices):
            rate_wpm = 150 + 15 * ((number + speaker) % 3) if label is Label.SPEECH else 150
            dbfs = SPEECH_DBFS - (3 * (number % 2) if label is Label.VOICE else 0)
            make = partial(speech, sound, voice, rate_wpm, dbfs)
            for place, condition in enumerate(CONDITIONS):
                agent = cast.agent_voices[(number + speaker + place) % len(cast.agent_voices)]
                yield Clip(kind, label, make, words, condition, agent, voice, cast.seed + number)


def _vocal_noises(cast: Cast) -> Iterator[Clip]:
    for number in range(12):
        seed = cast.seed + number
        for place, condition in enumerate(CONDITIONS):
            agent = cast.agent_voices[(number + place) % len(cast.agent_voices)]
            voice = cast.voices[number % len(cast.voices)]
            yield Clip("cough", Label.VOICE, partial(cough, seed), "", condition, agent, voice, seed)
            yield Clip("breath", Label.NOISE, partial(breath, seed), "", condition, agent, voice, seed)


def _noises(cast: Cast) -> Iterator[Clip]:
    for kind in ("hum", "hiss", "babble", "music", "keyboard", "dtmf"):
        for number in range(6):
            seed = cast.seed + number
            for level_dbfs in LEVELS_DBFS[kind]:
                for condition in (CONDITIONS[0], CONDITIONS[1], CONDITIONS[6]):
                    agent = cast.agent_voices[number % len(cast.agent_voices)]
                    make = partial(noise, kind, seed, 3.0, level_dbfs)
                    voice = cast.voices[number % len(cast.voices)]
                    yield Clip(kind, Label.NOISE, make, "", condition, agent, voice, seed)


def _echoes(cast: Cast) -> Iterator[Clip]:
    for number, agent in enumerate(cast.agent_voices):
        for level_db in (-15.0, -20.0, -25.0, -30.0, -40.0):
            for late_s in (0.05, 0.1, 0.17, 0.25):
                for band in (False, True):
                    condition = Condition(f"echo {level_db:.0f} dB", echo_db=level_db, echo_s=late_s, band=band)
                    voice = cast.voices[number]
                    yield Clip(
                        "own echo",
                        Label.ECHO,
                        partial(np.zeros, RATE_HZ),
                        "",
                        condition,
                        agent,
                        voice,
                        cast.seed + number,
                    )


# --- sounds ---


@cache
def speech(words: str, voice: str, rate_wpm: int = 150, dbfs: float = SPEECH_DBFS) -> Sound:
    """A sentence without the silence around it."""
    done = subprocess.run(
        ["espeak-ng", "-v", voice, "-s", str(rate_wpm), "-b", "1", "--stdin", "--stdout"],
        input=words.encode(),
        capture_output=True,
        check=True,
        timeout=10,
    )
    # espeak-ng writes to a pipe, and so does not know the length that stands in the head.
    with wave.open(io.BytesIO(done.stdout)) as file:
        rate_hz = file.getframerate()
    samples = np.frombuffer(done.stdout[44:], dtype="<i2").astype(np.float64) / 32768
    sound = soxr.resample(samples, rate_hz, RATE_HZ)
    loud = np.flatnonzero(np.abs(sound) > 0.02 * np.abs(sound).max())
    return levelled(sound[loud[0] : loud[-1] + 1], dbfs)


def cough(seed: int) -> Sound:
    """One to three bursts: an explosion of noise, a breathy tail, and some voice at the end."""
    random = np.random.default_rng(100 + seed)
    bursts = []
    for _ in range(1 + seed % 3):
        length = round(RATE_HZ * random.uniform(0.16, 0.32))
        time_s = np.arange(length) / RATE_HZ
        noise = shaped(random.normal(0, 1, length), random.uniform(300, 500), random.uniform(2500, 4500))
        attack = np.minimum(time_s / 0.008, 1.0) * np.exp(-time_s / random.uniform(0.05, 0.1))
        pitch_hz = random.uniform(110, 260) * (1 - 0.3 * time_s / time_s[-1])
        voiced = np.sign(np.sin(2 * np.pi * np.cumsum(pitch_hz) / RATE_HZ)) * (time_s > 0.09) * np.exp(-time_s / 0.08)
        burst = noise / np.abs(noise).max() * attack + 0.25 * shaped(voiced, 200, 1500)
        bursts += [burst, np.zeros(round(RATE_HZ * random.uniform(0.08, 0.2)))]
    return levelled(np.concatenate(bursts[:-1]), SPEECH_DBFS + random.uniform(-3, 6))


def breath(seed: int) -> Sound:
    """Air over a microphone, in or out."""
    random = np.random.default_rng(200 + seed)
    length = round(RATE_HZ * random.uniform(0.4, 1.2))
    noise = shaped(random.normal(0, 1, length), random.uniform(200, 600), random.uniform(1500, 5000))
    return levelled(noise * np.hanning(length) ** random.uniform(0.5, 1.5), random.uniform(-45, -30))


def hum(seed: int, length_s: float) -> Sound:
    """Mains and its harmonics."""
    random = np.random.default_rng(300 + seed)
    time_s = np.arange(round(length_s * RATE_HZ)) / RATE_HZ
    base_hz = 50.0 if seed % 2 else 60.0
    return sum(
        random.uniform(0.3, 1) / n * np.sin(2 * np.pi * base_hz * n * time_s + random.uniform(0, 6))
        for n in range(1, 20)
    )


def hiss(seed: int, length_s: float) -> Sound:
    """A noisy line."""
    return np.random.default_rng(400 + seed).normal(0, 1, round(length_s * RATE_HZ))


def babble(seed: int, length_s: float) -> Sound:
    """Six people in the background."""
    random = np.random.default_rng(500 + seed)
    length = round(length_s * RATE_HZ)
    mix = np.zeros(length)
    for speaker in range(6):
        voice = [*PHONE_VOICES, *AGENT_VOICES][(seed + speaker) % 8]
        said = np.concatenate([speech(ANSWER, voice, 140 + 10 * speaker), np.zeros(RATE_HZ // 2)])
        start = int(random.integers(said.size))
        mix += np.tile(said, 2 + length // said.size)[start : start + length] * _db(random.uniform(-4, 0))
    return mix


def music(seed: int, length_s: float) -> Sound:
    """Music on hold: chords, a melody over them, sometimes a beat."""
    random = np.random.default_rng(600 + seed)
    length = round(length_s * RATE_HZ)
    mix = np.zeros(length)
    beat_s = random.uniform(0.25, 0.5)
    root_hz = random.uniform(110, 220)
    scale = np.array([0, 2, 4, 5, 7, 9, 11, 12])
    for beat in range(int(length_s / beat_s)):
        start = round(beat * beat_s * RATE_HZ)
        tones = [root_hz * 2 * 2 ** (random.choice(scale) / 12)]
        if beat % 4 == 0:
            tones += [root_hz * 2 ** (step / 12) for step in (0, 4, 7)]
        for hz in tones:
            time_s = np.arange(min(round(beat_s * 3 * RATE_HZ), length - start)) / RATE_HZ
            tone = sum(np.sin(2 * np.pi * hz * n * time_s) / n**1.5 for n in range(1, 7))
            mix[start : start + time_s.size] += tone * np.exp(-time_s / (beat_s * 1.5)) * np.minimum(time_s / 0.01, 1)
        if seed % 2:
            drum = random.normal(0, 1, min(1600, length - start)) * np.exp(-np.arange(min(1600, length - start)) / 300)
            mix[start : start + drum.size] += drum
    return mix


def keyboard(seed: int, length_s: float) -> Sound:
    """Somebody types beside the phone."""
    random = np.random.default_rng(700 + seed)
    mix = np.zeros(round(length_s * RATE_HZ))
    at_s = 0.05
    while at_s < length_s - 0.05:
        for strength in (1.0, 0.5):
            start = round((at_s + (0.0 if strength == 1.0 else 0.03)) * RATE_HZ)
            click = random.normal(0, strength, 320) * np.exp(-np.arange(320) / random.uniform(20, 60))
            mix[start : start + click.size] += click[: mix.size - start]
        at_s += random.uniform(0.08, 0.3)
    return shaped(mix, 500, 6000)


def dtmf(seed: int, length_s: float) -> Sound:
    """Keys of the phone, as sound."""
    random = np.random.default_rng(800 + seed)
    mix = np.zeros(round(length_s * RATE_HZ))
    at_s = 0.05
    while at_s < length_s - 0.4:
        tone_s = random.uniform(0.07, 0.3)
        time_s = np.arange(round(tone_s * RATE_HZ)) / RATE_HZ
        low_hz, high_hz = random.choice([697, 770, 852, 941]), random.choice([1209, 1336, 1477])
        start = round(at_s * RATE_HZ)
        mix[start : start + time_s.size] += np.sin(2 * np.pi * low_hz * time_s) + np.sin(2 * np.pi * high_hz * time_s)
        at_s += tone_s + random.uniform(0.06, 0.4)
    return mix


LEVELS_DBFS = dict.fromkeys(("hum", "hiss", "music", "keyboard", "dtmf", "breath"), (-45.0, -35.0, -25.0))
LEVELS_DBFS["babble"] = (-52.0, -46.0, -40.0)
"""People in the background are 14 dB and more below the caller: louder ones are callers, for all that a lane knows."""

NOISES: dict[str, Callable[[int, float], Sound]] = {
    "hum": hum,
    "hiss": hiss,
    "babble": babble,
    "music": music,
    "keyboard": keyboard,
    "dtmf": dtmf,
}


def noise(kind: str, seed: int, length_s: float, dbfs: float) -> Sound:
    """One of `NOISES`, or a breath, at a level."""
    return levelled(breath(seed) if kind == "breath" else NOISES[kind](seed, length_s), dbfs)


# --- the line ---


def levelled(sound: Sound, dbfs: float) -> Sound:
    """The same at this level, measured where it is not silent."""
    loud = sound[np.abs(sound) > 0.05 * np.abs(sound).max()]
    return sound * _db(dbfs) / np.sqrt(np.mean(loud**2))


def shaped(sound: Sound, low_hz: float, high_hz: float) -> Sound:
    """Only what lies in this band, with slopes like those of a simple filter."""
    spectrum = np.fft.rfft(sound)
    hz = np.fft.rfftfreq(sound.size, 1 / RATE_HZ)
    gain = 1 / np.sqrt(1 + (low_hz / np.maximum(hz, 1)) ** 8) / np.sqrt(1 + (hz / high_hz) ** 8)
    return np.fft.irfft(spectrum * gain, sound.size)


def banded(sound: Sound) -> Sound:
    """What the telephone network lets through: 300 to 3400 Hz."""
    return shaped(sound, 280, 3400)


def mu_law(sound: Sound) -> Sound:
    """There and back through the curve of G.711 in 8 bits."""
    curved = np.sign(sound) * np.log1p(255 * np.minimum(np.abs(sound), 1)) / np.log(256)
    steps = np.round(curved * 127) / 127
    return np.sign(steps) * np.expm1(np.abs(steps) * np.log(256)) / 255


def _db(level_db: float) -> float:
    return float(10 ** (level_db / 20))
