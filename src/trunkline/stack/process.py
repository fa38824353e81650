"""One supervised child: start, wait until it answers, notice its end, start again, stop.

Its output goes straight into its log file, so nothing is lost when we die; and the kernel kills it when we die.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import shutil
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from trunkline.core.errors import ConfigError, UpstreamTimeoutError, UpstreamUnavailableError

Probe = Callable[[], Awaitable[None]]
"""Returns when the process serves; raises OSError or TimeoutError when it does not (yet)."""

PROBE_LIMIT_S = 2.0
PROBE_PAUSE_S = 0.05
KILL_LIMIT_S = 2.0
LOG_CAP_BYTES = 32 * 1024 * 1024
LAST_LINES = 8

_PR_SET_PDEATHSIG = 1


class State(StrEnum):
    """Where a child is in its life."""

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True)
class Spec:
    """What one child is.

    Args:
        name: Also the log file's, such as "livekit-sip".
        argv: Command; never contains secrets, as everybody may read it.
        probe: Says whether it serves.
        env: Its whole environment.
        after: Names of those that must be ready before it is started, and that are stopped after it.
        uses: Names of those that are only stopped after it.
        ready_limit_s: Longest wait for the probe; long, as a busy machine takes ten times the usual 1 to 4 s.
        grace_s: After the first SIGTERM.
        insist_s: After a second SIGTERM, which ends livekit-server's wait for participants; 0: killed after the first.
    """

    name: str
    argv: tuple[str, ...]
    probe: Probe
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    after: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    ready_limit_s: float = 60.0
    grace_s: float = 3.0
    insist_s: float = 0.0


class Process:
    """One child, from its start to its end; may be started again.

    Args:
        spec: What to run.
        log_dir: Where `NAME.log` is; the file is appended to.
    """

    def __init__(self, spec: Spec, log_dir: Path) -> None:
        self.spec = spec
        self.log_file = log_dir / f"{spec.name}.log"
        self.state = State.WAITING
        self.restarts = 0
        self._child: asyncio.subprocess.Process | None = None
        self._log_start = 0

    @property
    def pid(self) -> int | None:
        """The running child's, else None."""
        return self._child.pid if self._child is not None and self._child.returncode is None else None

    async def start(self) -> None:
        """Starts the child and waits until its probe succeeds. Stopped again if it does not, or on cancel.

        Raises:
            UpstreamUnavailableError: it ended; with its last log lines.
            UpstreamTimeoutError: it did not serve in time; with its last log lines.
            ConfigError: the program can't be run.
        """
        self.state = State.STARTING
        try:
            await self._spawn()
            await self._wait_ready()
        except BaseException as error:
            await asyncio.shield(self.kill())
            self.state = State.STOPPED if isinstance(error, asyncio.CancelledError) else State.FAILED
            raise
        self.state = State.READY

    async def wait(self) -> int:
        """Waits for the child's end; its exit code, negative for a signal."""
        assert self._child is not None
        return await self._child.wait()

    def ended(self, code: int) -> UpstreamUnavailableError:
        """The error for an end that nobody asked for."""
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return UpstreamUnavailableError(self.spec.name, f"ended ({how}){self._last_words()}")

    async def healthy(self) -> bool:
        """Asks the probe once, within its time limit; also keeps the log file under its cap."""
        self._cap_log()
        if self.pid is None:
            return False
        try:
            async with asyncio.timeout(PROBE_LIMIT_S):
                await self.spec.probe()
        except (OSError, TimeoutError):
            return False
        return True

    async def stop(self) -> None:
        """SIGTERM, again or SIGKILL after the grace; takes `grace_s + insist_s + KILL_LIMIT_S` at most."""
        if self.pid is not None:
            self.state = State.STOPPING
            for limit_s in (self.spec.grace_s, self.spec.insist_s):
                if limit_s <= 0 or await self._ended_by(signal.SIGTERM, limit_s):
                    break
        await self.kill()
        if self.state is not State.FAILED:
            self.state = State.STOPPED

    async def kill(self) -> None:
        """Ends the child and all of its process group now. Safe in any state."""
        if self._child is None:
            return
        await self._ended_by(signal.SIGKILL, KILL_LIMIT_S)
        # Its own children live in its group; a group whose members are gone does not exist.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child = None

    def kill_now(self) -> None:
        """Like `kill`, without waiting."""
        if self._child is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._child.pid, signal.SIGKILL)

    async def _ended_by(self, number: signal.Signals, limit_s: float) -> bool:
        if self.pid is None or self._child is None:
            return True
        with contextlib.suppress(ProcessLookupError):
            self._child.send_signal(number)
        try:
            async with asyncio.timeout(limit_s):
                await self._child.wait()
        except TimeoutError:
            return False
        return True

    async def _spawn(self) -> None:
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._log_start = os.fstat(handle).st_size
            self._child = await asyncio.create_subprocess_exec(
                *self.spec.argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=handle,
                stderr=handle,
                env=dict(self.spec.env),
                # A session of its own: Ctrl-C on the terminal reaches only us, and we stop the children in order.
                start_new_session=True,
                preexec_fn=_die_with(os.getpid()) if sys.platform == "linux" else None,
            )
        except OSError as error:
            raise ConfigError(f"{self.spec.name}: {self.spec.argv[0]}: {error.strerror}") from error
        finally:
            os.close(handle)

    async def _wait_ready(self) -> None:
        assert self._child is not None
        deadline = time.monotonic() + self.spec.ready_limit_s
        while time.monotonic() < deadline:
            if self._child.returncode is not None:
                raise self.ended(self._child.returncode)
            if await self.healthy():
                return
            await asyncio.sleep(PROBE_PAUSE_S)
        raise UpstreamTimeoutError(
            self.spec.name, f"did not serve within {self.spec.ready_limit_s:g} s{self._last_words()}"
        )

    def _last_words(self) -> str:
        """The last lines of this run's log, and where the rest is."""
        with self.log_file.open("rb") as file:
            file.seek(max(self._log_start, self.log_file.stat().st_size - 8192))
            lines = file.read().decode(errors="replace").strip().splitlines()[-LAST_LINES:]
        text = "".join(f"\n  | {line[:300]}" for line in lines)
        return f"; log: {self.log_file}{text}"

    def _cap_log(self) -> None:
        """Above the cap, the log so far becomes `NAME.log.1`; the child goes on appending to an empty file."""
        with contextlib.suppress(FileNotFoundError):
            if self.log_file.stat().st_size > LOG_CAP_BYTES:
                shutil.copyfile(self.log_file, self.log_file.with_suffix(".log.1"))
                os.truncate(self.log_file, 0)
                self._log_start = 0


def _die_with(parent: int) -> Callable[[], None]:
    """For the child between fork and exec: SIGKILL when the parent dies, also if it is dead already."""
    libc = ctypes.CDLL(None, use_errno=True)

    def prepare() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return prepare
