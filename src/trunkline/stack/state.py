"""What is running: the file that `trunkline up` writes for `call`, `loadtest`, `doctor` and the next `up`.

`.trunkline/stack.json` in the project holds secrets, so only its owner can read it. A process is known by its pid and
its start time, as pids are used again.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from trunkline.core.errors import ConfigError
from trunkline.stack.plan import Plan, project_root
from trunkline.stack.ports import Ports
from trunkline.stack.render import write_private

TOOL_VARIABLES = (
    "LIVEKIT_API_KEY",
    "LIVEKIT_API_SECRET",
    "LIVEKIT_HOST",
    "REDIS_URL",
    "ORCH_URL",
    "ORCH_PUBLIC_URL",
    "ORCH_API_KEY",
    "TWILIO_AUTH_TOKEN",
    "TWILIO_SIP_INGRESS_HOST",
    "SIP_TRUNK_USERNAME",
    "SIP_TRUNK_PASSWORD",
    "METRICS_ENDPOINT",
    "STT_PROVIDER",
    "TTS_PROVIDER",
    "REPLY_ON",
    "BRAIN",
)


@dataclass(frozen=True)
class Identity:
    """One process, and no other that gets its pid later.

    Args:
        pid: Its id.
        started: Boot and clock tick of its start.
    """

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> Identity | None:
        """That of a living process; None if there is none, or no /proc to ask."""
        try:
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
            # The command's name, in parentheses, may contain anything; field 22 is counted behind it.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in "ZX" else cls(pid, f"{boot}/{fields[19]}")

    def alive(self) -> bool:
        """Whether this very process still runs."""
        return Identity.of(self.pid) == self


@dataclass(frozen=True)
class StackState:
    """A stack started by `trunkline up`.

    Args:
        up: The `trunkline up` itself.
        processes: Its children by name, those that run.
        env: What tools need in their environment to talk to the stack.
    """

    up: Identity
    host: str
    ports: Ports
    log_dir: Path
    processes: Mapping[str, Identity]
    env: Mapping[str, str]

    def __repr__(self) -> str:
        return f"StackState(pid {self.up.pid}, {self.host}, {self.ports})"


def state_file() -> Path:
    """Where the state of the project's stack is."""
    return project_root() / ".trunkline" / "stack.json"


def write_state(plan: Plan, pids: Mapping[str, int], path: Path | None = None) -> None:
    """Writes down what runs now, for others to read while this process lives.

    Args:
        plan: What was started.
        pids: Running children by name.
    """
    path = path or state_file()
    own = Identity.of(os.getpid())
    if own is None:  # no /proc: nothing could tell a stale file from a running stack
        return
    known = {name: identity for name, pid in pids.items() if (identity := Identity.of(pid))}
    record = {
        "up": asdict(own),
        "host": plan.host,
        "ports": asdict(plan.ports),
        "log_dir": str(plan.log_dir.absolute()),
        "processes": {name: asdict(identity) for name, identity in known.items()},
        "env": {name: plan.env[name] for name in TOOL_VARIABLES if name in plan.env},
    }
    make_private_folder(path.parent)
    write_private(path, json.dumps(record, indent=1))


def read_state(path: Path | None = None) -> StackState:
    """The running stack.

    Raises:
        ConfigError: none is running.
    """
    state = _read(path or state_file())
    if state is None or not state.up.alive():
        raise ConfigError("no stack is running", "start one in another terminal: trunkline up")
    return state


def clean_leftovers(path: Path | None = None) -> list[str]:
    """Ends what a crashed `trunkline up` left behind, and forgets it.

    Returns:
        Names of the processes that were still running.

    Raises:
        ConfigError: that `up` is alive and well.
    """
    path = path or state_file()
    state = _read(path)
    if state is None:
        return []
    if state.up.alive() and state.up.pid != os.getpid():
        raise ConfigError(f"a stack is running already, pid {state.up.pid}", "stop it with Ctrl-C in its terminal")
    left = [name for name, identity in state.processes.items() if identity.alive()]
    for name in left:
        # Children lead groups of their own; the check just before leaves no time for another to get the pid.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(state.processes[name].pid, signal.SIGKILL)
    path.unlink(missing_ok=True)
    return left


def forget(path: Path | None = None) -> None:
    """Removes the state file that this process wrote: nothing runs any more."""
    path = path or state_file()
    state = _read(path)
    if state is not None and state.up.pid == os.getpid():
        path.unlink(missing_ok=True)


def make_private_folder(folder: Path) -> None:
    """A folder that only we can read and that git does not see. Raises ConfigError where it can't be made."""
    ignore = folder / ".gitignore"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not ignore.exists():
            ignore.write_text("*\n")
    except OSError as error:
        raise ConfigError(f"{folder}: {error.strerror}", "the stack keeps its files there") from error


def _read(path: Path) -> StackState | None:
    """The state as written; None without a file, or with one that makes no sense (of another version, or cut off)."""
    try:
        record = json.loads(path.read_text())
        return StackState(
            up=Identity(**record["up"]),
            host=record["host"],
            ports=Ports(**record["ports"]),
            log_dir=Path(record["log_dir"]),
            processes={name: Identity(**identity) for name, identity in record["processes"].items()},
            env=record["env"],
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
