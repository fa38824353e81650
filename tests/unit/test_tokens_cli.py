"""`trunkline tokens` mints what LiveKit accepts, and shows no secret unless asked for secrets."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import jwt
import pytest
from typer.testing import CliRunner

from trunkline.cli.tokens import app
from trunkline.core.errors import ConfigError
from trunkline.stack.env_file import SECRETS, fill, fresh_secrets, init, variables

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
KEY, SECRET = "key-of-the-test", "secret-of-the-test-with-more-than-32-characters"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with .env.example, and a LiveKit key in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LIVEKIT_API_KEY", KEY)
    monkeypatch.setenv("LIVEKIT_API_SECRET", SECRET)
    monkeypatch.setenv("LIVEKIT_HOST", "http://livekit.example:7880")
    (tmp_path / ".env.example").write_text((ROOT / ".env.example").read_text())
    return tmp_path


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert SECRET not in result.output
    return result.output


def claims(token: str) -> dict[str, object]:
    return jwt.decode(token, SECRET, algorithms=["HS256"], issuer=KEY)


@pytest.mark.usefixtures("folder")
def test_a_caller_may_join_one_room_for_60_s() -> None:
    found = claims(run("--room", "room-test", "--identity", "caller-1").strip())
    assert found["sub"] == "caller-1"
    assert found["video"] == {
        "roomJoin": True,
        "room": "room-test",
        "canPublish": True,
        "canPublishSources": ["microphone"],
        "canSubscribe": True,
        "canPublishData": True,
        "agent": False,
    }
    assert 50 <= float(str(found["exp"])) - time.time() <= 61


@pytest.mark.usefixtures("folder")
def test_an_agent_is_marked_as_one() -> None:
    found = claims(run("--role", "agent", "--room", "room-test").strip())
    assert found["kind"] == "agent"
    assert isinstance(found["video"], dict)
    assert found["video"]["agent"] is True
    assert str(found["sub"]).startswith("agent-")


@pytest.mark.usefixtures("folder")
def test_json_tells_where_to_join() -> None:
    shown = json.loads(run("--room", "room-test", "--identity", "me", "--ttl", "5", "--json"))
    assert 0 <= float(str(claims(shown.pop("token"))["exp"])) - time.time() <= 6
    assert shown == {
        "url": "ws://livekit.example:7880",
        "room": "room-test",
        "identity": "me",
        "role": "caller",
        "expires_in_s": 5.0,
    }


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    "arguments", [[], ["--room", "x" * 129], ["--room", "a\nb"], ["--room", "r", "--identity", "\0"]]
)
def test_a_room_or_identity_that_can_not_be_is_refused(arguments: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"--(room|identity)"):
        CliRunner().invoke(app, arguments, catch_exceptions=False)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("ttl", ["0", "601", "-1", "soon"])
def test_a_ttl_that_can_not_be_is_refused(ttl: str) -> None:
    result = CliRunner().invoke(app, ["--room", "r", "--ttl", ttl])
    assert result.exit_code == 2


@pytest.mark.usefixtures("folder")
def test_without_a_key_the_missing_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIVEKIT_API_SECRET")
    with pytest.raises(ConfigError, match="LIVEKIT_API_SECRET"):
        CliRunner().invoke(app, ["--room", "r"], catch_exceptions=False)


@pytest.mark.usefixtures("folder")
def test_secrets_are_fresh_each_time_and_fit_the_env_file() -> None:
    first, second = variables(run("--secrets")), variables(run("--secrets"))
    assert first.keys() == second.keys() == SECRETS.keys()
    assert not set(first.values()) & set(second.values())
    assert len(first["LIVEKIT_API_SECRET"]) >= 32  # livekit-server refuses shorter ones


def test_init_makes_a_private_env_file_and_shows_no_secret(folder: Path) -> None:
    output = run("--init")
    found = variables((folder / ".env").read_text())
    assert all(found[name] for name in SECRETS)
    assert not [name for name in SECRETS if found[name] in output]
    assert stat.S_IMODE((folder / ".env").stat().st_mode) == 0o600
    assert found.keys() == variables((folder / ".env.example").read_text()).keys()


def test_init_changes_nothing_that_is_set(folder: Path) -> None:
    env_file = folder / ".env"
    env_file.write_text("# mine\nLIVEKIT_API_KEY=mine\nexport ORCH_API_KEY='it is # mine'\nREPLY_ON=final\n")
    env_file.chmod(0o644)
    init(env_file, folder / ".env.example")
    text = env_file.read_text()
    found = variables(text)
    assert text.startswith("# mine\nLIVEKIT_API_KEY=mine\nexport ORCH_API_KEY='it is # mine'\nREPLY_ON=final\n")
    assert found["ORCH_API_KEY"] == "it is # mine"
    assert all(found[name] for name in SECRETS)
    assert stat.S_IMODE(env_file.stat().st_mode) == 0o600
    assert init(env_file, folder / ".env.example") == []
    assert env_file.read_text() == text


def test_init_follows_a_link(folder: Path) -> None:
    (folder / "elsewhere").write_text("")
    (folder / ".env").symlink_to(folder / "elsewhere")
    init(folder / ".env", folder / ".env.example")
    assert (folder / ".env").is_symlink()
    assert variables((folder / "elsewhere").read_text())["ORCH_API_KEY"]


def test_init_without_any_file_says_which_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\.env\.example"):
        init(tmp_path / ".env", tmp_path / ".env.example")


@pytest.mark.parametrize("empty", ["A=", "A= ", 'A=""', "A=''", "A=  # none", "export A=", "A=x\nA="])
def test_what_is_empty_is_filled(empty: str) -> None:
    text, names = fill(empty, {"A": "new"})
    assert names == ["A"]
    assert variables(text) == {"A": "new"}


def test_fresh_secrets_are_long_enough() -> None:
    assert {name for name, value in fresh_secrets().items() if len(value) < 16} == set()


def test_the_script_inits_without_any_package(tmp_path: Path) -> None:
    """With an isolated interpreter that has no third-party packages."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "generate_tokens.py").write_bytes((ROOT / "scripts" / "generate_tokens.py").read_bytes())
    (tmp_path / "src").symlink_to(ROOT / "src")
    (tmp_path / ".env.example").write_text("LIVEKIT_API_KEY=\n")
    done = subprocess.run(
        [sys.executable, "-I", "-S", tmp_path / "scripts" / "generate_tokens.py", "--init"],
        check=False,
        capture_output=True,
        text=True,
        timeout=15,
        env={"PATH": os.defpath},
    )
    assert done.returncode == 0, done.stderr
    assert variables((tmp_path / ".env").read_text()).keys() == SECRETS.keys()
