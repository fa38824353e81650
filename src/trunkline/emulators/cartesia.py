"""An emulated Cartesia: text to speech over its WebSocket, as Pipecat's service uses it.

Many contexts share a connection; a context takes transcripts while `continue` is true, and can be cancelled. Out come
`chunk` (base64 PCM), `timestamps` of whole words in seconds from the context's beginning, `flush_done` after each
transcript, `done`, and `error`. Left out: other formats than raw PCM at 16 kHz, server-side buffering, emotions.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from typing import Any

from aiohttp import web

from trunkline.core.units import SAMPLE_RATE_HZ, samples_to_s
from trunkline.emulators.behaviour import Luck
from trunkline.emulators.connection import Outbox, accepted, handshake_fault, outbox, refusal
from trunkline.emulators.speaking import Piece, Speech
from trunkline.emulators.websocket import WebSocket

IDLE_S = 300.0
"""Without a message for so long, the vendor closes."""
MAX_CONTEXTS = 32
MAX_TEXT_CHARS = 5_000
FORMAT = {"container": "raw", "encoding": "pcm_s16le", "sample_rate": SAMPLE_RATE_HZ}
REFUSALS = {
    400: ("version_required", "Missing Cartesia-Version header."),
    401: ("unauthorized", "Invalid API key."),
    402: ("quota_exceeded", "The account has no credits left."),
    429: ("concurrency_limited", "Too many concurrent requests."),
    503: ("unavailable", "Unavailable."),
}


async def tts_websocket(request: web.Request, luck: Luck) -> web.StreamResponse:
    """Serves GET /tts/websocket."""
    status = await handshake_fault(request, luck)
    if status is None and not (request.headers.get("X-API-Key") or request.query.get("api_key")):
        status = 401
    if status is None and not (request.headers.get("Cartesia-Version") or request.query.get("cartesia_version")):
        status = 400
    if status is not None:
        code, problem = REFUSALS[status]
        return refusal(status, {"error_code": code, "title": code.replace("_", " "), "message": problem})
    async with accepted(request) as socket, outbox(request, socket) as box:
        session = _Session(socket, box, luck)
        try:
            await session.run()
        finally:
            await session.stop()
    return web.Response()


class _Session:
    """One connection after the handshake."""

    def __init__(self, socket: WebSocket, box: Outbox, luck: Luck) -> None:
        self._socket = socket
        self._box = box
        self._luck = luck
        self._contexts: dict[str, _Context] = {}
        self._stopping: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(IDLE_S):
                    text = await self._socket.receive()
            except TimeoutError:
                await self._socket.close(code=1000, message=b"idle")
                return
            if not isinstance(text, str):
                return
            self._take(text)

    async def stop(self) -> None:
        await asyncio.gather(*self._stopping, *(context.stop() for context in self._contexts.values()))

    def _take(self, text: str) -> None:
        try:
            message: dict[str, Any] = json.loads(text)
            name = str(message.get("context_id") or "")
            words, goes_on = str(message.get("transcript") or ""), bool(message.get("continue"))
        except (ValueError, AttributeError):
            return self._refuse("", "invalid_request", "The message is not valid JSON.")
        if message.get("cancel"):
            context = self._contexts.pop(name, None)
            if context is not None:
                task = asyncio.get_running_loop().create_task(context.stop())
                self._stopping.add(task)
                task.add_done_callback(self._stopping.discard)
            return None
        problem = self._problem(message, words)
        if problem:
            return self._refuse(name, "invalid_request", problem)
        if name not in self._contexts:
            if not words.strip():
                return None
            if len(self._contexts) >= MAX_CONTEXTS:
                return self._refuse(name, "concurrency_limited", "Too many contexts.")
            self._contexts[name] = _Context(name, self._box, self._luck, lambda: self._contexts.pop(name, None))
        context = self._contexts[name]
        taken = context.say(words) if words.strip() else True
        if not goes_on:
            taken = context.end() and taken
        return None if taken else self._refuse(name, "invalid_request", "Too much text is waiting.")

    @staticmethod
    def _problem(message: dict[str, Any], words: str) -> str:
        if message.get("output_format") != FORMAT:
            return f"Not emulated: an output_format other than {json.dumps(FORMAT)}."
        if not message.get("model_id") or not (message.get("voice") or {}).get("id"):
            return "model_id and voice are required."
        return "The transcript is too long." if len(words) > MAX_TEXT_CHARS else ""

    def _refuse(self, name: str, code: str, problem: str) -> None:
        self._box.send(
            {
                "type": "error",
                "done": True,
                "title": code.replace("_", " "),
                "message": problem,
                "error_code": code,
                "status_code": 400,
                "context_id": name,
            }
        )


class _Context:
    """Transcripts that are spoken one after another under one name."""

    def __init__(self, name: str, box: Outbox, luck: Luck, on_end: Callable[[], object]) -> None:
        self._name = name
        self._box = box
        self._on_end = on_end
        self._flushes = 0
        self._ended = False
        self._speech = Speech(luck, self._tell, box.go_wrong, self._done)

    def say(self, text: str) -> bool:
        return not self._ended and self._speech.say(text)

    def end(self) -> bool:
        if self._ended:
            return True
        self._ended = True
        return self._speech.end()

    async def stop(self) -> None:
        await self._speech.stop()

    def _done(self) -> None:
        self._on_end()
        self._send("done", done=True)

    def _tell(self, piece: Piece) -> None:
        self._send("chunk", data=base64.b64encode(piece.samples.tobytes()).decode(), step_time=10)
        words = _words_of(piece)
        if words:
            spoken, starts, ends = zip(*words, strict=True)
            self._send("timestamps", word_timestamps={"words": spoken, "start": starts, "end": ends})
        if piece.last:
            self._flushes += 1
            self._send("flush_done", flush_done=True, flush_id=self._flushes)

    def _send(self, kind: str, **fields: Any) -> None:
        self._box.send({"type": kind, "done": False, "status_code": 206, "context_id": self._name} | fields)


def _words_of(piece: Piece) -> list[tuple[str, float, float]]:
    """Words that begin in this piece, each with its start and end in seconds."""
    begun = []
    at = 0
    for word in piece.text.split():
        first, last = ((at + offset) * piece.length // max(1, len(piece.text)) for offset in (0, len(word)))
        if piece.start <= first < piece.start + piece.samples.size:
            begun.append((word, samples_to_s(piece.before + first), samples_to_s(piece.before + last)))
        at += len(word) + 1
    return begun
