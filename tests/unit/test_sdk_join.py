"""The sdk engine's way into a room: a connect that takes too long is given up, but never cancelled."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import pytest

from trunkline.core.errors import MediaError
from trunkline.media import sdk
from trunkline.media.engine import CallerFrame, MediaEvent
from trunkline.media.sdk import SdkEngine


class SlowRoom:
    """A room whose connect ends when it is let, and notes if it was cancelled."""

    made: ClassVar[list[SlowRoom]] = []

    def __init__(self) -> None:
        self.let_in = asyncio.Event()
        self.cancelled = self.disconnected = False
        self.remote_participants: dict[str, Any] = {}
        self.name = "room-x"
        SlowRoom.made.append(self)

    def on(self, _event: str, _callback: Any) -> None:
        """Takes a handler."""

    async def connect(self, _url: str, _token: str, _options: Any) -> None:
        try:
            await self.let_in.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise

    async def disconnect(self) -> None:
        self.disconnected = True


class Nobody:
    """Listens to nothing."""

    def on_frame(self, frame: CallerFrame) -> None: ...

    def on_event(self, event: MediaEvent) -> None: ...


@pytest.fixture(autouse=True)
def slow_room(monkeypatch: pytest.MonkeyPatch) -> None:
    SlowRoom.made.clear()
    monkeypatch.setattr(sdk.rtc, "Room", SlowRoom)
    monkeypatch.setattr(sdk, "JOIN_TIMEOUT_S", 0.05)


async def test_a_late_connect_is_left_when_it_has_ended() -> None:
    engine = SdkEngine()
    with pytest.raises(MediaError, match="can't join the room"):
        await engine.join("ws://x", "t", Nobody())
    [room] = SlowRoom.made
    assert not room.disconnected
    room.let_in.set()
    await asyncio.sleep(0.05)
    assert (room.cancelled, room.disconnected) == (False, True)
    await engine.close()


async def test_a_join_that_the_session_gives_up_is_left_too() -> None:
    engine = SdkEngine()
    joining = asyncio.create_task(engine.join("ws://x", "t", Nobody()))
    await asyncio.sleep(0.01)
    joining.cancel()
    with pytest.raises(asyncio.CancelledError):
        await joining
    [room] = SlowRoom.made
    room.let_in.set()
    await asyncio.sleep(0.05)
    assert (room.cancelled, room.disconnected) == (False, True)
    await engine.close()


async def test_closing_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sdk, "LEAVE_TIMEOUT_S", 0.02)
    engine = SdkEngine()
    with pytest.raises(MediaError):
        await engine.join("ws://x", "t", Nobody())
    async with asyncio.timeout(2):
        await engine.close()
    SlowRoom.made[0].let_in.set()
    await asyncio.sleep(0.01)
