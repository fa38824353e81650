"""What both media engines can do, on a real livekit-server: the same cases for the native and for the sdk engine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass

import numpy as np
import pytest
import pytest_asyncio
from livekit import api

from tests.listener import Listener
from tests.sfu import LiveKit, Peer, serve_livekit
from trunkline.core.errors import MediaError
from trunkline.core.units import SAMPLE_RATE_HZ, Pcm
from trunkline.media.engine import (
    CallerMuted,
    DataReceived,
    Disconnected,
    DtmfReceived,
    FirstPacket,
    Halted,
    LastPacket,
    MediaEngine,
    MediaLeg,
    ParticipantJoined,
    ParticipantLeft,
    TrackHeard,
)
from trunkline.media.native import NativeEngine
from trunkline.media.sdk import SdkEngine
from trunkline.stack.binaries import find_media_engine

pytestmark = [pytest.mark.contract, pytest.mark.timeout(60), pytest.mark.asyncio(loop_scope="module")]


class Ear(Listener):
    """Tells how loud it was."""

    def loudness(self, frames: int) -> float:
        samples = np.concatenate([frame.samples for frame in self.frames[-frames:]]).astype(float)
        return float(np.sqrt(np.mean(samples**2)))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def livekit(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LiveKit]:
    async for server in serve_livekit(tmp_path_factory.mktemp("livekit")):
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["sdk", "native"])
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[MediaEngine]:
    made: MediaEngine = SdkEngine()
    if request.param == "native":
        program = await find_media_engine(lambda *_: None)
        if program is None:
            if os.environ.get("TRUNKLINE_REQUIRE_SERVERS") == "1":
                pytest.fail("trunkline-media can't be had; make servers")
            pytest.skip("trunkline-media is not there")
        made = NativeEngine(program)
    await made.start()
    yield made
    await made.close()


@dataclass
class Call:
    """An agent's leg and a caller in one room."""

    leg: MediaLeg
    agent: Ear
    peer: Peer
    room: str


@pytest_asyncio.fixture(loop_scope="module")
async def call(engine: MediaEngine, livekit: LiveKit) -> AsyncIterator[Call]:
    """The caller was there first; the agent has published and is heard."""
    room, peer, agent = f"room-{uuid.uuid4().hex[:8]}", Peer(), Ear()
    await peer.join(livekit, room)
    leg = await engine.join(livekit.url, livekit.token(room, "agent", agent=True), agent)
    await leg.listen_to("ann")
    await leg.publish()
    await agent.until(TrackHeard)
    yield Call(leg, agent, peer, room)
    await leg.leave()
    with contextlib.suppress(Exception):
        await peer.leave()


def speech(seconds: float) -> Pcm:
    time_s = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    samples: Pcm = (9000 * np.sin(2 * np.pi * 500 * time_s)).astype(np.int16)
    return samples


async def until_level(peer: Peer, over: float = 0.0, under: float = 1e9) -> None:
    async with asyncio.timeout(8):
        while not over <= peer.level(0.2) <= under:
            await asyncio.sleep(0.02)


async def test_who_is_there_first_is_told_before_the_join_is_over(engine: MediaEngine, livekit: LiveKit) -> None:
    room, peer, agent = f"room-{uuid.uuid4().hex[:8]}", Peer(), Ear()
    await peer.join(livekit, room)
    leg = await engine.join(livekit.url, livekit.token(room, "agent", agent=True), agent)
    assert [event.identity for event in agent.events if isinstance(event, ParticipantJoined)] == ["ann"]
    await peer.leave()
    left = await agent.until(ParticipantLeft)
    assert left == ParticipantLeft("ann")
    await leg.leave()


async def test_the_caller_is_heard(call: Call) -> None:
    call.peer.loud = True
    async with asyncio.timeout(8):
        while len(call.agent.frames) < 30 or call.agent.loudness(10) < 3000:
            await asyncio.sleep(0.02)
    assert {frame.samples.size for frame in call.agent.frames} == {320}
    instants = [frame.ended_at for frame in call.agent.frames]
    assert instants == sorted(instants)
    call.peer.loud = False
    async with asyncio.timeout(8):
        while call.agent.loudness(10) > 100:
            await asyncio.sleep(0.02)


async def test_an_answer_is_heard_whole(call: Call) -> None:
    call.leg.play(1, speech(0.5))
    call.leg.play(1, speech(0.5))
    call.leg.end(1)
    await until_level(call.peer, over=3000)
    last = await call.agent.until(LastPacket)
    assert isinstance(last, LastPacket)
    assert (last.utterance, last.samples) == (1, SAMPLE_RATE_HZ)
    first = next(event for event in call.agent.events if isinstance(event, FirstPacket))
    # Fifty packets, one each 20 ms.
    assert last.at - first.at == pytest.approx(0.98, abs=0.25)
    await until_level(call.peer, under=50)


async def test_a_pause_is_silent_and_a_resume_goes_on_at_the_sample(call: Call) -> None:
    call.leg.play(1, speech(2.0))
    call.leg.end(1)
    await until_level(call.peer, over=3000)
    call.leg.pause()
    halted = await call.agent.until(Halted)
    assert isinstance(halted, Halted)
    assert 0 < halted.samples < 2 * SAMPLE_RATE_HZ
    await until_level(call.peer, under=50)
    await asyncio.sleep(0.5)
    assert not [event for event in call.agent.events if isinstance(event, LastPacket)]
    call.leg.resume()
    await until_level(call.peer, over=3000)
    last = await call.agent.until(LastPacket)
    assert isinstance(last, LastPacket)
    assert last.samples == 2 * SAMPLE_RATE_HZ


async def test_a_flush_drops_the_rest_and_the_next_answer_is_heard(call: Call) -> None:
    call.leg.play(1, speech(5.0))
    await until_level(call.peer, over=3000)
    call.leg.flush()
    await call.agent.until(Halted)
    await until_level(call.peer, under=50)
    call.leg.play(1, speech(0.5))
    call.leg.play(2, speech(0.5))
    call.leg.end(2)
    last = await call.agent.until(LastPacket)
    assert isinstance(last, LastPacket)
    assert (last.utterance, last.samples) == (2, SAMPLE_RATE_HZ // 2)


async def test_data_goes_both_ways(call: Call, livekit: LiveKit) -> None:
    got: list[tuple[bytes, str | None]] = []
    call.peer.room.on("data_received", lambda packet: got.append((packet.data, packet.topic)))
    await call.leg.send_data(b"what", "a topic")
    async with asyncio.timeout(8):
        while not got:
            await asyncio.sleep(0.02)
    assert got == [(b"what", "a topic")]
    other = Peer()
    await other.join(livekit, call.room, "eve")
    await other.room.local_participant.publish_data(b"not for an agent that listens to ann", topic="t")
    await other.leave()
    await call.peer.room.local_participant.publish_data(b"else", topic="another")
    assert await call.agent.until(DataReceived) == DataReceived(b"else", "another")
    assert len([event for event in call.agent.events if isinstance(event, DataReceived)]) == 1
    with pytest.raises(MediaError, match="at most"):
        await call.leg.send_data(b"x" * 15_001)


async def test_keys_go_both_ways(call: Call) -> None:
    got: list[str] = []
    call.peer.room.on("sip_dtmf_received", lambda dtmf: got.append(dtmf.digit))
    await call.leg.send_dtmf("1#")
    async with asyncio.timeout(8):
        while len(got) < 2:
            await asyncio.sleep(0.02)
    assert got == ["1", "#"]
    await call.peer.room.local_participant.publish_dtmf(code=5, digit="5")
    assert await call.agent.until(DtmfReceived) == DtmfReceived("5")


async def test_a_muted_caller_is_told_and_silent(call: Call, livekit: LiveKit) -> None:
    call.peer.loud = True
    async with asyncio.timeout(8):
        while len(call.agent.frames) < 30 or call.agent.loudness(10) < 3000:
            await asyncio.sleep(0.02)
    (track,) = call.peer.room.local_participant.track_publications.values()
    await livekit.api.room.mute_published_track(
        api.MuteRoomTrackRequest(room=call.room, identity="ann", track_sid=track.sid, muted=True)
    )
    assert await call.agent.until(CallerMuted) == CallerMuted(True)
    async with asyncio.timeout(8):
        while call.agent.loudness(10) > 100:
            await asyncio.sleep(0.02)


async def test_statistics_are_told_also_after_the_call(engine: MediaEngine, call: Call) -> None:
    call.leg.play(1, speech(0.5))
    call.leg.end(1)
    await call.agent.until(LastPacket)
    # The SDK keeps its packets to itself. Two of silence may greet who subscribes, two end what is said.
    spoken, silent = (25, 2 + 2) if engine.name == "native" else (0, 0)
    sent = (await call.leg.stats()).sent
    assert spoken <= sent <= spoken + silent
    await call.leg.leave()
    assert sent <= (await call.leg.stats()).sent <= spoken + silent


async def test_nobody_else_may_hear_the_agent(call: Call, livekit: LiveKit) -> None:
    other = Peer()
    await other.join(livekit, call.room, "eve")
    call.leg.play(1, speech(1.0))
    call.leg.end(1)
    await until_level(call.peer, over=3000)
    # Eve hears Ann, who is silent, and not the agent.
    assert other.level(1.0) < 50
    await other.leave()


async def test_a_hidden_agent_is_heard_by_nobody_who_comes(call: Call, livekit: LiveKit) -> None:
    await call.peer.leave()
    call.leg.hide()
    again = Peer()
    await again.join(livekit, call.room, "ann")
    call.leg.play(1, speech(1.0))
    call.leg.end(1)
    await asyncio.sleep(1.0)
    assert again.level(1.0) < 50
    await again.leave()


async def test_a_room_that_is_deleted_ends_the_leg(call: Call, livekit: LiveKit) -> None:
    await livekit.api.room.delete_room(api.DeleteRoomRequest(room=call.room))
    ended = await call.agent.until(Disconnected)
    assert isinstance(ended, Disconnected)
    assert ended.by_server
    assert ended.reason == "room_deleted"


async def test_leaving_takes_the_agent_out_of_the_room(call: Call, livekit: LiveKit) -> None:
    await call.leg.leave()
    await call.leg.leave()
    async with asyncio.timeout(8):
        while "agent" in call.peer.room.remote_participants:
            await asyncio.sleep(0.02)
    assert not [event for event in call.agent.events if isinstance(event, Disconnected)]


@pytest.mark.parametrize("wrong", ["token", "port"])
async def test_a_room_that_can_not_be_joined_is_an_error_in_time(
    engine: MediaEngine, livekit: LiveKit, wrong: str
) -> None:
    url = "ws://127.0.0.1:1" if wrong == "port" else livekit.url
    token = "not.a.token" if wrong == "token" else livekit.token("r", "agent")
    async with asyncio.timeout(7):
        with pytest.raises(MediaError, match="can't join"):
            await engine.join(url, token, Ear())
