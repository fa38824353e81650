"""One Pipecat service inside a stage that has several: set up, fed, heard and ended on its own.

The stage decides which of its services gets a frame; what a service pushes comes to the stage, not to the next
processor, and its errors stay here. A service that hangs in its set-up or its end holds up nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from pipecat.frames.frames import CancelFrame, EndFrame, ErrorFrame, Frame, InputAudioRawFrame, StartFrame
from pipecat.processors.frame_processor import FrameDirection, FrameProcessorSetup
from pipecat.services.stt_service import STTService

from trunkline.media.stage import Stage

log = structlog.get_logger()

END_TIMEOUT_S = 0.8
"""Less than the pipeline gives its CancelFrame for all stages."""
CLEANUP_TIMEOUT_S = 2.0


class ServiceSlot:
    """Holds one service.

    Args:
        service: Pipecat's service.
        connected: Whether it has a connection now.
        on_frame: Takes what it pushes downstream.
        on_failure: Takes its errors and lost connections, in one line.
    """

    def __init__(
        self,
        service: Any,
        connected: Callable[[Any], bool],
        on_frame: Callable[[Frame], Awaitable[None]],
        on_failure: Callable[[str], Awaitable[None]],
    ) -> None:
        self.service = service
        self._connected = connected
        self._on_frame = on_frame
        self._on_failure = on_failure
        self._opening: asyncio.Task[None] | None = None
        self._up = False
        self._ending = False
        self._hears_directly = isinstance(service, STTService) and service._enable_direct_mode
        before, after = _Port(self._from_service), _Port(self._from_service)
        before.link(service)
        service.link(after)
        if "on_disconnected" in service._event_handlers:
            service.add_event_handler("on_disconnected", self._on_disconnected)

    @property
    def ready(self) -> bool:
        """It is set up, usable and connected."""
        return self._up and not self._ending and self.service.is_usable and self._connected(self.service)

    def open(self, setup: FrameProcessorSetup) -> asyncio.Task[None]:
        """Begins to set it up, connecting included. The task never raises."""
        self._opening = asyncio.get_running_loop().create_task(self._open(setup))
        return self._opening

    async def feed(self, frame: Frame) -> None:
        """Gives it a frame, if it is set up."""
        if not self._up:
            return
        if self._hears_directly and isinstance(frame, InputAudioRawFrame):
            # Where queueing it would do no more than this, five calls later.
            try:
                await self.service.process_audio_frame(frame, FrameDirection.DOWNSTREAM)
            except Exception as error:  # noqa: BLE001 (somebody else's service: the call may have another)
                await self._on_failure(repr(error))
        else:
            await self.service.queue_frame(frame)

    async def end(self, frame: EndFrame | CancelFrame) -> None:
        """Has it say good-bye, for a limited time."""
        self._ending = True
        if self._up:
            await _within(END_TIMEOUT_S, self.service.queue_frame(frame))

    async def cleanup(self) -> None:
        """Releases what it holds."""
        self._ending = True
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait({self._opening}, timeout=CLEANUP_TIMEOUT_S)
            await _within(CLEANUP_TIMEOUT_S, self.service.cleanup())

    async def _open(self, setup: FrameProcessorSetup) -> None:
        try:
            await self.service.setup(setup)
        except Exception as error:  # noqa: BLE001 (somebody else's service: the call may have another)
            await self._on_failure(repr(error))
            return
        self._up = True
        await self.service.queue_frame(
            StartFrame(
                audio_in_sample_rate=setup.audio_in_sample_rate, audio_out_sample_rate=setup.audio_out_sample_rate
            )
        )

    async def _from_service(self, frame: Frame, direction: FrameDirection) -> None:
        if isinstance(frame, ErrorFrame):
            if not self._ending:
                await self._on_failure(str(frame.error))
        elif direction is FrameDirection.DOWNSTREAM and not isinstance(frame, (StartFrame, EndFrame, CancelFrame)):
            await self._on_frame(frame)

    async def _on_disconnected(self, _service: Any) -> None:
        if self._up and not self._ending:
            await self._on_failure("the connection was lost")


class _Port(Stage):
    """Stands where a neighbour would, and hands everything to the stage at once."""

    def __init__(self, take: Callable[[Frame, FrameDirection], Awaitable[None]]) -> None:
        super().__init__()
        self._take = take

    async def queue_frame(
        self, frame: Frame, direction: FrameDirection = FrameDirection.DOWNSTREAM, callback: Any = None
    ) -> None:
        """Does not queue."""
        await self._take(frame, direction)


async def _within(limit_s: float, work: Any) -> None:
    """Waits for somebody else's work, but not for long; what it raises is logged."""
    task = asyncio.ensure_future(work)
    await asyncio.wait({task}, timeout=limit_s)
    if not task.done():
        task.cancel()
    elif not task.cancelled() and (error := task.exception()) is not None:
        log.warning("service_end_failed", error=repr(error))
