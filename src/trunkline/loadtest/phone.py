"""The simulated phone: runs `trunkline-phone`, hands it commands, and sorts its events by call.

The program speaks SIP and RTP on a clock of its own; this is its remote control. One line of JSON is one command or
one event (`media-engine/internal/protocol`). Instants are microseconds of `CLOCK_MONOTONIC`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import structlog

from trunkline.core.errors import CallError, ConfigError, Reason, Result, Termination, UpstreamUnavailableError
from trunkline.loadtest.phone_events import (
    Answered,
    CallEnded,
    HeardStart,
    HeardStop,
    PhoneEvent,
    PlayEnd,
    PlayStart,
    Ringing,
    read_event,
)
from trunkline.media.impairment import Impairment

__all__ = [
    "Answered",
    "CallEnded",
    "CallRefusedError",
    "HeardStart",
    "HeardStop",
    "Phone",
    "PhoneEvent",
    "PhoneLine",
    "PlayEnd",
    "PlayStart",
    "Ringing",
]

log = structlog.get_logger()

MAX_LINE_BYTES = 65_536
MAX_EVENTS_WAITING = 4_096
"""Of one call; its events come about once a second, so a full queue means that nobody reads it."""
QUIT_TIMEOUT_S = 4.0
ANSWER_TIMEOUT_S = 60.0
HANGUP_TIMEOUT_S = 5.0


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

    @property
    def pid(self) -> int | None:
        """The program's process, while it runs."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

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
        codec: str = "pcmu",
        impair: Impairment | None = None,
    ) -> PhoneLine:
        """Places a call.

        Args:
            name: Its name, unlike that of every other call of this phone.
            uri: What to dial; its header parameters become SIP headers, as Twilio does.
            credentials: Username and password for the digest.
            caller: The number that calls.
            wav: Where to record: stereo, caller left, what is heard right; 16 kHz where G.722 is offered, else 8 kHz.
            codec: What is offered, the best first: "g722", "pcmu", "pcma", or several with commas between.
            impair: What is wrong with the caller and its network, at the phone itself.
        """
        if name in self._lines:
            raise ValueError(f"a call named {name!r} was placed already")
        line = self._lines[name] = PhoneLine(self, name)
        username, password = credentials
        command: dict[str, Any] = {"cmd": "dial", "call": name, "uri": uri, "from": caller, "codec": codec}
        command |= {"username": username, "password": password}
        if wav is not None:
            command["wav"] = str(wav)
        if impair is not None:
            command["impair"] = impair.as_dict()
        await self.send(command)
        return line

    async def send(self, command: Mapping[str, Any]) -> None:
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
