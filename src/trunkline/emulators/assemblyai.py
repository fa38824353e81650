"""An emulated AssemblyAI: its streaming API (v3) over WebSocket, as Pipecat's service uses it.

Query parameters, Begin, Turn, Error and Termination, ForceEndpoint, UpdateConfiguration and Terminate are the vendor's,
and so is that a wrong key is told on an open socket, that audio comes in pieces of 50 to 1,000 ms, and not faster than
it is spoken. What is understood is the number in the audio. Turns come formatted, as those of the Universal-3 models.
Left out: other encodings than PCM at 16 kHz, SpeechStarted, languages, speakers.

Sources: assemblyai.com/docs/streaming/common-session-errors-and-closures, assemblyai.com/docs/api-reference/streaming.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from typing import Any

from aiohttp import web

from trunkline.core.units import SAMPLE_RATE_HZ, samples_to_s
from trunkline.emulators.behaviour import Luck
from trunkline.emulators.connection import Outbox, accepted, handshake_fault, outbox, refusal
from trunkline.emulators.hearing import Hearing, Words
from trunkline.emulators.websocket import WebSocket

SESSION_S = 3 * 3600
DEFAULT_MS = {"max_turn_silence": "1000", "interruption_delay": "500"}
"""Where the client says nothing: silence that ends a turn, and what is added before the first partial."""
CHUNK_MS = range(50, 1_001)
AHEAD_S = 10.0
"""So much more audio than time is let pass. The vendor publishes that there is a limit, and not which."""
CLOSE_WAIT_S = 5.0
REFUSALS = {
    401: (1008, "Unauthorized Connection: Missing or invalid API key"),
    402: (1008, "Unauthorized Connection: Insufficient account balance"),
    429: (3009, "Unauthorized Connection: Too many concurrent sessions"),
}
WANTED = {"encoding": "pcm_s16le", "sample_rate": str(SAMPLE_RATE_HZ)}


async def v3_ws(request: web.Request, luck: Luck) -> web.StreamResponse:
    """Serves GET /v3/ws."""
    status = await handshake_fault(request, luck)
    if status == 503:
        return refusal(status, {"error": "Unavailable"})
    if status is None and not (request.headers.get("Authorization", "").strip() or request.query.get("token")):
        status = 401
    query = request.query
    wrong = [f"{name}={query[name]}" for name, value in WANTED.items() if query.get(name, value) != value]
    numbers = {name: query.get(name, default) for name, default in DEFAULT_MS.items()}
    wrong += [f"{name}={value}" for name, value in numbers.items() if not value.isdigit()]
    silence_s, delay_s = (0.0 if wrong else int(value) / 1000 for value in numbers.values())
    async with accepted(request) as socket, outbox(request, socket) as box:
        session = _Session(socket, box, luck, silence_s, delay_s)
        try:
            if status is not None:
                await session.fail(*REFUSALS[status])
            elif wrong:
                await session.fail(3006, f"Invalid Message: not emulated: {', '.join(wrong)}")
            else:
                await session.run()
        finally:
            session.close()
    return web.Response()


class _Session:
    """One connection after the handshake."""

    def __init__(self, socket: WebSocket, box: Outbox, luck: Luck, endpoint_s: float, delay_s: float) -> None:
        self._socket = socket
        self._box = box
        self._hearing = Hearing(luck, self._tell, box.go_wrong, endpoint_s, delay_s)
        self._began_at = asyncio.get_running_loop().time()
        self._short: int | None = None
        self._failing: asyncio.Task[None] | None = None
        self._turn = 0
        self._finals_due = 0
        self._final_told = asyncio.Event()

    async def run(self) -> None:
        self._box.send({"type": "Begin", "id": str(uuid.uuid4()), "expires_at": int(time.time()) + SESSION_S})
        self._socket.on_binary = self._audio
        while isinstance(text := await self._socket.receive(), str):
            if await self._control(text):
                return

    async def fail(self, code: int, problem: str) -> None:
        """Tells an error as the vendor does: in a message, then by closing."""
        self._box.send({"type": "Error", "error_code": code, "error": problem})
        await self._box.drained()
        await self._socket.close(code=code, message=problem[:120].encode())

    def close(self) -> None:
        self._hearing.close()
        if self._failing is not None:
            self._failing.cancel()

    def _audio(self, pcm: bytes) -> None:
        if self._failing is not None:
            return
        problem = self._problem(pcm)
        if problem:
            self._failing = asyncio.get_running_loop().create_task(self.fail(3007, problem))

    def _problem(self, pcm: bytes) -> str:
        """Listens to a piece of audio. Returns what is wrong with it."""
        length_ms = round(1000 * samples_to_s(len(pcm) // 2))
        # A short piece may be the session's last.
        if self._short is not None or length_ms > CHUNK_MS[-1]:
            wrong_ms = length_ms if self._short is None else self._short
            return f"Input duration violation: {wrong_ms} ms. Expected between 50 and 1000 ms"
        self._short = length_ms if length_ms < CHUNK_MS[0] else None
        self._hearing.audio(pcm)
        heard_s = samples_to_s(self._hearing.position)
        passed_s = asyncio.get_running_loop().time() - self._began_at
        if heard_s > passed_s + AHEAD_S:
            return f"Audio Transmission Rate Exceeded: Received {heard_s:.1f} sec. audio in {passed_s:.1f} sec"
        return ""

    async def _control(self, text: str) -> bool:
        """Handles a text message. Returns True where the connection is over."""
        try:
            message = json.loads(text)
        except ValueError:
            await self.fail(3006, f"Invalid JSON: {text[:60]}")
            return True
        match message.get("type") if isinstance(message, dict) else None:
            case "ForceEndpoint":
                self._finalize()
            case "UpdateConfiguration":
                pass
            case "Terminate":
                await self._terminate()
                return True
            case kind:
                await self.fail(3006, f"Invalid Message Type: {kind}")
                return True
        return False

    def _finalize(self) -> None:
        self._finals_due += 1
        self._hearing.finalize()

    async def _terminate(self) -> None:
        self._finalize()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_WAIT_S):
                while self._finals_due > 0:
                    self._final_told.clear()
                    await self._final_told.wait()
        heard_s = samples_to_s(self._hearing.position)
        passed_s = asyncio.get_running_loop().time() - self._began_at
        self._box.send({"type": "Termination", "audio_duration_seconds": heard_s, "session_duration_seconds": passed_s})
        await self._box.drained()
        await self._socket.close()

    def _tell(self, words: Words) -> None:
        if words.finalized:
            self._finals_due -= 1
            self._final_told.set()
        if words.text:
            self._box.send(self._turn_message(words))
            self._turn += words.final

    def _turn_message(self, words: Words) -> dict[str, Any]:
        spoken = words.text.split()
        begin, each = samples_to_s(words.begin), samples_to_s(words.end - words.begin) / len(spoken)
        return {
            "type": "Turn",
            "turn_order": self._turn,
            "turn_is_formatted": words.final,
            "end_of_turn": words.final,
            "transcript": words.text,
            "end_of_turn_confidence": 1.0 if words.final else 0.1,
            "words": [
                {
                    "text": word,
                    "start": round(1000 * (begin + index * each)),
                    "end": round(1000 * (begin + (index + 1) * each)),
                    "confidence": 0.99,
                    "word_is_final": words.final,
                }
                for index, word in enumerate(spoken)
            ],
        }
