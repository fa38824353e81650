"""A real livekit-server of its own for a test module, tokens for it, and somebody to talk to."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
import subprocess
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest
from livekit import api, rtc

from tests.conftest import free_port
from trunkline.core.units import FRAME_S, FRAME_SAMPLES, SAMPLE_RATE_HZ, Pcm
from trunkline.stack.binaries import LIVEKIT_SERVER, find

KEY, SECRET = "testkey", "a-secret-of-more-than-thirty-two-characters"
_HALF = FRAME_SAMPLES // 2


@dataclass(frozen=True)
class LiveKit:
    """A running server."""

    url: str
    api: api.LiveKitAPI
    pid: int

    def token(self, room: str, identity: str, agent: bool = False) -> str:
        return access_token(KEY, SECRET, room, identity, agent)


def access_token(key: str, secret: str, room: str, identity: str, agent: bool = False) -> str:
    """LiveKit's token for one participant of one room."""
    grants = api.VideoGrants(room_join=True, room=room, agent=agent)
    token = api.AccessToken(key, secret).with_identity(identity).with_grants(grants)
    return (token.with_kind("agent") if agent else token).with_ttl(datetime.timedelta(minutes=5)).to_jwt()


async def serve_livekit(folder: Path) -> AsyncIterator[LiveKit]:
    """Runs a server until the caller is done; skips the test where there is none, unless servers are required."""
    program = await find(LIVEKIT_SERVER, os.environ, lambda *_: None)
    if program is None:
        if os.environ.get("TRUNKLINE_REQUIRE_SERVERS") == "1":
            pytest.fail("livekit-server is missing; make servers")
        pytest.skip("livekit-server is missing")
    port, udp = free_port(), free_port()
    config = folder / "livekit.yaml"
    config.write_text(
        f"port: {port}\nbind_addresses: [127.0.0.1]\nkeys: {{{KEY}: {SECRET}}}\nlogging: {{level: error}}\n"
        f"rtc: {{tcp_port: {free_port()}, udp_port: {udp}, use_external_ip: false, node_ip: 127.0.0.1, "
        "enable_loopback_candidate: true, interfaces: {includes: [lo]}}\n"
    )
    with subprocess.Popen(
        [str(program), "--config", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as p:
        try:
            await _until_up(f"http://127.0.0.1:{port}/")
            livekit = api.LiveKitAPI(f"http://127.0.0.1:{port}", KEY, SECRET)
            try:
                yield LiveKit(f"ws://127.0.0.1:{port}", livekit, p.pid)
            finally:
                await livekit.aclose()
        finally:
            p.kill()


async def _until_up(url: str) -> None:
    deadline = time.monotonic() + 20
    async with httpx.AsyncClient(trust_env=False) as http:
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.HTTPError):
                if (await http.get(url)).status_code == 200:
                    return
            await asyncio.sleep(0.05)
    raise RuntimeError("livekit-server did not start")


class Peer:
    """A participant on the Python SDK that speaks a tone when told to, and keeps what it hears."""

    def __init__(self) -> None:
        self.room = rtc.Room()
        self.heard: list[Pcm] = []
        self.hears = asyncio.Event()
        self.loud = False
        self._tasks: list[asyncio.Task[None]] = []
        self.room.on("track_subscribed", self._on_subscribed)

    async def join(self, livekit: LiveKit, room: str, identity: str = "ann") -> None:
        await self.room.connect(livekit.url, livekit.token(room, identity))
        source = rtc.AudioSource(SAMPLE_RATE_HZ, 1, queue_size_ms=0)
        track = rtc.LocalAudioTrack.create_audio_track("mic", source)
        await self.room.local_participant.publish_track(
            track, rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
        )
        self._tasks.append(asyncio.create_task(self._speak(source)))

    async def leave(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.room.disconnect()

    def level(self, seconds: float) -> float:
        """Root mean square of what was heard lately."""
        frames = self.heard[-round(seconds / FRAME_S) :]
        return float(np.sqrt(np.mean(np.concatenate(frames).astype(float) ** 2))) if frames else 0.0

    def _on_subscribed(self, track: rtc.Track, *_: object) -> None:
        self._tasks.append(asyncio.create_task(self._listen(track)))

    async def _listen(self, track: rtc.Track) -> None:
        self.hears.set()
        stream = rtc.AudioStream.from_track(track=track, sample_rate=SAMPLE_RATE_HZ, num_channels=1, frame_size_ms=20)
        try:
            async for event in stream:
                self.heard.append(np.frombuffer(event.frame.data, dtype=np.int16))
        finally:
            await stream.aclose()

    async def _speak(self, source: rtc.AudioSource) -> None:
        tone = (8000 * np.sin(2 * np.pi * 400 * np.arange(_HALF) / SAMPLE_RATE_HZ)).astype(np.int16)
        silence = np.zeros(_HALF, dtype=np.int16)
        due = time.monotonic()
        while True:
            frame = rtc.AudioFrame((tone if self.loud else silence).tobytes(), SAMPLE_RATE_HZ, 1, _HALF)
            await source.capture_frame(frame)
            due += FRAME_S / 2
            await asyncio.sleep(max(0.0, due - time.monotonic()))
