"""A session's place at a media engine: keeps what it is told."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from trunkline.media.engine import CallerFrame, MediaEvent


@dataclass
class Listener:
    """Keeps what it is told."""

    frames: list[CallerFrame] = field(default_factory=list)
    events: list[MediaEvent] = field(default_factory=list)

    def on_frame(self, frame: CallerFrame) -> None:
        self.frames.append(frame)

    def on_event(self, event: MediaEvent) -> None:
        self.events.append(event)

    async def until(self, kind: type, limit_s: float = 10) -> MediaEvent:
        """The last event of this kind, once there is one. Raises TimeoutError."""
        async with asyncio.timeout(limit_s):
            while not (found := [event for event in self.events if isinstance(event, kind)]):
                await asyncio.sleep(0.01)
        return found[-1]

    def has(self, kind: type) -> bool:
        return any(isinstance(event, kind) for event in self.events)

    def kinds(self) -> list[str]:
        return [type(event).__name__ for event in self.events]
