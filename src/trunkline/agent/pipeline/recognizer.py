"""The worker's side of the recognizer process: starts it, speaks to it, starts it again when it dies.

In: audio of bursts of speech, from any number of calls. Out: for each burst the words so far, and exactly one end.
One `Recognizer` serves all calls of a worker; `local_stt.py` makes a `Burst` of each burst that the caller speaks.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import structlog

from trunkline.agent.pipeline.phrases import PhraseBook
from trunkline.agent.pipeline.recognizer_process import encode, split
from trunkline.core.errors import UpstreamError, UpstreamTimeoutError, UpstreamUnavailableError

log = structlog.get_logger()

START_TIMEOUT_S = 10.0
FINAL_TIMEOUT_S = 1.0
"""Longest wait for the end of a burst; it usually comes within a few ms."""
STOP_TIMEOUT_S = 1.0
RESTART_DELAY_S = 0.5
MAX_WAITING_PIECES = 100
"""Audio of one burst that may wait for the process: 2 s in pieces of 20 ms. The oldest is dropped first."""
MAX_UNSENT_BYTES = 32_768
MAX_BURST_BYTES = 60 * 32_000
"""What comes after 60 s of one burst is not listened to: no sentence is that long."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What the recognizer says about a burst.

    Attributes:
        text: Words so far, or the sentence as it is written in the list of phrases; empty: nothing understood.
        final: True for the last of its burst.
        problem: Why nothing could be understood, where that is nobody's speech but our trouble.
    """

    text: str
    final: bool = False
    problem: str = ""


class Burst:
    """One burst of one caller. Made by `Recognizer.begin`; `heard` ends after `finish`, `drop` or a failure."""

    def __init__(self, number: int, wake: Callable[[Burst], None]) -> None:
        self.number = number
        self.waiting: deque[bytes] = deque(maxlen=MAX_WAITING_PIECES)
        self.dropped_pieces = 0
        self.begun = False
        self.ending = b""
        self._wake = wake
        self._fed_bytes = 0
        self._partial: Heard | None = None
        self._final: Heard | None = None
        self._changed = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    def feed(self, audio: bytes) -> None:
        """Takes the next audio: PCM int16, mono, 16,000 Hz. Ignored once the burst is over."""
        if self.ending or self._final is not None or self._fed_bytes > MAX_BURST_BYTES:
            return
        self._fed_bytes += len(audio)
        if len(self.waiting) == self.waiting.maxlen:
            self.dropped_pieces += 1
        self.waiting.append(audio)
        self._wake(self)

    def finish(self) -> None:
        """The burst is over; its end comes through `heard` within 1 s at the latest."""
        if self.ending or self._final is not None:
            return
        self.ending = b"E"
        self._wake(self)
        self._timer = asyncio.get_running_loop().call_later(FINAL_TIMEOUT_S, self.fail, "no answer in time")

    def drop(self) -> None:
        """Nobody wants to know any more."""
        self.waiting.clear()
        if self._final is None:
            self.ending = b"D"
            self._wake(self)
            self.tell(Heard("", final=True))

    def fail(self, problem: str) -> None:
        """Ends the burst because of trouble of ours."""
        self.tell(Heard("", final=True, problem=problem))

    def tell(self, heard: Heard) -> None:
        """Keeps the newest words, and the first end."""
        if self._final is not None:
            return
        if heard.final:
            self._final = heard
            if self._timer is not None:
                self._timer.cancel()
        else:
            self._partial = heard
        self._changed.set()

    @property
    def over(self) -> bool:
        """True once its end is known."""
        return self._final is not None

    async def heard(self) -> AsyncIterator[Heard]:
        """Newest words whenever they changed, then the end. Words that were overtaken by newer ones are left out."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            if self._final is not None:
                yield self._final
                return
            if self._partial is not None:
                yield self._partial


class Recognizer:
    """The process that decodes, shared by all calls of one loop: it runs while somebody holds it.

    Args:
        book: The sentences to listen for.
    """

    def __init__(self, book: PhraseBook) -> None:
        self._book = book
        self._holders = 0
        self._bursts: dict[int, Burst] = {}
        self._next_number = 1
        self._to_send: deque[Burst] = deque()
        self._work = asyncio.Event()
        self._ready = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.restarts = 0

    async def hold(self) -> None:
        """Starts the process where this is the first holder; returns when it is ready.

        Raises:
            UpstreamTimeoutError: it was not ready after 10 s.
        """
        self._holders += 1
        if self._task is None:
            self._work, self._ready = asyncio.Event(), asyncio.Event()
            self._task = asyncio.get_running_loop().create_task(self._keep_running(), name="recognizer")
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await self._ready.wait()
        except TimeoutError as error:
            await self.release()
            raise UpstreamTimeoutError("recognizer", f"not ready after {START_TIMEOUT_S:.0f} s") from error
        except asyncio.CancelledError:
            await self.release()
            raise

    async def release(self) -> None:
        """Ends the process where this was the last holder."""
        self._holders -= 1
        if self._holders > 0 or self._task is None:
            return
        task, self._task = self._task, None
        task.cancel()
        await asyncio.wait([task], timeout=STOP_TIMEOUT_S * 2)

    def begin(self) -> Burst:
        """Starts a burst. Where the process is away at the moment, the burst ends at once with a problem."""
        burst = Burst(self._next_number, self._wake)
        self._next_number = self._next_number % 0xFFFFFFFF + 1
        if not self._ready.is_set():
            burst.fail("the recognizer is starting")
            return burst
        self._bursts[burst.number] = burst
        self._wake(burst)
        return burst

    def _wake(self, burst: Burst) -> None:
        if burst.number in self._bursts and burst not in self._to_send:
            self._to_send.append(burst)
            self._work.set()

    async def _keep_running(self) -> None:
        while True:
            try:
                await self._run_once()
            except (OSError, ValueError, UpstreamError) as error:
                log.error("recognizer_died", problem=str(error), bursts=len(self._bursts))
            finally:
                self._ready.clear()
                self._to_send.clear()
                for burst in self._bursts.values():
                    burst.fail("the recognizer died")
                self._bursts.clear()
            self.restarts += 1
            await asyncio.sleep(RESTART_DELAY_S)

    async def _run_once(self) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "trunkline.agent.pipeline.recognizer_process",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.transport.set_write_buffer_limits(high=MAX_UNSENT_BYTES)
        sending: asyncio.Task[None] | None = None
        try:
            hello = {"sentences": list(self._book.sentences), "sounds": self._book.sounds}
            process.stdin.write(encode(b"H", 0, json.dumps(hello).encode()))
            sending = asyncio.get_running_loop().create_task(self._send(process.stdin), name="recognizer-send")
            await self._receive(process.stdout)
            raise UpstreamUnavailableError("recognizer", "its process ended")
        finally:
            if sending is not None:
                sending.cancel()
            await _end(process)

    async def _receive(self, source: asyncio.StreamReader) -> None:
        buffer = bytearray()
        while piece := await source.read(65_536):
            buffer += piece
            for kind, number, body in split(buffer):
                if kind == b"R":
                    self._ready.set()
                elif (burst := self._bursts.get(number)) is not None:
                    words = body.decode()
                    if kind == b"F":
                        del self._bursts[number]
                        words = self._book.sentences.get(words, words)
                    burst.tell(Heard(words, final=kind == b"F"))

    async def _send(self, sink: asyncio.StreamWriter) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            while self._to_send:
                burst = self._to_send.popleft()
                sink.write(self._messages(burst))
                await sink.drain()

    def _messages(self, burst: Burst) -> bytes:
        parts = []
        if not burst.begun:
            burst.begun = True
            parts.append(encode(b"B", burst.number))
        if burst.waiting:
            parts.append(encode(b"A", burst.number, b"".join(burst.waiting)))
            burst.waiting.clear()
        if burst.ending:
            parts.append(encode(burst.ending, burst.number))
            if burst.ending == b"D":
                self._bursts.pop(burst.number, None)
        return b"".join(parts)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Closes its input, which ends it; kills it after a second."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
