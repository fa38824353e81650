"""Four kinds of listener to one agent: a phone behind livekit-sip, the Go engine, the Python SDK, and a browser.

Each tells when sounds started at its ear: microseconds of `CLOCK_MONOTONIC`, by the same rule (`loadtest/ear.py`).
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Protocol

import numpy as np
from aiohttp import web
from livekit import rtc
from playwright.async_api import BrowserContext

import trunkline.orchestrator
from tests.conftest import free_port
from trunkline.core.units import SAMPLE_RATE_HZ, Pcm, s_to_us
from trunkline.loadtest.ear import Ear
from trunkline.loadtest.phone import HeardStart, Phone, PhoneLine
from trunkline.media.engine import CallerFrame, MediaEngine, MediaEvent, MediaLeg, ParticipantJoined, ParticipantKind

COMES_WITHIN_S = 15
HERE = Path(__file__).parent
FILES = {
    "/": HERE / "receiver_page.html",
    "/receiver_ear.js": HERE / "receiver_ear.js",
    "/livekit-client.mjs": Path(trunkline.orchestrator.__file__).parent / "call_page/vendor/livekit-client.esm.mjs",
}


class Receiver(Protocol):
    """One listener in a room of its own."""

    async def enter(self) -> None:
        """Comes into the room and opens its ears."""
        ...

    async def heard_us(self) -> list[int]:
        """When each sound started, so far."""
        ...

    async def leave(self) -> None: ...


class PhoneReceiver:
    """A phone call over SIP and G.711. The bridge comes into the room for it."""

    def __init__(self, phone: Phone, uri: str, credentials: tuple[str, str]) -> None:
        self._phone = phone
        self._uri = uri
        self._credentials = credentials
        self._line: PhoneLine | None = None
        self._heard: list[int] = []

    async def enter(self) -> None:
        self._line = await self._phone.dial("receiver", self._uri, self._credentials, caller="+15550142")
        self._reading = asyncio.create_task(self._read(self._line))

    async def heard_us(self) -> list[int]:
        return self._heard

    async def leave(self) -> None:
        if self._line is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
            await self._line.hang_up()

    async def _read(self, line: PhoneLine) -> None:
        while True:
            event = await line.event()
            if isinstance(event, HeardStart):
                self._heard.append(event.at_us)


class EngineReceiver:
    """The native engine on the other side, as the load test's callers have it."""

    def __init__(self, engine: MediaEngine, url: str, token: str) -> None:
        self._engine = engine
        self._url, self._token = url, token
        self._leg: MediaLeg | None = None
        self._agent: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._ear = Ear()
        self._heard: list[int] = []

    async def enter(self) -> None:
        self._leg = await self._engine.join(self._url, self._token, self)
        async with asyncio.timeout(COMES_WITHIN_S):
            await self._leg.listen_to(await self._agent)

    async def heard_us(self) -> list[int]:
        return self._heard

    async def leave(self) -> None:
        if self._leg is not None:
            await self._leg.leave()

    def on_frame(self, frame: CallerFrame) -> None:
        self._heard += starts(self._ear, frame.samples, frame.ended_at)

    def on_event(self, event: MediaEvent) -> None:
        match event:
            case ParticipantJoined(identity, ParticipantKind.AGENT) if not self._agent.done():
                self._agent.set_result(identity)


class SdkReceiver:
    """LiveKit's Python SDK."""

    def __init__(self, url: str, token: str) -> None:
        self._url, self._token = url, token
        self._room = rtc.Room()
        self._track: rtc.Track | None = None
        self._listening: list[asyncio.Task[None]] = []
        self._ear = Ear()
        self._heard: list[int] = []
        self._room.on("track_subscribed", self._on_subscribed)

    async def enter(self) -> None:
        await self._room.connect(self._url, self._token)

    async def heard_us(self) -> list[int]:
        return self._heard

    async def packets_received(self) -> int:
        """Of the agent's track, since it is there."""
        assert self._track is not None
        stats = await self._track.get_stats()
        return sum(each.inbound_rtp.received.packets_received for each in stats if each.HasField("inbound_rtp"))

    async def leave(self) -> None:
        for task in self._listening:
            task.cancel()
        await asyncio.gather(*self._listening, return_exceptions=True)
        await self._room.disconnect()

    def _on_subscribed(self, track: rtc.Track, *_: object) -> None:
        self._track = track
        self._listening.append(asyncio.create_task(self._listen(track)))

    async def _listen(self, track: rtc.Track) -> None:
        stream = rtc.AudioStream.from_track(track=track, sample_rate=SAMPLE_RATE_HZ, num_channels=1, frame_size_ms=20)
        try:
            async for event in stream:
                samples = np.frombuffer(event.frame.data, dtype=np.int16)
                self._heard += starts(self._ear, samples, time.monotonic())
        finally:
            await stream.aclose()


class BrowserReceiver:
    """Chromium with LiveKit's JavaScript client. Its clock is the wall's; ours is that far away from it."""

    def __init__(self, browser: BrowserContext, url: str, token: str) -> None:
        self._browser = browser
        self._url, self._token = url, token
        self._site = _site()

    async def enter(self) -> None:
        await self._site.setup()
        port = free_port()
        await web.TCPSite(self._site, "127.0.0.1", port).start()
        self._page = await self._browser.new_page()
        await self._page.goto(f"http://127.0.0.1:{port}/")
        await self._page.wait_for_function("window.ready")
        await self._page.evaluate("([url, token]) => window.join(url, token)", [self._url, self._token])

    async def heard_us(self) -> list[int]:
        wall_minus_ours_s = time.time() - time.monotonic()
        return [s_to_us(ms / 1000 - wall_minus_ours_s) for ms in await self._page.evaluate("window.heard()")]

    async def leave(self) -> None:
        await self._page.close()
        await self._site.cleanup()


def _site() -> web.AppRunner:
    """The page, on an origin of its own."""
    app = web.Application()
    app.router.add_get("/{name:.*}", _serve)
    return web.AppRunner(app)


async def _serve(request: web.Request) -> web.StreamResponse:
    file = FILES.get(request.path)
    return web.FileResponse(file) if file is not None else web.Response(status=404)


def starts(ear: Ear, samples: Pcm, ended_at: float) -> list[int]:
    """When sounds started in what was heard just now."""
    return [event.at_us for event in ear.listen(samples, s_to_us(ended_at)) if isinstance(event, HeardStart)]
