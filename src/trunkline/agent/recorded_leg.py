"""A leg whose agent is recorded."""

from __future__ import annotations

from trunkline.agent.recording import Recording
from trunkline.core.units import Pcm
from trunkline.media.engine import MediaLeg, MediaStats


class RecordedLeg:
    """Passes everything on; what the agent says also to a recording. See `MediaLeg` for what each method promises."""

    def __init__(self, leg: MediaLeg, recording: Recording) -> None:
        self._leg = leg
        self._recording = recording

    async def listen_to(self, identity: str) -> None:
        await self._leg.listen_to(identity)

    async def publish(self) -> None:
        await self._leg.publish()

    def hide(self) -> None:
        self._leg.hide()

    def play(self, utterance: int, samples: Pcm) -> None:
        self._recording.agent(samples)
        self._leg.play(utterance, samples)

    def end(self, utterance: int) -> None:
        self._leg.end(utterance)

    def pause(self) -> None:
        self._recording.pause()
        self._leg.pause()

    def resume(self) -> None:
        self._recording.resume()
        self._leg.resume()

    def flush(self) -> None:
        self._recording.flush()
        self._leg.flush()

    async def send_dtmf(self, digits: str) -> None:
        await self._leg.send_dtmf(digits)

    async def send_data(self, payload: bytes, topic: str = "") -> None:
        await self._leg.send_data(payload, topic)

    async def stats(self) -> MediaStats:
        return await self._leg.stats()

    async def leave(self) -> None:
        try:
            await self._leg.leave()
        finally:
            self._recording.close()
