"""What runs is known by pid and start time, and leftovers of a crash are ended."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from trunkline.core.errors import ConfigError
from trunkline.settings import Settings
from trunkline.stack.plan import Plan, Programs, make_plan
from trunkline.stack.ports import Ports
from trunkline.stack.state import Identity, clean_leftovers, forget, make_private_folder, read_state, write_state

PORTS = Ports(8000, 9100, 7880, 7882, 5060, 6390, 10000, 20000)


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    programs = Programs(("r",), ("l",), ("s",))
    settings = Settings(_env_file=None, twilio_auth_token="hush")  # type: ignore[call-arg, arg-type]
    return make_plan(programs, PORTS, settings, tmp_path / "run", environment={"HOME": "/root", "OTHER": "secret"})


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        [sys.executable, "-S", "-c", "import time; time.sleep(60)"], start_new_session=True
    ) as running:
        yield running
        running.kill()


def rewrite(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


CRASHED = {"pid": 2**22 + 1, "started": "boot/1"}


def test_tools_read_what_up_wrote(plan: Plan, tmp_path: Path, child: subprocess.Popen[bytes]) -> None:
    path = tmp_path / "state" / "stack.json"
    write_state(plan, {"redis": child.pid}, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    state = read_state(path)
    assert (state.host, state.ports) == ("127.0.0.1", PORTS)
    assert state.up.pid == os.getpid()
    assert state.processes["redis"] == Identity.of(child.pid)
    assert state.env["TWILIO_AUTH_TOKEN"] == "hush"
    assert "OTHER" not in state.env
    assert "hush" not in repr(state)


def test_a_folder_that_can_not_be_made_is_one_line(plan: Plan) -> None:
    with pytest.raises(ConfigError, match=r"^/proc/none: No such file or directory"):
        make_private_folder(Path("/proc/none"))


def test_nothing_runs(plan: Plan, tmp_path: Path) -> None:
    path = tmp_path / "stack.json"
    with pytest.raises(ConfigError, match=r"no stack is running .*trunkline up"):
        read_state(path)
    assert clean_leftovers(path) == []
    write_state(plan, {}, path)
    rewrite(path, up=CRASHED)
    with pytest.raises(ConfigError, match="no stack is running"):
        read_state(path)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"up": 1}', "\x00"])
def test_a_file_that_makes_no_sense_is_no_stack(tmp_path: Path, text: str) -> None:
    path = tmp_path / "stack.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match="no stack is running"):
        read_state(path)
    assert clean_leftovers(path) == []


def test_leftovers_of_a_crash_are_ended(plan: Plan, tmp_path: Path, child: subprocess.Popen[bytes]) -> None:
    path = tmp_path / "stack.json"
    write_state(plan, {"livekit-sip": child.pid}, path)
    rewrite(path, up=CRASHED)
    assert clean_leftovers(path) == ["livekit-sip"]
    assert child.wait(timeout=5) == -9
    assert not path.exists()


def test_another_process_with_the_same_pid_is_left_alone(
    plan: Plan, tmp_path: Path, child: subprocess.Popen[bytes]
) -> None:
    path = tmp_path / "stack.json"
    write_state(plan, {"livekit-sip": child.pid}, path)
    rewrite(path, up=CRASHED, processes={"livekit-sip": {"pid": child.pid, "started": "earlier"}})
    assert clean_leftovers(path) == []
    assert child.poll() is None


def test_a_second_stack_is_refused(plan: Plan, tmp_path: Path, child: subprocess.Popen[bytes]) -> None:
    path = tmp_path / "stack.json"
    write_state(plan, {}, path)
    identity = Identity.of(child.pid)
    assert identity is not None
    rewrite(path, up={"pid": identity.pid, "started": identity.started})
    with pytest.raises(ConfigError, match=f"a stack is running already, pid {child.pid}"):
        clean_leftovers(path)
    forget(path)
    assert path.exists(), "only the process that wrote it removes it"


def test_own_state_is_forgotten(plan: Plan, tmp_path: Path) -> None:
    path = tmp_path / "stack.json"
    write_state(plan, {"gone": 2**22 + 1}, path)
    assert read_state(path).processes == {}
    forget(path)
    assert not path.exists()


def test_folder_is_private_and_unseen_by_git(tmp_path: Path) -> None:
    make_private_folder(tmp_path / ".trunkline")
    make_private_folder(tmp_path / ".trunkline")
    assert stat.S_IMODE((tmp_path / ".trunkline").stat().st_mode) == 0o700
    assert (tmp_path / ".trunkline" / ".gitignore").read_text() == "*\n"
