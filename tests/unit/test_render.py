"""Templates are filled strictly: no value leaves its place, no placeholder is forgotten."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from trunkline.core.errors import ConfigError
from trunkline.stack import render as rendering
from trunkline.stack.plan import project_root
from trunkline.stack.render import PLACEHOLDERS, Kind, Value, main, parse, redis_values, render, write_private

EXAMPLES: dict[Kind, Value] = {Kind.TEXT: "text", Kind.NUMBER: 7, Kind.SWITCH: True, Kind.LIST: ["lo", "eth0"]}
ALL: dict[str, Value] = {name: EXAMPLES[kind] for name, kind in PLACEHOLDERS.items()}
ODD = "a: b # c\"'{}[]!&*%@`\\${SIP_PORT} é \U0001f600 "


@pytest.mark.parametrize("name", ["livekit.yaml", "sip.yaml"])
def test_project_templates_become_yaml_without_placeholders(name: str) -> None:
    text = (project_root() / "config" / name).read_text()
    loaded = yaml.safe_load(render(text, ALL))
    assert "${" not in str(loaded)


def test_every_known_placeholder_is_used() -> None:
    texts = [(project_root() / "config" / name).read_text() for name in ("livekit.yaml", "sip.yaml")]
    assert {name for name in PLACEHOLDERS if f"${{{name}}}" not in "".join(texts)} == set()


def test_kinds_are_what_yaml_reads() -> None:
    text = "port: ${SIP_PORT}\nlist: ${RTC_INTERFACES}\non: ${REDIS_TLS}\nkey: ${LIVEKIT_API_KEY}\n"
    values: dict[str, Value] = {**ALL, "SIP_PORT": 5060, "REDIS_TLS": False, "LIVEKIT_API_KEY": "0123"}
    assert yaml.safe_load(render(text, values)) == {
        "port": 5060,
        "list": ["lo", "eth0"],
        True: False,  # YAML 1.1 reads the key "on" so
        "key": "0123",
    }


def test_odd_characters_stay_in_their_key_and_value() -> None:
    text = "keys:\n  ${LIVEKIT_API_KEY}: ${LIVEKIT_API_SECRET}\nport: ${SIP_PORT}\n"
    filled = render(text, {"LIVEKIT_API_KEY": ODD, "LIVEKIT_API_SECRET": ODD, "SIP_PORT": 1})
    assert yaml.safe_load(filled) == {"keys": {ODD: ODD}, "port": 1}


@given(st.text())
def test_any_text_is_kept_or_refused(text: str) -> None:
    try:
        filled = render("secret: ${LIVEKIT_API_SECRET}", {"LIVEKIT_API_SECRET": text})
    except ConfigError:
        return
    assert yaml.safe_load(filled) == {"secret": text}


@pytest.mark.parametrize("text", ["a\nb: c", "\x00", "\x7f", "\x85", "\u2028x\x1b"])
def test_control_characters_are_refused_without_showing_the_value(text: str) -> None:
    with pytest.raises(ConfigError, match="LIVEKIT_API_SECRET contains a control character") as raised:
        render("s: ${LIVEKIT_API_SECRET}", {"LIVEKIT_API_SECRET": text})
    assert text not in str(raised.value)


def test_unknown_and_missing_placeholders_are_errors() -> None:
    with pytest.raises(ConfigError, match="unknown placeholder \\$\\{TYPO\\}"):
        render("a: ${TYPO}", ALL)
    with pytest.raises(ConfigError, match="no value for SIP_PORT"):
        render("a: ${SIP_PORT}", {})


def test_wrong_kind_is_an_error() -> None:
    with pytest.raises(ConfigError, match="SIP_PORT must be a number, not str"):
        render("a: ${SIP_PORT}", {"SIP_PORT": "5060"})
    with pytest.raises(ConfigError, match="SIP_PORT must be a number, not bool"):
        render("a: ${SIP_PORT}", {"SIP_PORT": True})


def test_comments_are_left_alone() -> None:
    assert render("# ${NAME} is filled in\na: 1", {}) == "# ${NAME} is filled in\na: 1\n"


def test_redis_url_in_parts() -> None:
    assert redis_values("rediss://user:p%40ss@redis.example:6380/2") == {
        "REDIS_ADDRESS": "redis.example:6380",
        "REDIS_USERNAME": "user",
        "REDIS_PASSWORD": "p@ss",
        "REDIS_DB": 2,
        "REDIS_TLS": True,
    }
    assert redis_values("redis://[::1]")["REDIS_ADDRESS"] == "[::1]:6379"


@pytest.mark.parametrize("url", ["", "http://x", "redis://", "redis://x/a", "redis://x:99999"])
def test_wrong_redis_url_is_an_error(url: str) -> None:
    with pytest.raises(ConfigError, match="REDIS_URL"):
        redis_values(url)


def test_values_from_the_environment() -> None:
    assert parse("SIP_PORT", "5060") == 5060
    assert parse("REDIS_TLS", "True") is True
    assert parse("RTC_INTERFACES", "lo, eth0,") == ["lo", "eth0"]
    assert parse("SIP_LISTEN_IP", "0.0.0.0") == "0.0.0.0"
    for name, text in (("SIP_PORT", "x"), ("SIP_PORT", "-1"), ("REDIS_TLS", "yes")):
        with pytest.raises(ConfigError, match=name):
            parse(name, text)


def test_command_renders_a_file_from_the_environment(tmp_path: Path) -> None:
    template = tmp_path / "t.yaml"
    template.write_text("redis: ${REDIS_ADDRESS}\nport: ${SIP_PORT}\n")
    filled = main([str(template)], {"REDIS_URL": "redis://redis:6379/0", "SIP_PORT": "5060"})
    assert yaml.safe_load(filled) == {"redis": "redis:6379", "port": 5060}
    with pytest.raises(ConfigError, match="usage"):
        main([], {})
    with pytest.raises(ConfigError, match="No such file"):
        main([str(tmp_path / "none.yaml")], {})


def test_private_file_is_ours_alone_and_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret.yaml"
    write_private(path, "one")
    write_private(path, "two")
    assert path.read_text() == "two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600

    class Broken:
        def __init__(self, *_: object) -> None: ...

        def replace(self, *_: object) -> None:
            raise OSError("disk full")

        def unlink(self, **_: object) -> None: ...

    monkeypatch.setattr(rendering, "Path", Broken)
    with pytest.raises(OSError, match="disk full"):
        write_private(path, "three")
    assert path.read_text() == "two"
