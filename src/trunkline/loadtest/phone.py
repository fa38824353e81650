"""The simulated phone: runs `trunkline-phone`, hands it commands, and sorts its events by call.

The program speaks SIP and RTP on a clock of its own; this is its remote control. One line of JSON is one command or
one event (`media-engine/internal/protocol`). Instants are microseconds of `CLOCK_MONOTONIC`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias

import structlog

from trunkline.core.errors import CallError, ConfigError, Reason, Result, Termination, UpstreamUnavailableError

log = structlog.get_logger()

MAX_LINE_BYTES = 65_536
MAX_EVENTS_WAITING = 4_096
"""Of one call; its events come about once a second, so a full queue means that nobody reads it."""
QUIT_TIMEOUT_S = 4.0
ANSWER_TIMEOUT_S = 60.0
HANGUP_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Ringing:
    """The other side rings."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The call is up.

    Args:
        at_us: When.
        codec: pcmu or pcma.
        recording_us: Instant of the recording's first sample.
    """

    at_us: int
    codec: str
    recording_us: int


@dataclass(frozen=True, slots=True)
class PlayStart:
    """The first sound of a WAV left the phone."""

    id: str
    at_us: int


@dataclass(frozen=True, slots=True)
class PlayEnd:
    """A WAV is over; its last sound left the phone at `speech_end_us`."""

    id: str
    at_us: int
    speech_end_us: int


@dataclass(frozen=True, slots=True)
class HeardStart:
    """A sound reached the ear, after 200 ms of quiet."""

    at_us: int
    level_dbfs: float


@dataclass(frozen=True, slots=True)
class HeardStop:
    """The last sound reached the ear at `at_us`; it has been quiet for 200 ms."""

    at_us: int


@dataclass(frozen=True, slots=True)
class CallEnded:
    """The call is over.

    Args:
        by: caller, agent or error.
        reason: In a few words.
        status: SIP status where the call was refused before it was answered, else 0.
        stats: Packets sent, received, lost and so on.
    """

    by: str
    reason: str
    status: int = 0
    stats: dict[str, Any] = field(default_factory=dict)


PhoneEvent: TypeAlias = Ringing | Answered | PlayStart | PlayEnd | HeardStart | HeardStop | CallEnded


class PhoneLine:
    """One call of the phone.

    Args:
        phone: Whose call it is.
        name: Its name there.
    """

    def __init__(self, phone: Phone, name: str) -> None:
        self._phone = phone
        self._name = name
        self._events: asyncio.Queue[PhoneEvent] = asyncio.Queue(MAX_EVENTS_WAITING)
        self.ended: CallEnded | None = None

    async def answered(self, timeout_s: float = ANSWER_TIMEOUT_S) -> Answered:
        """Waits until it is answered. Raises CallError where it is not."""
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    match await self.event():
                        case Answered() as event:
                            return event
                        case CallEnded(by=by, reason=reason, status=status):
                            raise CallRefusedError(
                                f"{status} {reason}".strip() if status else f"{by}: {reason}", status
                            )
        except TimeoutError:
            raise CallError(f"not answered within {timeout_s:.0f} s") from None

    async def event(self) -> PhoneEvent:
        """The next event of this call."""
        return await self._events.get()

    async def play(self, name: str, wav: Path) -> None:
        """Speaks a WAV (8 or 16 kHz, mono, 16-bit), after those queued before."""
        await self._phone.send({"cmd": "play", "call": self._name, "id": name, "wav": str(wav)})

    async def press(self, digits: str) -> None:
        """Presses keys."""
        await self._phone.send({"cmd": "dtmf", "call": self._name, "digits": digits})

    async def hang_up(self) -> CallEnded:
        """Hangs up, also where it still rings; returns how the call ended."""
        await self._phone.send({"cmd": "hangup", "call": self._name})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HANGUP_TIMEOUT_S):
                while self.ended is None:
                    await self.event()
        return self.ended or CallEnded("error", "the phone did not tell how the call ended")

    def take(self, event: PhoneEvent) -> None:
        """Takes an event of this call from the phone; those that nobody reads are dropped, oldest first."""
        if isinstance(event, CallEnded):
            self.ended = event
        if self._events.full():
            self._events.get_nowait()
        self._events.put_nowait(event)


class CallRefusedError(CallError):
    """The call was not answered.

    Args:
        problem: In one line.
        status: SIP status, or 0.
    """

    termination = Termination(Result.CALLER_ERROR, Reason.UNKNOWN)

    def __init__(self, problem: str, status: int) -> None:
        super().__init__(f"not answered: {problem}")
        self.status = status


class Phone:
    """A phone with any number of lines: `async with Phone(program) as phone`.

    Args:
        program: `trunkline-phone`.
        listen_ip: Where it calls from; empty: wherever the destination is reached from.
    """

    def __init__(self, program: Path, listen_ip: str = "") -> None:
        self._command = [str(program), *(["--listen-ip", listen_ip] if listen_ip else [])]
        self._lines: dict[str, PhoneLine] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._readers: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                limit=MAX_LINE_BYTES,
            )
        except OSError as error:
            raise ConfigError(f"can't run {self._command[0]}: {error.strerror}", "make setup") from error
        self._readers = [asyncio.create_task(self._read_events()), asyncio.create_task(self._read_log())]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Hangs up all calls; the end of its input tells the phone to."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), QUIT_TIMEOUT_S)
        except TimeoutError:
            process.kill()
            await process.wait()
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)

    async def dial(
        self,
        name: str,
        uri: str,
        credentials: tuple[str, str] = ("", ""),
        *,
        caller: str = "",
        wav: Path | None = None,
    ) -> PhoneLine:
        """Places a call.

        Args:
            name: Its name, unlike that of every other call of this phone.
            uri: What to dial; its header parameters become SIP headers, as Twilio does.
            credentials: Username and password for the digest.
            caller: The number that calls.
            wav: Where to record: stereo, caller left, what is heard right.
        """
        if name in self._lines:
            raise ValueError(f"a call named {name!r} was placed already")
        line = self._lines[name] = PhoneLine(self, name)
        username, password = credentials
        command = {"cmd": "dial", "call": name, "uri": uri, "username": username, "password": password, "from": caller}
        if wav is not None:
            command["wav"] = str(wav)
        await self.send(command)
        return line

    async def send(self, command: dict[str, str]) -> None:
        """Hands over one command. Raises UpstreamUnavailableError where the phone is gone."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(command).encode() + b"\n")
            async with asyncio.timeout(QUIT_TIMEOUT_S):
                await process.stdin.drain()
        except (ConnectionError, TimeoutError) as error:
            raise UpstreamUnavailableError("trunkline-phone", "it has ended, or takes no commands") from error

    async def _read_events(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            async for text in self._process.stdout:
                self._sort(json.loads(text))
        finally:
            for line in self._lines.values():
                if line.ended is None:
                    line.take(CallEnded("error", "the phone program has ended"))

    async def _read_log(self) -> None:
        assert self._process is not None
        assert self._process.stderr is not None
        async for text in self._process.stderr:
            log.warning("phone_says", text=text.decode(errors="replace").strip())

    def _sort(self, message: dict[str, Any]) -> None:
        line = self._lines.get(message.get("call", ""))
        if message.get("ev") == "error":
            log.warning("phone_error", call=message.get("call", ""), problem=message.get("message", ""))
        event = read_event(message)
        if line is not None and event is not None:
            line.take(event)


def read_event(message: dict[str, Any]) -> PhoneEvent | None:
    """An event of the program's; None for those that tell nothing about a call's course."""
    reader = _READERS.get(str(message.get("ev")))
    return reader(message) if reader is not None else None


_READERS: dict[str, Callable[[dict[str, Any]], PhoneEvent]] = {
    "ringing": lambda _: Ringing(),
    "answered": lambda m: Answered(_at(m), str(m.get("codec", "")), int(m.get("recording_us", _at(m)))),
    "play_start": lambda m: PlayStart(str(m.get("id", "")), _at(m)),
    "play_end": lambda m: PlayEnd(str(m.get("id", "")), _at(m), int(m.get("speech_end_us", _at(m)))),
    "heard_start": lambda m: HeardStart(_at(m), float(m.get("level_dbfs", 0.0))),
    "heard_stop": lambda m: HeardStop(_at(m)),
    "ended": lambda m: CallEnded(str(m.get("by", "")), str(m.get("reason", "")), stats=dict(m.get("stats") or {})),
    "refused": lambda m: CallEnded("agent", str(m.get("reason", "")), status=int(m.get("status", 0))),
    "failed": lambda m: CallEnded("error", str(m.get("reason", ""))),
}


def _at(message: dict[str, Any]) -> int:
    return int(message.get("at_us", 0))
