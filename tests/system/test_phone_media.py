"""What a simulated phone says and hears through a real livekit-sip: codecs, and a bad line."""

from __future__ import annotations

import asyncio
import os
import wave
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
import soxr

from tests.phone_stack import PhoneStack, open_phone_stack
from tests.world import missing, phone_program
from trunkline.core.units import SAMPLE_RATE_HZ, Pcm
from trunkline.loadtest.phone import HeardStart, HeardStop, PhoneLine, PlayStart
from trunkline.loadtest.voice import write_wav
from trunkline.media.impairment import Impairment, Network, Noise, NoiseKind
from trunkline.stack.binaries import LIVEKIT_SERVER, LIVEKIT_SIP, REDIS, find, find_media_engine
from trunkline.stack.plan import Programs
from trunkline.testing.speech import tone

pytestmark = [pytest.mark.system, pytest.mark.timeout(120), pytest.mark.asyncio(loop_scope="module")]

LOW_HZ, HIGH_HZ = 900.0, 5500.0
ANSWER_S = 15.0
ECHO_S = 10.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PhoneStack]:
    found = []
    for wanted in (REDIS, LIVEKIT_SERVER, LIVEKIT_SIP):
        path = await find(wanted, os.environ, lambda *_: None)
        if path is None:
            missing(f"{wanted.name} is missing; make servers")
        found.append((str(path),))
    engine = await find_media_engine(lambda *_: None)
    if engine is None:
        missing("trunkline-media is missing; make servers")
        raise AssertionError
    folder = tmp_path_factory.mktemp("phones")
    async with open_phone_stack(Programs(*found), await phone_program(), engine, folder) as opened:
        yield opened


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """A second of two tones, one of them above what G.711 carries."""
    path = tmp_path / "sound.wav"
    write_wav(path, (tone(1.0, -20, LOW_HZ) + tone(1.0, -20, HIGH_HZ)).astype(np.int16))
    return path


@pytest.mark.parametrize("codec", ["g722", "pcmu", "pcma"])
async def test_what_is_said_comes_back_in_each_codec(
    stack: PhoneStack, sound: Path, tmp_path: Path, codec: str
) -> None:
    recording = tmp_path / "call.wav"
    await stack.agent(f"room-{codec}")
    line = await stack.dial(f"room-{codec}", codec=codec, wav=recording)
    assert (await line.answered(ANSWER_S)).codec == codec.upper()
    await until_heard(line, sound)
    stats = (await line.hang_up()).stats
    assert stats["lost"] == 0
    assert stats["invalid"] == 0
    assert stats["received"] - 3 <= stats["gaps"]["count"] < stats["received"], "livekit-sip sends all the time"
    assert 0 < stats["speech_gaps"]["count"] < stats["gaps"]["count"]
    rate_hz, heard = read_right(recording)
    assert rate_hz == (16_000 if codec == "g722" else 8_000)
    assert power(heard, rate_hz, LOW_HZ) > 1e-4
    if codec == "g722":
        assert power(heard, rate_hz, HIGH_HZ) > 1e-4, "nothing above the voice band"


async def test_the_bridge_prefers_g722_of_what_is_offered(stack: PhoneStack) -> None:
    await stack.agent("room-choice")
    line = await stack.dial("room-choice", codec="pcma,pcmu,g722")
    assert (await line.answered(ANSWER_S)).codec == "G722"
    await line.hang_up()


async def test_a_phone_hears_all_of_each_answer_though_it_is_sent_ahead(stack: PhoneStack, tmp_path: Path) -> None:
    """livekit-sip throws away what is more than 100 ms ahead of what it plays."""
    recording = tmp_path / "call.wav"
    agent = await stack.agent("room-ahead")
    line = await stack.dial("room-ahead", wav=recording)
    await asyncio.wait_for(agent.heard.wait(), ANSWER_S)
    assert agent.leg is not None
    answers = [speechlike(seed) for seed in range(3)]
    for number, answer in enumerate(answers, start=1):
        agent.leg.play(number, answer)
        agent.leg.end(number)
        await asyncio.sleep(len(answer) / SAMPLE_RATE_HZ + 0.4)
    await line.hang_up()
    rate_hz, heard = read_right(recording)
    part = rate_hz // 25
    for number, answer in enumerate(answers, start=1):
        said = soxr.resample(answer.astype(float), SAMPLE_RATE_HZ, rate_hz)
        places = found(said, heard.astype(float), part)
        starts = [at for at, _ in places]
        assert min(likeness for _, likeness in places) > 0.5, f"a part of answer {number} is missing"
        assert starts == sorted(starts), f"answer {number} is out of order"
        # A busy machine may hold 20 ms up or skip them; more has another reason.
        assert abs(starts[-1] - starts[0] - (len(said) - part)) < 0.1 * rate_hz


async def test_a_caller_on_a_bad_line_is_answered_and_hears_the_agent(stack: PhoneStack, sound: Path) -> None:
    network = Network(loss=0.1, burst=2, jitter_ms=20, reorder=0.05, duplicate=0.1)
    noise = Noise(NoiseKind.PINK, -60)
    impair = Impairment(seed=7, sent=network, received=network, noise=noise, drift_ppm=80)
    await stack.agent("room-bad")
    line = await stack.dial("room-bad", impair=impair)
    await line.answered(ANSWER_S)
    await until_heard(line, sound)
    stats = (await line.hang_up()).stats
    for way in ("impaired_sent", "impaired_received"):
        assert 0 < stats[way]["lost"] < stats[way]["packets"] / 3
    assert stats["duplicate"] > 0
    assert stats["lost"] > 0
    assert stats["sent"] == stats["impaired_sent"]["packets"]


async def until_heard(line: PhoneLine, sound: Path) -> None:
    """Speaks, and waits until that has come back and is over."""
    await line.play("s1", sound)
    said = heard = None
    async with asyncio.timeout(ECHO_S):
        while True:
            match await line.event():
                case PlayStart(at_us=at_us):
                    said = at_us
                case HeardStart(at_us=at_us) if said is not None:
                    heard = at_us
                case HeardStop() if heard is not None:
                    break
    assert said is not None
    assert heard is not None
    assert heard > said


def read_right(path: Path) -> tuple[int, Pcm]:
    """What was heard: rate in Hz, and int16, shape (n,)."""
    with wave.open(str(path)) as source:
        both = np.frombuffer(source.readframes(source.getnframes()), dtype=np.int16)
        return source.getframerate(), both[1::2]


def speechlike(seed: int) -> Pcm:
    """A second of noise within the band of a telephone; no two parts of it are alike."""
    spectrum = np.fft.rfft(np.random.default_rng(seed).normal(size=SAMPLE_RATE_HZ))
    hz = np.fft.rfftfreq(SAMPLE_RATE_HZ, 1 / SAMPLE_RATE_HZ)
    samples = np.fft.irfft(np.where((hz > 300) & (hz < 3000), spectrum, 0))
    loud: Pcm = (samples / np.abs(samples).max() * 12_000).astype(np.int16)
    return loud


def found(said: np.ndarray, heard: np.ndarray, length: int) -> list[tuple[int, float]]:
    """Where each part of this many samples was heard, and how like itself (1: the same)."""
    energy = np.sqrt(np.convolve(heard**2, np.ones(length), "valid")) + 1e-9
    places = []
    for begin in range(0, len(said) - length + 1, length):
        part = said[begin : begin + length]
        likeness = np.correlate(heard, part, "valid") / energy / np.sqrt(np.sum(part**2))
        at = int(np.argmax(likeness))
        places.append((at, float(likeness[at])))
    return places


def power(samples: Pcm, rate_hz: int, hz: float) -> float:
    """The share of all power that lies within 30 Hz of a frequency."""
    spectrum = np.abs(np.fft.rfft(samples.astype(float))) ** 2
    at = np.fft.rfftfreq(samples.size, 1 / rate_hz)
    return float(spectrum[np.abs(at - hz) < 30].sum() / spectrum.sum())
