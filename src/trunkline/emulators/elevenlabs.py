"""An emulated ElevenLabs: text to speech over its multi-context WebSocket, as Pipecat's service uses it.

Contexts are opened by their first text, flushed and closed; audio comes as base64 PCM with character alignment.
Left out: other formats than PCM at 16 kHz, voice settings.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from typing import Any

from aiohttp import web

from trunkline.core.units import SAMPLE_RATE_HZ, samples_to_s
from trunkline.emulators.behaviour import Luck
from trunkline.emulators.connection import Outbox, accepted, handshake_fault, outbox, refusal
from trunkline.emulators.speaking import Piece, Speech
from trunkline.emulators.websocket import WebSocket

IDLE_S = 20.0
"""Without a message for so long, the vendor closes."""
MAX_CONTEXTS = 5
MAX_TEXT_CHARS = 5_000
SCHEDULE_CHARS = 120
"""Without auto_mode, speech begins when so much text is there, or with a flush."""
REFUSALS = {
    400: ("invalid_request", "Not emulated: only output_format=pcm_16000."),
    401: ("invalid_api_key", "Invalid API key"),
    402: ("quota_exceeded", "This request exceeds your quota."),
    429: ("too_many_concurrent_requests", "Too many concurrent requests."),
    503: ("system_busy", "Unavailable."),
}


async def multi_stream_input(request: web.Request, luck: Luck) -> web.StreamResponse:
    """Serves GET /v1/text-to-speech/{voice}/multi-stream-input."""
    status = await handshake_fault(request, luck)
    if status is None and not request.headers.get("xi-api-key", "").strip():
        status = 401
    if status is None and request.query.get("output_format") != f"pcm_{SAMPLE_RATE_HZ}":
        status = 400
    if status is not None:
        code, problem = REFUSALS[status]
        return refusal(status, {"detail": {"status": code, "message": problem}})
    async with accepted(request) as socket, outbox(request, socket) as box:
        session = _Session(socket, box, luck, request.query.get("auto_mode") == "true")
        try:
            await session.run()
        finally:
            await session.stop()
    return web.Response()


class _Session:
    """One connection after the handshake."""

    def __init__(self, socket: WebSocket, box: Outbox, luck: Luck, auto_mode: bool) -> None:
        self._socket = socket
        self._box = box
        self._luck = luck
        self._auto_mode = auto_mode
        self._contexts: dict[str, _Context] = {}
        self._ending: dict[int, _Context] = {}

    async def run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(IDLE_S):
                    text = await self._socket.receive()
            except TimeoutError:
                await self._socket.close(code=1008, message=b"input_timeout_exceeded")
                return
            if not isinstance(text, str):
                return
            problem = self._take(text)
            if problem is not None:
                await self._box.drained()
                await self._socket.close(code=1000 if not problem else 1008, message=problem.encode())
                return

    async def stop(self) -> None:
        await asyncio.gather(*(context.stop() for context in (*self._contexts.values(), *self._ending.values())))

    def _take(self, text: str) -> str | None:
        """Handles one message. Returns why the connection ends: empty where the client asked for it."""
        try:
            message: dict[str, Any] = json.loads(text)
            if message.get("close_socket"):
                return ""
            words, name = str(message.get("text") or ""), str(message.get("context_id") or "default")
        except (ValueError, AttributeError):
            return "invalid_message"
        if len(words) > MAX_TEXT_CHARS:
            return "text_too_long"
        if name not in self._contexts:
            if not words:  # keeps the connection alive, or closes what is closed already
                return None
            if len(self._contexts) >= MAX_CONTEXTS:
                return "max_active_conversations_exceeded"
            self._contexts[name] = _Context(name, self._box, self._luck, self._ending)
        context = self._contexts[name]
        taken = context.add(words, now=self._auto_mode or bool(message.get("flush")))
        if message.get("close_context"):
            del self._contexts[name]
            taken = context.end() and taken
        return None if taken else "too_much_text"


class _Context:
    """Texts that are spoken one after another under one name."""

    def __init__(self, name: str, box: Outbox, luck: Luck, ending: dict[int, _Context]) -> None:
        self._name = name
        self._box = box
        self._buffer = ""
        self._ending = ending
        self._speech = Speech(luck, lambda piece: box.send(self._message(piece)), box.go_wrong, self._on_end)

    def add(self, text: str, now: bool) -> bool:
        """Takes text; `now`: there is nothing to wait for. Returns False where there is too much."""
        self._buffer += text
        if not self._buffer.strip() or not (now or len(self._buffer) >= SCHEDULE_CHARS):
            return True
        words, self._buffer = self._buffer, ""
        return self._speech.say(words)

    def end(self) -> bool:
        """No more text comes. Returns False where there is too much."""
        self._ending[id(self)] = self
        return self.add("", now=True) and self._speech.end()

    async def stop(self) -> None:
        await self._speech.stop()

    def _on_end(self) -> None:
        self._ending.pop(id(self), None)
        self._box.send({"isFinal": True, "contextId": self._name})

    def _message(self, piece: Piece) -> dict[str, Any]:
        text, count = piece.text, piece.samples.size
        first, last = (len(text) * edge // piece.length for edge in (piece.start, piece.start + count))
        chars = list(text[first:last]) + ([" "] if piece.last and not re.search(r"\s$", text) else [])
        each_ms = 1000 * samples_to_s(count) / max(1, len(chars))
        alignment = {
            "chars": chars,
            "charStartTimesMs": [round(index * each_ms) for index in range(len(chars))],
            "charDurationsMs": [round(each_ms)] * len(chars),
        }
        return {
            "audio": base64.b64encode(piece.samples.tobytes()).decode(),
            "contextId": self._name,
            "alignment": alignment,
            "normalizedAlignment": alignment,
        }
