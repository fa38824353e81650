"""Simulated callers with a bad line or an echo, and the agent's engine at the other end of a real livekit-server."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest
import pytest_asyncio

from tests.listener import Listener
from tests.sfu import LiveKit, serve_livekit
from trunkline.core.units import FRAME_SAMPLES, SAMPLE_RATE_HZ, Pcm
from trunkline.media.engine import LastPacket, TrackHeard
from trunkline.media.impairment import Impairment
from trunkline.media.impairment_text import parse_impairment
from trunkline.media.native import NativeEngine
from trunkline.media.native_leg import NativeLeg
from trunkline.stack.binaries import find_media_engine

pytestmark = [pytest.mark.contract, pytest.mark.timeout(60), pytest.mark.asyncio(loop_scope="module")]

SPOKEN_S = 6
SOUND = 1_000
"""Of a frame that is loud: the root mean square of its samples."""


class Ear(Listener):
    """Gives back what it heard."""

    def heard(self) -> Pcm:
        """What it heard, from the first frame of the list to the last, silence where a tick was left out."""
        begun = self.frames[0].ended_at
        ticks = [round((frame.ended_at - begun) / 0.02) for frame in self.frames]
        heard = np.zeros((ticks[-1] + 1, FRAME_SAMPLES), dtype=np.int16)
        for tick, frame in zip(ticks, self.frames, strict=True):
            heard[tick] = frame.samples
        return heard.reshape(-1)


@dataclass
class Call:
    """A caller and an agent, who hear each other."""

    caller: NativeLeg
    agent: NativeLeg
    at_caller: Ear
    at_agent: Ear


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def livekit(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LiveKit]:
    async for server in serve_livekit(tmp_path_factory.mktemp("livekit")):
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engines() -> AsyncIterator[tuple[NativeEngine, NativeEngine]]:
    """One for callers, one for agents."""
    program = await find_media_engine(lambda *_: None)
    if program is None:
        if os.environ.get("TRUNKLINE_REQUIRE_SERVERS") == "1":
            pytest.fail("trunkline-media can't be had; make servers")
        pytest.skip("trunkline-media is not there")
    both = NativeEngine(program), NativeEngine(program)
    for each in both:
        await each.start()
    yield both
    for each in both:
        await each.close()


async def call(livekit: LiveKit, engines: tuple[NativeEngine, NativeEngine], impairment: Impairment) -> Call:
    room, at_caller, at_agent = f"room-{uuid.uuid4().hex[:8]}", Ear(), Ear()
    callers, agents = engines
    caller = await callers.join(livekit.url, livekit.token(room, "ann"), at_caller)
    agent = await agents.join(livekit.url, livekit.token(room, "agent", agent=True), at_agent)
    caller.impair(impairment)
    await agent.listen_to("ann")
    await caller.listen_to("agent")
    await agent.publish()
    await caller.publish()
    await at_caller.until(TrackHeard, 20)
    await at_agent.until(TrackHeard, 20)
    return Call(caller, agent, at_caller, at_agent)


async def hang_up(call: Call) -> None:
    await call.agent.leave()
    await call.caller.leave()


def siren(seconds: float) -> Pcm:
    """A tone that goes up and down: it correlates with itself only where it is the same, and the codec keeps it."""
    at = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    phase = 2 * np.pi * (700 * at + 400 * np.cumsum(np.sin(2 * np.pi * 1.3 * at)) / SAMPLE_RATE_HZ)
    return (8000 * np.sin(phase)).astype(np.int16)


def levels(samples: Pcm) -> npt.NDArray[np.float64]:
    """The root mean square of each 20 ms."""
    frames = samples[: len(samples) // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
    return np.asarray(np.sqrt(np.mean(frames.astype(float) ** 2, axis=1)))


async def test_speech_comes_through_a_bad_line(livekit: LiveKit, engines: tuple[NativeEngine, NativeEngine]) -> None:
    bad = parse_impairment("loss=5%,burst=2,jitter=40ms,reorder=5%,duplicate=5%,seed=7")
    here = await call(livekit, engines, bad)
    here.caller.play(1, siren(SPOKEN_S))
    here.caller.end(1)
    await here.at_caller.until(LastPacket, 20)
    await asyncio.sleep(0.3)
    stats = await here.agent.stats()
    loud = np.flatnonzero(levels(here.at_agent.heard()) > SOUND)
    await hang_up(here)
    packets = SPOKEN_S * 50
    assert len(loud) > 0.9 * packets, "most of it is heard, or guessed"
    assert np.diff(loud).max() <= 10, "nothing for longer than 200 ms"
    assert 0.01 * packets < stats.lost < 0.12 * packets
    assert stats.concealed > 0
    assert stats.fec_used > 0
    assert 20 <= stats.target_ms <= 60


async def test_nothing_is_lost_without_impairments(
    livekit: LiveKit, engines: tuple[NativeEngine, NativeEngine]
) -> None:
    here = await call(livekit, engines, parse_impairment("loss=50%,seed=7"))
    here.caller.impair(Impairment())
    here.caller.play(1, siren(2))
    here.caller.end(1)
    await here.at_caller.until(LastPacket, 20)
    stats = await here.agent.stats()
    await hang_up(here)
    assert stats.lost <= 2, "a packet or two may be lost on a machine that is busy"


@pytest.mark.parametrize(("gain_db", "delay_ms"), [(-20, 150), (-10, 400)])
async def test_the_agent_hears_its_echo(
    livekit: LiveKit, engines: tuple[NativeEngine, NativeEngine], gain_db: int, delay_ms: int
) -> None:
    here = await call(livekit, engines, parse_impairment(f"echo={gain_db}dB/{delay_ms}ms"))
    here.agent.play(1, siren(3))
    here.agent.end(1)
    await here.at_agent.until(LastPacket, 20)
    await asyncio.sleep(delay_ms / 1000 + 0.3)
    await hang_up(here)
    # From the caller's ear to the agent's, on one clock: the echo's delay, then the network and the agent's buffer.
    heard, echo = here.at_caller.heard().astype(float), here.at_agent.heard().astype(float)
    apart = round((here.at_agent.frames[0].ended_at - here.at_caller.frames[0].ended_at) * SAMPLE_RATE_HZ)
    size = 2 ** int(np.ceil(np.log2(len(heard) + len(echo))))
    alike = np.fft.irfft(np.fft.rfft(echo, size) * np.conj(np.fft.rfft(heard, size)), size)
    lag = int(np.argmax(alike))
    lag_ms = 1000 * ((lag if lag < size // 2 else lag - size) + apart) / SAMPLE_RATE_HZ
    assert delay_ms <= lag_ms <= delay_ms + 120
    sent, came = levels(here.at_caller.heard()), levels(here.at_agent.heard())
    loudness_db = 20 * np.log10(np.median(came[came > 50]) / np.median(sent[sent > SOUND]))
    assert loudness_db == pytest.approx(gain_db, abs=1.5)
