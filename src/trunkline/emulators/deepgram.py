"""An emulated Deepgram: its live transcription over WebSocket, as far as Pipecat's service and Deepgram's SDK use it.

Query parameters, errors at the handshake, binary audio, KeepAlive, Finalize and CloseStream, Results and Metadata are
the vendor's. What is understood is the number in the audio (`testing/voice_code.py`), so words that were not sent are
not recognized. Left out: results without words, word timings other than evenly spread, all other features.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from trunkline.core.units import SAMPLE_RATE_HZ, samples_to_s
from trunkline.emulators.behaviour import Luck
from trunkline.emulators.connection import Outbox, accepted, handshake_fault, outbox, refusal
from trunkline.emulators.hearing import Hearing, Words
from trunkline.emulators.websocket import WebSocket

IDLE_S = 10.0
"""Without audio or KeepAlive for so long, the vendor closes."""
DEFAULT_ENDPOINTING_MS = 10
CLOSE_WAIT_S = 5.0
"""Longest wait for finals after CloseStream."""
REFUSALS = {
    401: ("INVALID_AUTH", "Invalid credentials."),
    402: ("ASR_PAYMENT_REQUIRED", "Project does not have enough credits for an ASR request."),
    429: ("TOO_MANY_REQUESTS", "Too many requests. Please try again later."),
    503: ("SERVICE_UNAVAILABLE", "Unavailable."),
}
WANTED = {"encoding": "linear16", "sample_rate": str(SAMPLE_RATE_HZ), "channels": "1"}


async def listen(request: web.Request, luck: Luck) -> web.StreamResponse:
    """Serves GET /v1/listen."""
    status = await handshake_fault(request, luck)
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if status is None and (scheme.lower() not in ("token", "bearer") or not key.strip()):
        status = 401
    if status is not None:
        code, problem = REFUSALS[status]
        return refusal(status, {"err_code": code, "err_msg": problem, "request_id": str(uuid.uuid4())})
    problems = [
        f"{name}={request.query[name]}" for name in WANTED if request.query.get(name, WANTED[name]) != WANTED[name]
    ]
    endpointing = request.query.get("endpointing", str(DEFAULT_ENDPOINTING_MS))
    if not (endpointing.isdigit() or endpointing in ("true", "false")):
        problems.append(f"endpointing={endpointing}")
    if problems:
        problem = f"not emulated: {', '.join(problems)}"
        return refusal(400, {"err_code": "Bad Request", "err_msg": problem, "request_id": str(uuid.uuid4())})
    async with accepted(request) as socket, outbox(request, socket) as box:
        await _Session(request, socket, box, luck, _endpoint_s(endpointing)).run()
    return web.Response()


def _endpoint_s(endpointing: str) -> float | None:
    """Silence that ends a sentence, in seconds; None: none does."""
    if endpointing == "false":
        return None
    return (int(endpointing) if endpointing.isdigit() else DEFAULT_ENDPOINTING_MS) / 1000


class _Session:
    """One connection after the handshake."""

    def __init__(
        self, request: web.Request, socket: WebSocket, box: Outbox, luck: Luck, endpoint_s: float | None
    ) -> None:
        self._socket = socket
        self._box = box
        self._id = str(uuid.uuid4())
        self._interim = request.query.get("interim_results", "false") == "true"
        self._hearing = Hearing(luck, self._tell, box.go_wrong, endpoint_s)
        self._finals_due = 0
        self._final_told = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._heard_at = self._loop.time()
        self._idle = self._loop.call_later(IDLE_S, self._check_idle)
        self._closing: asyncio.Task[None] | None = None

    async def run(self) -> None:
        self._socket.on_binary = self._audio
        try:
            while isinstance(text := await self._socket.receive(), str):
                self._heard_at = self._loop.time()
                if await self._control(text):
                    return
        finally:
            self._idle.cancel()
            self._hearing.close()

    def _audio(self, pcm: bytes) -> None:
        self._heard_at = self._loop.time()
        self._hearing.audio(pcm)

    def _check_idle(self) -> None:
        """One timer a connection: one for each message would cost as much as all the rest."""
        due = self._heard_at + IDLE_S
        if due > self._loop.time():
            self._idle = self._loop.call_at(due, self._check_idle)
        else:
            closing = self._socket.close(code=1011, message=b"NET-0001: no audio or text within 10 s")
            self._closing = self._loop.create_task(closing)

    async def _control(self, text: str) -> bool:
        """Handles a text message. Returns True where the connection is over."""
        try:
            kind = json.loads(text)["type"]
        except (ValueError, KeyError, TypeError):
            kind = None
        match kind:
            case "KeepAlive":
                pass
            case "Finalize":
                self._finals_due += 1
                self._hearing.finalize()
            case "CloseStream":
                await self._close()
                return True
            case _:
                await self._socket.close(code=1008, message=b"DATA-0000: unknown message")
                return True
        return False

    async def _close(self) -> None:
        self._finals_due += 1
        self._hearing.finalize()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_WAIT_S):
                while self._finals_due > 0:
                    self._final_told.clear()
                    await self._final_told.wait()
        self._box.send(
            {
                "type": "Metadata",
                "transaction_key": "deprecated",
                "request_id": self._id,
                "sha256": "",
                "created": datetime.now(UTC).isoformat(),
                "duration": samples_to_s(self._hearing.position),
                "channels": 1,
                "models": ["emulated"],
            }
        )
        await self._box.drained()
        await self._socket.close()

    def _tell(self, words: Words) -> None:
        if words.finalized:
            self._finals_due -= 1
            self._final_told.set()
        if words.final or self._interim:
            self._box.send(self._results(words))

    def _results(self, words: Words) -> dict[str, Any]:
        start, duration = samples_to_s(words.begin), samples_to_s(words.end - words.begin)
        spoken = words.text.split()
        each = duration / max(1, len(spoken))
        return {
            "type": "Results",
            "channel_index": [0, 1],
            "duration": duration,
            "start": start,
            "is_final": words.final,
            "speech_final": words.final and not words.finalized,
            "from_finalize": words.finalized,
            "channel": {
                "alternatives": [
                    {
                        "transcript": words.text,
                        "confidence": 0.99 if spoken else 0.0,
                        "words": [
                            {
                                "word": word,
                                "punctuated_word": word,
                                "start": start + index * each,
                                "end": start + (index + 1) * each,
                                "confidence": 0.99,
                            }
                            for index, word in enumerate(spoken)
                        ],
                    }
                ]
            },
            "metadata": {
                "request_id": self._id,
                "model_uuid": "emulated",
                "model_info": {"name": "emulated", "version": "trunkline", "arch": "emulated"},
            },
        }
