"""An emulated ElevenLabs: text to speech over its multi-context WebSocket, as Pipecat's service uses it.

Contexts are opened by their first text, flushed and closed; audio comes as base64 PCM with character alignment, the
first a set time after the text, the rest faster than it is spoken. The speech carries the number in the text (or one
made from the words) as `testing/voice_code.py` writes it. Left out: other formats than PCM at 16 kHz, voice settings.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from typing import Any

from aiohttp import WSMsgType, web

from trunkline.core.units import SAMPLE_RATE_HZ, Pcm, s_to_samples, samples_to_s
from trunkline.emulators.bed import bed
from trunkline.emulators.behaviour import Fault, Luck
from trunkline.emulators.connection import (
    GARBAGE,
    LABEL,
    MAX_MESSAGE_BYTES,
    Outbox,
    handshake_fault,
    outbox,
    refusal,
)
from trunkline.testing.sentences import number_for, number_in

IDLE_S = 20.0
"""Without a message for so long, the vendor closes."""
MAX_CONTEXTS = 5
MAX_SENTENCES = 64
"""Texts of one context that may wait to be spoken."""
MAX_TEXT_CHARS = 5_000
SCHEDULE_CHARS = 120
"""Without auto_mode, speech begins when so much text is there, or with a flush."""
FIRST_CHUNK_S = 0.1
CHUNK_S = 0.25
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
    socket = web.WebSocketResponse(max_msg_size=MAX_MESSAGE_BYTES, compress=False, timeout=1.0)
    socket.headers.update(LABEL)
    await socket.prepare(request)
    async with outbox(request, socket) as box:
        session = _Session(socket, box, luck, request.query.get("auto_mode") == "true")
        try:
            await session.run()
        finally:
            await session.stop()
    return socket


class _Session:
    """One connection after the handshake."""

    def __init__(self, socket: web.WebSocketResponse, box: Outbox, luck: Luck, auto_mode: bool) -> None:
        self._socket = socket
        self._box = box
        self._luck = luck
        self._auto_mode = auto_mode
        self._contexts: dict[str, _Context] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        while True:
            try:
                message = await self._socket.receive(timeout=IDLE_S)
            except TimeoutError:
                await self._socket.close(code=1008, message=b"input_timeout_exceeded")
                return
            if message.type is not WSMsgType.TEXT:
                return
            problem = self._take(message.data)
            if problem is not None:
                await self._box.drained()
                await self._socket.close(code=1000 if not problem else 1008, message=problem.encode())
                return

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1.0)

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
            self._open(name)
        context = self._contexts[name]
        full = context.add(words, now=self._auto_mode or bool(message.get("flush")))
        if message.get("close_context"):
            del self._contexts[name]
            full = context.end() or full
        return "too_much_text" if full else None

    def _open(self, name: str) -> None:
        context = self._contexts[name] = _Context(name, self._box, self._luck)
        task = asyncio.get_running_loop().create_task(context.speak())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Context:
    """Texts that are spoken one after another under one name."""

    def __init__(self, name: str, box: Outbox, luck: Luck) -> None:
        self._name = name
        self._box = box
        self._luck = luck
        self._buffer = ""
        self._number: int | None = None
        self._loop = asyncio.get_running_loop()
        self._waiting: asyncio.Queue[tuple[str, float] | None] = asyncio.Queue(MAX_SENTENCES)

    def add(self, text: str, now: bool) -> bool:
        """Takes text; `now`: there is nothing to wait for. Returns True where there is too much."""
        self._buffer += text
        if not self._buffer.strip() or not (now or len(self._buffer) >= SCHEDULE_CHARS):
            return False
        words, self._buffer = " ".join(self._buffer.split()), ""
        return self._put((words, self._loop.time()))

    def end(self) -> bool:
        """No more text comes. Returns True where there is too much."""
        return self.add("", now=True) or self._put(None)

    def _put(self, item: tuple[str, float] | None) -> bool:
        if self._waiting.full():
            return True
        self._waiting.put_nowait(item)
        return False

    async def speak(self) -> None:
        """Speaks until the context ends."""
        fault = None
        while (item := await self._waiting.get()) is not None:
            text, came_at = item
            fault = self._luck.sentence_fault()
            await self._say(text, came_at, fault)
        if fault is Fault.LATE_FINALS:
            await asyncio.sleep(self._luck.behaviour.late_final_s)
        self._box.send({"isFinal": True, "contextId": self._name})

    async def _say(self, text: str, came_at: float, fault: Fault | None) -> None:
        behaviour = self._luck.behaviour
        # The parts of an answer belong together, whichever of them has the number.
        if self._number is None or number_in(text) is not None:
            self._number = number_for(text)
        samples = bed(len(text) * behaviour.tts_s_per_char).encode(self._number)
        due = came_at + behaviour.tts_first.draw(self._luck.rng)
        start, length = 0, s_to_samples(FIRST_CHUNK_S)
        while start < samples.size:
            await asyncio.sleep(max(0.0, due - self._loop.time()))
            chunk = samples[start : start + length]
            self._box.send(self._message(text, samples, start, chunk))
            if start == 0 and fault is not None:
                self._go_wrong(fault)
            start += chunk.size
            due += samples_to_s(chunk.size) / behaviour.tts_speed
            length = s_to_samples(CHUNK_S)

    def _go_wrong(self, fault: Fault) -> None:
        if fault is Fault.STALL:
            self._box.stall()
        elif fault is Fault.GARBAGE:
            self._box.send_text(GARBAGE)
        elif fault is Fault.CUT:
            self._box.cut()

    def _message(self, text: str, samples: Pcm, start: int, chunk: Pcm) -> dict[str, Any]:
        first, last = (len(text) * edge // samples.size for edge in (start, start + chunk.size))
        chars = list(text[first:last]) + ([" "] if last == len(text) and not re.search(r"\s$", text) else [])
        each_ms = 1000 * samples_to_s(chunk.size) / max(1, len(chars))
        alignment = {
            "chars": chars,
            "charStartTimesMs": [round(index * each_ms) for index in range(len(chars))],
            "charDurationsMs": [round(each_ms)] * len(chars),
        }
        return {
            "audio": base64.b64encode(chunk.tobytes()).decode(),
            "contextId": self._name,
            "alignment": alignment,
            "normalizedAlignment": alignment,
        }
