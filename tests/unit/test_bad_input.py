"""What is wrong with a setting or an option is told in one clear line, before anything is started."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from trunkline.agent.orchestrator_client import OrchestratorClient
from trunkline.agent.pipeline.stt import check_providers
from trunkline.cli import call, call_report, checks, main, tokens
from trunkline.cli.call_report import CallReport
from trunkline.core.errors import ConfigError
from trunkline.loadtest.load_test import new_folder
from trunkline.loadtest.verdict import CallResult, TurnRow
from trunkline.settings import load_settings

pytestmark = pytest.mark.unit

KEYS = {"livekit_api_key": "key", "livekit_api_secret": "secret" * 6, "twilio_sip_ingress_host": "sip.example"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without a .env."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("value", ["orchestrator:8000", "ftp://host", "http://", "http://host:port", "http://host:0"])
def test_an_orchestrator_without_a_web_address_is_refused(value: str) -> None:
    """A worker would otherwise register, and fail every call that it is offered."""
    with pytest.raises(ConfigError, match=r"^ORCH_URL: '.*' is not http://HOST:PORT"):
        load_settings(orch_url=value)


@pytest.mark.parametrize("value", ["http://orchestrator:8000", "https://voice.example/trunkline", "http://[::1]:8000"])
def test_web_addresses_are_taken(value: str) -> None:
    assert load_settings(orch_url=value, orch_public_url=value).public_url == value


def test_an_unknown_brain_is_an_error_at_start() -> None:
    with pytest.raises(ConfigError, match="BRAIN='parrot' is unknown"):
        check_providers(load_settings(brain="parrot"))


def test_a_list_of_phrases_that_is_not_there_is_named_once(folder: Path) -> None:
    with pytest.raises(ConfigError) as error:
        check_providers(load_settings(stt_phrases=folder / "none.txt"))
    assert str(error.value) == f"STT_PHRASES: can't read {folder}/none.txt: No such file or directory"


@pytest.mark.parametrize("value", ["http://u:hidden@redis:6379", "nonsense", "redis://", "redis://u:hidden@redis:abc"])
def test_a_redis_url_that_is_none_is_not_shown_with_its_password(value: str) -> None:
    with pytest.raises(ConfigError, match=r"^REDIS_URL: not redis://") as error:
        load_settings(redis_url=value)
    assert "hidden" not in str(error.value)


@pytest.mark.parametrize("value", ["redis://redis:6379/0", "rediss://:pw@redis", "unix:///run/redis.sock"])
def test_redis_urls_are_taken(value: str) -> None:
    assert load_settings(redis_url=value).redis_url == value


@pytest.mark.parametrize("value", ["host:abc", "sip.example/x", "sip.example?a=b", "user@sip.example", "sip example"])
def test_a_sip_host_that_would_be_another_uri_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match=r"^TWILIO_SIP_INGRESS_HOST: "):
        load_settings(twilio_sip_ingress_host=value)


def test_a_worker_id_that_would_be_another_path_is_refused() -> None:
    with pytest.raises(ConfigError, match="WORKER_ID: String should match"):
        load_settings(worker_id="a/../b")


def test_an_env_file_of_bytes_is_named(folder: Path) -> None:
    (folder / ".env").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"^\.env can't be read: not UTF-8 text"):
        load_settings()


def test_tasks_that_fail_side_by_side_are_one_line(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    group = ExceptionGroup("", [ExceptionGroup("", [ConfigError("no voice", "install one")]), ConfigError("other")])
    monkeypatch.setattr(main, "app", raising(group))
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert (ended.value.code, capsys.readouterr().err) == (1, "trunkline: no voice (install one)\n")


def test_a_bug_among_failed_tasks_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main, "app", raising(ExceptionGroup("", [ConfigError("no voice"), KeyError("bug")])))
    with pytest.raises(ExceptionGroup):
        main.main()


def raising(error: Exception) -> Callable[[], None]:
    def app() -> None:
        raise error

    return app


@pytest.mark.parametrize(
    ("host", "address", "words"),
    [
        ("127.0.0.1", "127.0.0.1", "127.0.0.1 can't be reached by Twilio; simulated calls can use it"),
        ("sip.lan", "10.0.0.9", "sip.lan is 10.0.0.9, which can't be reached by Twilio; simulated calls can use it"),
        ("sip.example", "8.8.8.8", "sip.example is 8.8.8.8, which is no address of this machine"),
    ],
)
def test_the_doctor_says_where_twilio_would_dial(host: str, address: str, words: str) -> None:
    assert checks._reachable_by_twilio(host, address).detail == words


async def test_workers_reach_their_orchestrator_past_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP_PROXY is for the world outside; a client that heeds it knows one more transport."""
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    client = OrchestratorClient(load_settings(**KEYS))
    assert not client._client().trust_env
    await client.close()


def test_an_agent_without_a_key_says_only_that() -> None:
    """Pipecat greets when it is imported; in a format of its own, if the logs are not set up yet."""
    code = "from trunkline.cli.main import main; main()"
    arguments = [sys.executable, "-c", code, "agent"]
    ended = subprocess.run(arguments, env={}, capture_output=True, text=True, check=False, timeout=15)
    assert ended.returncode == 1
    assert ended.stderr.splitlines() == ["trunkline: LIVEKIT_API_KEY, LIVEKIT_API_SECRET not set "
                                         "(set in the environment or in .env; see .env.example)"]  # fmt: skip


def test_every_run_has_a_folder_of_its_own(folder: Path) -> None:
    assert len({new_folder(folder / "some runs") for _ in range(3)}) == 3


def test_a_folder_that_can_not_be_made_is_a_wrong_option(folder: Path) -> None:
    (folder / "file").write_text("")
    with pytest.raises(ConfigError, match=r"^--out .*file: Not a directory"):
        new_folder(folder / "file")


@pytest.mark.parametrize("sentence", ["", "  ", "---", "x" * 301])
def test_only_what_can_be_said_is_said(sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call, "configure_logs", lambda *_: None)
    result = CliRunner().invoke(call.app, ["--say", sentence])
    assert isinstance(result.exception, ConfigError)


def test_a_token_without_a_room_names_the_option() -> None:
    result = CliRunner().invoke(tokens.app, [])
    assert str(result.exception).startswith("--room is not given")


def test_words_in_brackets_are_printed_as_they_are() -> None:
    """They are no mark-up of the terminal, whoever said them."""
    row = TurnRow(1, 1, "[/b] [red]one", "two [/i]", "three [dim]", {}, None, None, None, None, None, "", False)
    console = Console(file=io.StringIO(), width=200)
    call_report.print_call(console, CallReport(CallResult("CA1", 1, problem="four [/b]"), None, [], [row]))
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert all(words in printed for words in ("[/b] [red]one", "two [/i]", "three [dim]", "four [/b]"))
