"""What LiveKit lets the holder of our room tokens do: speak, and show nothing."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from livekit import rtc

from tests.sfu import KEY, SECRET, LiveKit, serve_livekit
from trunkline.core.units import SAMPLE_RATE_HZ
from trunkline.orchestrator.tokens import mint_room_token
from trunkline.settings import Settings

pytestmark = [pytest.mark.contract, pytest.mark.timeout(60), pytest.mark.asyncio(loop_scope="module")]

SETTINGS = Settings(_env_file=None, livekit_api_key=KEY, livekit_api_secret=SECRET)  # type: ignore[call-arg, arg-type]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def livekit(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LiveKit]:
    async for server in serve_livekit(tmp_path_factory.mktemp("livekit")):
        yield server


async def test_a_caller_speaks_but_shows_no_picture(livekit: LiveKit) -> None:
    name = f"room-{uuid.uuid4().hex[:8]}"
    witness, caller = rtc.Room(), rtc.Room()
    seen: list[int] = []
    heard = asyncio.Event()

    def on_published(publication: rtc.RemoteTrackPublication, *_: object) -> None:
        seen.append(publication.source)
        if publication.source == rtc.TrackSource.SOURCE_MICROPHONE:
            heard.set()

    witness.on("track_published", on_published)
    await witness.connect(livekit.url, livekit.token(name, "witness"))
    await caller.connect(livekit.url, mint_room_token(SETTINGS, name, "caller-1", agent=False))
    try:
        picture = rtc.LocalVideoTrack.create_video_track("camera", rtc.VideoSource(320, 240))
        camera = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_CAMERA)
        # The server turns it down; how the client tells (an error, or none until a time-out) is the client's matter.
        refused = asyncio.ensure_future(caller.local_participant.publish_track(picture, camera))
        await asyncio.wait([refused], timeout=2)
        voice = rtc.LocalAudioTrack.create_audio_track("mic", rtc.AudioSource(SAMPLE_RATE_HZ, 1))
        microphone = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
        await asyncio.wait_for(caller.local_participant.publish_track(voice, microphone), 10)
        await asyncio.wait_for(heard.wait(), 10)
        assert seen == [rtc.TrackSource.SOURCE_MICROPHONE]
        if refused.done():
            assert refused.exception() is not None
        refused.cancel()
    finally:
        await caller.disconnect()
        await witness.disconnect()
