"""Text to speech by the service behind Microsoft Edge's "read aloud", without a key: Pipecat's side of edge-tts.

An optional extra (`trunkline[edge]`): edge-tts is under the LGPL, and the service has no terms for telephone agents.
In: text, sentence by sentence. Out: audio at 16 kHz as it is decoded. The service takes one text a connection, so
that of the next sentence is opened ahead (TCP and TLS; what is left is one message to the service and back).
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import aiohttp
import edge_tts
import miniaudio
from edge_tts import communicate
from pipecat.frames.frames import ErrorFrame, Frame, TTSAudioRawFrame
from pipecat.processors.frame_processor import FrameProcessorSetup
from pipecat.services.settings import TTSSettings
from pipecat.services.tts_service import TTSService
from pipecat.transcriptions.language import Language
from yarl import URL

from trunkline.core.units import SAMPLE_RATE_HZ

DEFAULT_VOICE = "en-US-EmmaMultilingualNeural"
PIECE_SAMPLES = 1920
"""120 ms: what is decoded at once."""
SILENT_S = 5
"""Longest wait for a connection, and for the next message on it."""
KEPT_S = 60.0
"""A connection that is not used for so long is closed by us."""
FRESHEN_S = 20.0
"""So often one that waits is used for a question of no matter, which keeps it open, or finds it closed."""


@dataclass
class EdgeTTSSettings(TTSSettings):
    """Pipecat's record of what this service was set to."""


class EdgeTTSService(TTSService):
    """Speaks to one caller.

    Args:
        voice: Microsoft's name of a voice, such as en-GB-RyanNeural; empty: the default.
    """

    Settings = EdgeTTSSettings

    def __init__(self, voice: str = "", **kwargs: Any) -> None:
        super().__init__(
            sample_rate=SAMPLE_RATE_HZ,
            push_start_frame=True,
            push_stop_frames=True,
            settings=EdgeTTSSettings(model="edge", voice=voice or DEFAULT_VOICE, language=Language.EN_US),
            **kwargs,
        )
        self._voice = voice or DEFAULT_VOICE
        self._ahead: _OpenedAhead | None = None

    async def setup(self, setup: FrameProcessorSetup) -> None:  # type: ignore[override]
        """Opens the first sentence's connection; does not wait for it."""
        await super().setup(setup)
        self._ahead = _OpenedAhead()

    async def cleanup(self) -> None:
        """Closes what was opened ahead."""
        await super().cleanup()  # type: ignore[no-untyped-call]
        if self._ahead is not None:
            ahead, self._ahead = self._ahead, None
            await ahead.close()

    def can_generate_metrics(self) -> bool:
        """True: Pipecat measures the time to the first audio."""
        return True

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame | None, None]:
        """Speaks a piece of text. Interrupted, what was not yielded is lost.

        Args:
            text: Words for people.
            context_id: Pipecat's name of this answer.
        """
        await self.start_tts_usage_metrics(text)
        mp3 = _Mp3()
        fetching = asyncio.get_running_loop().create_task(self._fetch(text, mp3))
        try:
            # In a thread from the beginning: the decoder waits for sound.
            pieces = await asyncio.to_thread(_decode, mp3)
            while piece := await asyncio.to_thread(next, pieces, None):
                yield TTSAudioRawFrame(piece.tobytes(), SAMPLE_RATE_HZ, 1, context_id=context_id)
            await fetching
        except (edge_tts.exceptions.EdgeTTSException, aiohttp.ClientError, TimeoutError, ValueError) as error:
            yield ErrorFrame(error=f"edge: {error!r}", exception=error)
        except miniaudio.DecodeError as error:
            # No sound: the reason is the connection's, if that has one.
            cause = await _failure(fetching) or error
            yield ErrorFrame(error=f"edge: {cause!r}", exception=cause)
        finally:
            fetching.cancel()
            mp3.end()

    async def on_turn_context_completed(self) -> None:
        """Closes the answer's audio as soon as `run_tts` is done, also where it failed and gave none."""
        self._is_yielding_frames_synchronously = True
        await super().on_turn_context_completed()  # type: ignore[no-untyped-call]

    async def _fetch(self, text: str, mp3: _Mp3) -> None:
        try:
            speech = edge_tts.Communicate(
                text,
                self._voice,
                connector=self._ahead.connector if self._ahead is not None else None,
                connect_timeout=SILENT_S,
                receive_timeout=SILENT_S,
            )
            async for message in speech.stream():
                if message["type"] == "audio":
                    mp3.put(message["data"])
                    if self._ahead is not None:
                        self._ahead.used()
        finally:
            mp3.end()


class _OpenedAhead:
    """Keeps one connection to the service open that nobody uses yet.

    Attributes:
        connector: Has it; for `edge_tts.Communicate`.
    """

    def __init__(self) -> None:
        self.connector = _SharedConnector(keepalive_timeout=KEPT_S)
        self._session = aiohttp.ClientSession(
            connector=self.connector, connector_owner=False, trust_env=True, timeout=aiohttp.ClientTimeout(SILENT_S)
        )
        self._was_used = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._keep())

    def used(self) -> None:
        """A sentence has the connection: another one is wanted."""
        self._was_used.set()

    async def close(self) -> None:
        """Closes it."""
        self._task.cancel()
        await asyncio.wait({self._task}, timeout=1.0)
        await self._session.close()
        await self.connector.close_all()

    async def _keep(self) -> None:
        # What is asked does not matter: a connection is open after the answer, and kept.
        service = URL(communicate.WSS_URL)  # type: ignore[attr-defined]
        origin = service.with_scheme("https" if service.scheme == "wss" else "http").origin()
        while True:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
                async with self._session.get(origin, ssl=communicate._SSL_CTX, allow_redirects=False) as answer:
                    await answer.read()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._was_used.wait(), FRESHEN_S)
            self._was_used.clear()


class _SharedConnector(aiohttp.TCPConnector):
    """Outlives the sessions that use it: edge-tts makes one for each text, and closes all that it has."""

    def close(self, *, abort_ssl: bool = False) -> Any:
        """Closes nothing."""
        return _nothing()

    async def close_all(self) -> None:
        """Closes what is open."""
        await super().close()


async def _nothing() -> None:
    """Does it."""


class _Mp3(miniaudio.StreamableSource):  # type: ignore[misc]
    """Compressed audio on its way from the loop to the decoder's thread, which waits for it."""

    def __init__(self) -> None:
        # Bounded by the length of a sentence: the service is asked for one at a time.
        self._pieces: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._rest = b""
        self._ended = False

    def put(self, piece: bytes) -> None:
        self._pieces.put(piece)

    def end(self) -> None:
        self._pieces.put(None)

    def read(self, num_bytes: int) -> bytes:
        while not self._rest and not self._ended:
            piece = self._pieces.get()
            self._rest, self._ended = piece or b"", piece is None
        taken, self._rest = self._rest[:num_bytes], self._rest[num_bytes:]
        return taken


def _decode(mp3: _Mp3) -> Any:
    """Pieces of PCM as they are decoded. Raises DecodeError where no sound comes."""
    return miniaudio.stream_any(
        mp3, miniaudio.FileFormat.MP3, nchannels=1, sample_rate=SAMPLE_RATE_HZ, frames_to_read=PIECE_SAMPLES
    )


async def _failure(fetching: asyncio.Task[None]) -> Exception | None:
    await asyncio.wait({fetching}, timeout=SILENT_S)
    error = fetching.exception() if fetching.done() and not fetching.cancelled() else None
    return error if isinstance(error, Exception) else None
