"""espeak-ng processes: one for each sentence, some of them started ahead of time.

In: a sentence. Out: its speech as PCM, as fast as it is made (about 400 times faster than it is spoken). A process that
waits for its text answers in under a millisecond, a new one in about 12. Starting one blocks whoever does it for 1 ms
(5 ms with uvloop's own), so a small thread pool does that. Text goes in on standard input, never as an argument.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import subprocess
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from trunkline.core.errors import ConfigError, UpstreamRejectedError, UpstreamTimeoutError, UpstreamUnavailableError

DEFAULT_VOICE = "en-us"
DEFAULT_RATE_WPM = 150
WAV_HEAD_BYTES = 44
FIRST_AUDIO_TIMEOUT_S = 2.0
SENTENCE_TIMEOUT_S = 30.0
MAX_TEXT_CHARS = 4_000
"""Longer text is cut: all of it fits into the pipe, so that writing never waits."""
READ_BYTES = 8_192
CHECK_TIMEOUT_S = 10.0

Process = subprocess.Popen[bytes]

_TAG = re.compile(r"<[^<>]{0,200}>")
_UNSPOKEN = re.compile(r"[\x00-\x1f\x7f-\x9f<>\[\]{}|\\^~`*_#]")


def speakable(text: str) -> str:
    """Text without what espeak-ng would take for markup: phonemes in [[ ]], tags, control characters."""
    plain = _UNSPOKEN.sub(" ", _TAG.sub(" ", text))
    return " ".join(plain.split())[:MAX_TEXT_CHARS]


def check_voice(voice: str) -> None:
    """Speaks a word with this voice.

    Raises:
        ConfigError: espeak-ng is missing, or does not know the voice.
    """
    if shutil.which("espeak-ng") is None:
        raise ConfigError("TTS_PROVIDER=local needs espeak-ng, which is not installed", "apt-get install espeak-ng")
    try:
        done = subprocess.run(  # noqa: S603 (a fixed program; the voice is an argument of its own)
            _command(voice, DEFAULT_RATE_WPM), input=b"ready", capture_output=True, timeout=CHECK_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ConfigError(f"espeak-ng did not speak within {CHECK_TIMEOUT_S:.0f} s", "run espeak-ng by hand") from error
    if done.returncode != 0 or len(done.stdout) <= WAV_HEAD_BYTES:
        problem = " ".join(done.stderr.decode(errors="replace").split())[:200]
        raise ConfigError(
            f"espeak-ng can't speak as {voice!r}: {problem}", "espeak-ng --voices lists TTS_VOICE's values"
        )


def _command(voice: str, rate_wpm: int) -> list[str]:
    return ["espeak-ng", "-v", voice, "-s", str(rate_wpm), "-b", "1", "--stdin", "--stdout"]


@dataclass(frozen=True, slots=True)
class Speech:
    """A piece of speech as espeak-ng gives it.

    Attributes:
        pcm: int16, mono; may end in the middle of a sample.
        sample_rate_hz: The voice's rate; 22,050 for espeak-ng's own.
    """

    pcm: bytes
    sample_rate_hz: int


class Utterance:
    """One sentence being spoken. Made by `Espeak.say`; must be closed."""

    def __init__(self, process: Process, deadline: float) -> None:
        self._process = process
        self._deadline = deadline
        self._reader: asyncio.StreamReader | None = None
        self._transport: asyncio.ReadTransport | None = None
        self._sample_rate_hz = 0

    @property
    def pid(self) -> int:
        """The process that speaks."""
        return self._process.pid

    async def begin(self, text: str) -> None:
        """Hands the text over."""
        assert self._process.stdin is not None
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=READ_BYTES * 4)
        self._transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), self._process.stdout
        )
        self._reader = reader
        with contextlib.suppress(BrokenPipeError):  # it is gone; the first read tells
            os.write(self._process.stdin.fileno(), text.encode("utf-8", errors="replace"))
        self._process.stdin.close()

    async def next(self) -> Speech | None:
        """The next piece, or None after the last.

        Raises:
            UpstreamTimeoutError: no audio within 2 s, or the sentence not done within 30 s.
            UpstreamRejectedError: what came is no speech.
        """
        assert self._reader is not None
        loop = asyncio.get_running_loop()
        first = not self._sample_rate_hz
        limit_s = min(FIRST_AUDIO_TIMEOUT_S, self._deadline - loop.time()) if first else self._deadline - loop.time()
        try:
            async with asyncio.timeout(limit_s):
                if first:
                    self._sample_rate_hz = _rate_of(await self._reader.readexactly(WAV_HEAD_BYTES))
                pcm = await self._reader.read(READ_BYTES)
        except TimeoutError as error:
            what = "no audio in time" if first else "the sentence took too long"
            raise UpstreamTimeoutError("espeak-ng", what) from error
        except asyncio.IncompleteReadError as error:
            raise UpstreamRejectedError("espeak-ng", "it ended without a sound") from error
        return Speech(pcm, self._sample_rate_hz) if pcm else None

    def kill(self) -> Process:
        """Ends it at once, whatever it is doing. The process is still to be reaped."""
        if self._transport is not None:
            self._transport.close()
        elif self._process.stdout is not None:
            self._process.stdout.close()
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()
        self._process.kill()
        return self._process


def _rate_of(head: bytes) -> int:
    if not head.startswith(b"RIFF"):
        raise UpstreamRejectedError("espeak-ng", "it gave no WAV")
    return int.from_bytes(head[24:28], "little")


class Espeak:
    """All espeak-ng processes of one voice in a worker: they are there while somebody holds it.

    Args:
        voice: One of `espeak-ng --voices`.
        rate_wpm: Words a minute.
        at_once: Sentences made at the same time; more wait for their turn.
        warm: Processes started ahead.
    """

    def __init__(
        self, voice: str = DEFAULT_VOICE, rate_wpm: int = DEFAULT_RATE_WPM, at_once: int = 8, warm: int = 2
    ) -> None:
        self._command = _command(voice, rate_wpm)
        self._at_once = at_once
        self._warm = warm
        self._turns = asyncio.Semaphore(at_once)
        self._threads: ThreadPoolExecutor | None = None
        self._ready: deque[Process] = deque()
        self._starting: set[asyncio.Future[Process]] = set()
        self._reaping: set[asyncio.Future[int]] = set()
        self._speaking: set[Utterance] = set()
        self._holders = 0

    async def hold(self) -> None:
        """Starts the processes that wait where this is the first holder. Raises UpstreamUnavailableError."""
        self._holders += 1
        if self._holders > 1:
            return
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="espeak")
        self._turns = asyncio.Semaphore(self._at_once)
        self._refill()
        for started in await asyncio.gather(*self._starting, return_exceptions=True):
            if isinstance(started, OSError):
                await self.release()
                raise UpstreamUnavailableError("espeak-ng", str(started)) from started

    async def release(self) -> None:
        """Ends all processes where this was the last holder; returns when they are gone."""
        self._holders -= 1
        if self._holders > 0 or self._threads is None:
            return
        for utterance in list(self._speaking):
            self.end(utterance)
        while self._ready:
            self._reap(Utterance(self._ready.popleft(), 0.0).kill())
        await asyncio.gather(*self._starting, return_exceptions=True)
        await asyncio.gather(*self._reaping)
        if not self._holders:
            self._threads.shutdown(wait=False)
            self._threads = None

    async def say(self, text: str) -> Utterance:
        """Starts a sentence. Whoever called ends it with `end`, also when cancelled.

        Raises:
            UpstreamTimeoutError: too many were speaking already, for 2 s.
            UpstreamUnavailableError: espeak-ng can't be started.
        """
        turns = self._turns
        try:
            async with asyncio.timeout(FIRST_AUDIO_TIMEOUT_S):
                await turns.acquire()
        except TimeoutError as error:
            raise UpstreamTimeoutError("espeak-ng", "too many sentences at once") from error
        try:
            process = await self._take()
        except BaseException:
            turns.release()
            raise
        utterance = Utterance(process, asyncio.get_running_loop().time() + SENTENCE_TIMEOUT_S)
        self._speaking.add(utterance)
        try:
            await utterance.begin(text)
        except BaseException:
            self.end(utterance)
            raise
        self._refill()
        return utterance

    def end(self, utterance: Utterance) -> None:
        """Ends a sentence, spoken or not; its process is gone a moment later. May be called twice."""
        if utterance in self._speaking:
            self._speaking.discard(utterance)
            self._reap(utterance.kill())
            self._turns.release()

    async def _take(self) -> Process:
        while self._ready:
            process = self._ready.popleft()
            if process.poll() is None:
                return process
            self._reap(Utterance(process, 0.0).kill())
        started = self._begin_start()
        try:
            return await asyncio.shield(started)
        except asyncio.CancelledError:
            started.add_done_callback(self._put_by)
            raise
        except OSError as error:
            raise UpstreamUnavailableError("espeak-ng", str(error)) from error

    def _refill(self) -> None:
        while self._holders and len(self._ready) + len(self._starting) < self._warm:
            started = self._begin_start()
            self._starting.add(started)
            started.add_done_callback(self._put_by)

    def _begin_start(self) -> asyncio.Future[Process]:
        assert self._threads is not None, "hold() first"
        return asyncio.get_running_loop().run_in_executor(self._threads, self._start)

    def _start(self) -> Process:
        return subprocess.Popen(  # noqa: S603 (a fixed program)
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
        )

    def _put_by(self, started: asyncio.Future[Process]) -> None:
        self._starting.discard(started)
        if started.cancelled() or started.exception() is not None:
            return
        if self._holders:
            self._ready.append(started.result())
        else:
            self._reap(Utterance(started.result(), 0.0).kill())

    def _reap(self, process: Process) -> None:
        assert self._threads is not None
        reaping = asyncio.get_running_loop().run_in_executor(self._threads, process.wait)
        self._reaping.add(reaping)
        reaping.add_done_callback(self._reaping.discard)
