"""What only the native engine can do, on a real livekit-server: shared rooms, and calls that outlive the program."""

from __future__ import annotations

import asyncio
import os
import signal
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import jwt
import numpy as np
import pytest
import pytest_asyncio

from tests.listener import Listener
from tests.sfu import KEY, SECRET, LiveKit, serve_livekit
from trunkline.core.errors import MediaError
from trunkline.core.units import SAMPLE_RATE_HZ, Pcm
from trunkline.media.engine import (
    CallerFrame,
    Disconnected,
    LastPacket,
    ParticipantLeft,
    Reconnected,
    Reconnecting,
    TrackHeard,
)
from trunkline.media.native import NativeEngine
from trunkline.media.native_leg import NativeLeg
from trunkline.media.sdk import SdkEngine
from trunkline.stack.binaries import find_media_engine

pytestmark = [pytest.mark.contract, pytest.mark.timeout(90), pytest.mark.asyncio(loop_scope="module")]

CALLERS = 25
LEEWAY_S = 60
"""livekit-server takes a token for so long after its end."""


class Ear(Listener):
    """Keeps what it hears once it is loud."""

    def on_frame(self, frame: CallerFrame) -> None:
        if np.abs(frame.samples).max() > 1000:
            super().on_frame(frame)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def livekit(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LiveKit]:
    async for server in serve_livekit(tmp_path_factory.mktemp("livekit")):
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def program() -> Path:
    found = await find_media_engine(lambda *_: None)
    if found is None:
        if os.environ.get("TRUNKLINE_REQUIRE_SERVERS") == "1":
            pytest.fail("trunkline-media can't be had; make servers")
        pytest.skip("trunkline-media is not there")
    return found


@pytest_asyncio.fixture(loop_scope="module")
async def engines(program: Path) -> AsyncIterator[tuple[NativeEngine, NativeEngine]]:
    """The agents' engine and the callers'."""
    both = NativeEngine(program), NativeEngine(program)
    for each in both:
        await each.start()
    yield both
    for each in both:
        await each.close()


async def until(what: str, holds: Callable[[], bool], limit_s: float = 30) -> None:
    try:
        async with asyncio.timeout(limit_s):
            while not holds():
                await asyncio.sleep(0.01)
    except TimeoutError:
        pytest.fail(f"never came: {what}")


def tone(hz: float, seconds: float = 1.0) -> Pcm:
    time_s = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    samples: Pcm = (9000 * np.sin(2 * np.pi * hz * time_s)).astype(np.int16)
    return samples


def pitch(frame: CallerFrame) -> float:
    """Of a pure tone, to the 50 Hz that 20 ms resolve."""
    return float(np.argmax(np.abs(np.fft.rfft(frame.samples))) * 50)


def hz(number: int) -> float:
    return 300.0 + 100 * number


@dataclass
class Call:
    """One of several: the agent's leg and its caller."""

    number: int
    leg: NativeLeg
    agent: Ear
    caller_leg: NativeLeg
    caller: Ear


async def calls(
    livekit: LiveKit, engines: tuple[NativeEngine, NativeEngine], count: int, shared: bool = False
) -> list[Call]:
    """So many callers in one room, or each in one of its own; all legs hear each other."""
    agents, callers = engines
    room = f"room-{uuid.uuid4().hex[:8]}"

    async def begin(number: int) -> Call:
        where = room if shared else f"{room}-{number}"
        agent, caller = Ear(), Ear()
        caller_leg = await callers.join(livekit.url, livekit.token(where, f"caller-{number}"), caller)
        await caller_leg.listen_to("agent")
        await caller_leg.publish()
        leg = await agents.join(livekit.url, livekit.token(where, "agent", agent=True), agent, shared=shared)
        await leg.listen_to(f"caller-{number}")
        await leg.publish()
        return Call(number, leg, agent, caller_leg, caller)

    made = await asyncio.gather(*(begin(number) for number in range(count)))
    await until("everybody's track", lambda: all(call.agent.has(TrackHeard) for call in made))
    return made


async def test_each_of_25_callers_in_a_room_hears_its_own_answer_only(
    livekit: LiveKit, engines: tuple[NativeEngine, NativeEngine]
) -> None:
    made = await calls(livekit, engines, CALLERS, shared=True)
    for call in made:
        call.leg.play(1, tone(hz(call.number)))
        call.leg.end(1)
        call.caller_leg.play(1, tone(hz(CALLERS - call.number)))
        call.caller_leg.end(1)
    await until("all answers", lambda: all(call.agent.has(LastPacket) for call in made))
    await until("what all said", lambda: all(min(len(c.caller.frames), len(c.agent.frames)) >= 30 for c in made))
    for call in made:
        for heard, wanted in (
            (call.caller.frames, hz(call.number)),
            (call.agent.frames, hz(CALLERS - call.number)),
        ):
            astray = [frame for frame in heard if abs(pitch(frame) - wanted) > 50]
            # The fade at either end may bend a frame.
            assert len(astray) <= 3, f"{call.number}: {[pitch(frame) for frame in astray]}"
    first, *others = made
    await first.leg.leave()
    assert (await first.leg.stats()).sent >= 50
    assert not any(call.caller.has(ParticipantLeft) for call in made)
    for call in others:
        await call.leg.leave()
    await until("the end of the participant", lambda: all(call.caller.has(ParticipantLeft) for call in made))


async def test_shared_legs_are_back_after_the_engine_was_killed(
    livekit: LiveKit, engines: tuple[NativeEngine, NativeEngine]
) -> None:
    made = await calls(livekit, engines, 3, shared=True)
    pid = engines[0].pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await until("all calls", lambda: all(call.agent.has(Reconnected) for call in made))
    for call in made:
        call.caller.frames.clear()
        call.leg.play(1, tone(hz(call.number)))
        call.leg.end(1)
    await until("all answers", lambda: all(len(call.caller.frames) >= 30 for call in made))
    for call in made:
        assert len([frame for frame in call.caller.frames if abs(pitch(frame) - hz(call.number)) > 50]) <= 3
        assert not call.agent.has(Disconnected)
        assert not call.agent.has(ParticipantLeft)


async def test_ten_calls_are_in_audio_again_after_the_engine_was_killed(
    livekit: LiveKit, engines: tuple[NativeEngine, NativeEngine], record_property: Callable[[str, object], None]
) -> None:
    made = await calls(livekit, engines, 10)
    for call in made:
        call.caller_leg.play(1, tone(hz(call.number), 20))
    await until("all callers", lambda: all(len(call.agent.frames) > 10 for call in made))
    pid = engines[0].pid
    assert pid is not None
    killed_at = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    await until("the loss", lambda: all(call.agent.has(Reconnecting) for call in made))
    lost = {call.number: len(call.agent.frames) for call in made}
    await until("all callers again", lambda: all(len(c.agent.frames) > lost[c.number] + 10 for c in made))
    gaps_s = [call.agent.frames[lost[call.number]].ended_at - killed_at for call in made]
    record_property("seconds without audio", [round(gap_s, 3) for gap_s in sorted(gaps_s)])
    assert engines[0].restarts == 1
    assert not any(call.agent.has(Disconnected) or call.agent.has(ParticipantLeft) for call in made)


def expiring(room: str, at_wall: float) -> str:
    """A token for the agent that livekit-server takes until this instant."""
    claims = {"iss": KEY, "sub": "agent", "exp": int(at_wall) - LEEWAY_S, "video": {"roomJoin": True, "room": room}}
    return jwt.encode(claims, SECRET, "HS256")


async def test_a_call_whose_token_has_expired_comes_back_with_a_new_one(
    livekit: LiveKit, engines: tuple[NativeEngine, NativeEngine]
) -> None:
    agents, _ = engines
    ends_wall = time.time() + 4
    kept, lost = Ear(), Ear()
    renewals: list[str] = []

    def renew() -> str:
        renewals.append("once")
        return livekit.token("kept", "agent", agent=True)

    leg = await agents.join(livekit.url, expiring("kept", ends_wall), kept, renew=renew)
    await leg.publish()
    await agents.join(livekit.url, expiring("lost", ends_wall), lost)
    await asyncio.sleep(max(0.0, ends_wall + 1 - time.time()))
    with pytest.raises(MediaError, match=r"unauthorized: invalid token: \(token\)"):
        await agents.join(livekit.url, expiring("x", ends_wall), Ear())
    pid = agents.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await until("the call with a new token", lambda: kept.has(Reconnected))
    await until("the end of the other", lambda: lost.has(Disconnected))
    assert renewals == ["once"]
    assert not kept.has(Disconnected)


async def test_the_sdk_engine_refuses_shared_rooms(livekit: LiveKit) -> None:
    engine = SdkEngine()
    await engine.start()
    with pytest.raises(MediaError, match="MEDIA_ENGINE=native"):
        await engine.join(livekit.url, livekit.token("r", "agent"), Ear(), shared=True)
    await engine.close()
