""".env.example and the settings know the same variables, and a fresh copy works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from trunkline.settings import Settings
from trunkline.stack.env_file import SECRETS, fill, fresh_secrets, variables
from trunkline.stack.render import PLACEHOLDERS

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / ".env.example").read_text()
VALUES = variables(TEXT)
BRIEF = [
    "LIVEKIT_API_KEY",
    "LIVEKIT_API_SECRET",
    "LIVEKIT_HOST",
    "ORCH_LISTEN",
    "STT_PROVIDER",
    "STT_API_KEY",
    "TTS_PROVIDER",
    "TTS_API_KEY",
    "REDIS_URL",
    "METRICS_ENDPOINT",
    "LOG_LEVEL",
]
PER_WORKER = {"WORKER_ID"}
"""Not for .env, which all workers share."""
COMPOSE_ONLY = {"HTTP_BIND", "MEDIA_BIND", "PIPECAT_EXTRAS"}
IN_COMPOSE = {
    "LIVEKIT_HOST": "ws://livekit:7880",
    "REDIS_URL": "redis://redis:6379/0",
    "ORCH_URL": "http://orchestrator:8000",
    "METRICS_ENDPOINT": "http://metrics:9100/ingest",
}


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VALUES:
        monkeypatch.delenv(name, raising=False)


def test_begins_with_the_variables_of_the_brief_in_its_order() -> None:
    assert list(VALUES)[: len(BRIEF)] == BRIEF


def test_each_variable_stands_there_once() -> None:
    names = re.findall(r"^(\w+)=", TEXT, re.MULTILINE)
    assert sorted(names) == sorted(set(names))


def test_every_setting_is_there_and_nothing_else() -> None:
    settings = {name.upper() for name in Settings.model_fields} - PER_WORKER
    servers = VALUES.keys() & PLACEHOLDERS.keys()
    assert VALUES.keys() - servers - COMPOSE_ONLY - settings == set()
    assert settings - VALUES.keys() == set()


def test_each_of_our_own_variables_is_explained() -> None:
    """By a comment above it, or above its neighbour."""
    ours = TEXT.partition("LOG_LEVEL=INFO\n")[2].strip()
    for block in ours.split("\n\n"):
        lines = [line for line in block.splitlines() if not line.startswith("# ---")]
        assert lines[0].startswith("# "), block


def test_values_are_the_defaults_but_for_addresses_inside_compose() -> None:
    settings = Settings(_env_file=ROOT / ".env.example")
    default = Settings(_env_file=None)
    changed = {
        name.upper(): getattr(settings, name)
        for name in Settings.model_fields
        if name != "worker_id" and getattr(settings, name) != getattr(default, name)
    }
    assert changed == IN_COMPOSE


def test_no_secret_is_in_it() -> None:
    keys = SECRETS.keys() | {"STT_API_KEY", "TTS_API_KEY"}
    assert {name: VALUES[name] for name in keys} == dict.fromkeys(keys, "")


def test_after_init_nothing_is_missing() -> None:
    text, _ = fill(TEXT, fresh_secrets())
    filled = variables(text)
    settings = Settings(_env_file=None, **{name.lower(): value for name, value in filled.items() if value})
    settings.require(*(name.lower() for name in SECRETS))


@pytest.mark.parametrize("name", ["docker-compose.yml", "docker-compose.host.yml"])
def test_compose_asks_for_nothing_else(name: str) -> None:
    """What is interpolated, or passed on without a value, is in .env.example."""
    text = (ROOT / name).read_text()
    interpolated = set(re.findall(r"(?<!\$)\$\{(\w+)", text))
    passed_on = set(re.findall(r"^\s+([A-Z][A-Z0-9_]+):$", text, re.MULTILINE))
    assert (interpolated | passed_on) - VALUES.keys() == set()
