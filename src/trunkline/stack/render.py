"""Fills the `${NAME}` placeholders of `config/*.yaml`, strictly.

In: a template and values, from `stack/plan.py` or from the environment. Out: YAML in which no value can break out of
its place. Compose and Helm render with `python -m trunkline.stack.render TEMPLATE`, which reads the values from the
environment and writes to standard output.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from urllib.parse import unquote, urlsplit

from trunkline.core.errors import ConfigError, TrunklineError

Value = str | int | bool | list[str]


class Kind(Enum):
    """How a value is written: what YAML shall read it as."""

    TEXT = str
    NUMBER = int
    SWITCH = bool
    LIST = list


PLACEHOLDERS: dict[str, Kind] = {
    "LIVEKIT_PORT": Kind.NUMBER,
    "LIVEKIT_BIND_ADDRESSES": Kind.LIST,
    "LIVEKIT_API_KEY": Kind.TEXT,
    "LIVEKIT_API_SECRET": Kind.TEXT,
    "LIVEKIT_WS_URL": Kind.TEXT,
    "LIVEKIT_WEBHOOK_URL": Kind.TEXT,
    "LIVEKIT_LOG_LEVEL": Kind.TEXT,
    "REDIS_ADDRESS": Kind.TEXT,
    "REDIS_USERNAME": Kind.TEXT,
    "REDIS_PASSWORD": Kind.TEXT,
    "REDIS_DB": Kind.NUMBER,
    "REDIS_TLS": Kind.SWITCH,
    "RTC_UDP_PORT": Kind.NUMBER,
    "RTC_TCP_PORT": Kind.NUMBER,
    "RTC_NODE_IP": Kind.TEXT,
    "RTC_INTERFACES": Kind.LIST,
    "SIP_PORT": Kind.NUMBER,
    "SIP_LISTEN_IP": Kind.TEXT,
    "SIP_RTP_PORTS": Kind.TEXT,
    "SIP_LOCAL_NET": Kind.TEXT,
    "SIP_PUBLIC_IP": Kind.TEXT,
    "SIP_CODEC_G722": Kind.SWITCH,
    "SIP_CODEC_PCMU": Kind.SWITCH,
    "SIP_CODEC_PCMA": Kind.SWITCH,
    "SIP_JITTER_BUFFER": Kind.SWITCH,
}

_PLACEHOLDER = re.compile(r"\$\{([^}]*)\}")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(template: str, values: Mapping[str, Value]) -> str:
    """The template with its placeholders filled in; comments are left alone.

    Args:
        template: YAML with `${NAME}` as whole keys or values.
        values: One for each placeholder, of the type that `PLACEHOLDERS` says; more are allowed.

    Raises:
        ConfigError: a placeholder that is unknown or has no value, or a value of the wrong kind.
    """

    def fill(match: re.Match[str]) -> str:
        name = match[1]
        if name not in PLACEHOLDERS:
            raise ConfigError(f"unknown placeholder ${{{name}}}", "see PLACEHOLDERS in trunkline/stack/render.py")
        if name not in values:
            raise ConfigError(f"no value for {name}")
        return _as_yaml(name, values[name])

    lines = [line if line.lstrip().startswith("#") else _PLACEHOLDER.sub(fill, line) for line in template.splitlines()]
    return "\n".join(lines) + "\n"


def _as_yaml(name: str, value: Value) -> str:
    kind = PLACEHOLDERS[name]
    if type(value) is not kind.value:
        raise ConfigError(f"{name} must be a {kind.name.lower()}, not {type(value).__name__}")
    for text in value if isinstance(value, list) else [value]:
        if isinstance(text, str) and _UNPRINTABLE.search(text):
            raise ConfigError(f"{name} contains a control character")
    # JSON is YAML, quotes and all; escapes beyond ASCII differ between the two, so there are none.
    return json.dumps(value, ensure_ascii=False)


def parse(name: str, text: str) -> Value:
    """A placeholder's value from an environment variable: lists are separated by commas, switches are true or false.

    Raises:
        ConfigError: the text is no value of the placeholder's kind.
    """
    kind = PLACEHOLDERS[name]
    if kind is Kind.NUMBER:
        if not text.isdecimal():
            raise ConfigError(f"{name}={text!r} is not a number")
        return int(text)
    if kind is Kind.SWITCH:
        if text.lower() not in ("true", "false"):
            raise ConfigError(f"{name}={text!r} is neither true nor false")
        return text.lower() == "true"
    if kind is Kind.LIST:
        return [part.strip() for part in text.split(",") if part.strip()]
    return text


def redis_values(url: str) -> dict[str, Value]:
    """The parts of a Redis URL, as the templates want them.

    Raises:
        ConfigError: not a redis:// or rediss:// URL.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or 6379
    except ValueError as error:
        raise ConfigError(f"REDIS_URL has a wrong port: {error}") from error
    path = parts.path.strip("/") or "0"
    if parts.scheme not in ("redis", "rediss") or not parts.hostname or not path.isdecimal():
        raise ConfigError("REDIS_URL is not redis://[user:password@]host[:port][/number]")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return {
        "REDIS_ADDRESS": f"{host}:{port}",
        "REDIS_USERNAME": unquote(parts.username or ""),
        "REDIS_PASSWORD": unquote(parts.password or ""),
        "REDIS_DB": int(path),
        "REDIS_TLS": parts.scheme == "rediss",
    }


def write_private(path: Path, text: str) -> None:
    """Writes a file that only we can read, whole or not at all."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # made with mode 0600
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def main(arguments: list[str], environment: Mapping[str, str]) -> str:
    """The rendered template named by the only argument.

    Raises:
        ConfigError: wrong arguments, no such file, or what `render` says.
    """
    if len(arguments) != 1:
        raise ConfigError("usage: python -m trunkline.stack.render config/livekit.yaml")
    try:
        template = Path(arguments[0]).read_text()
    except OSError as error:
        raise ConfigError(f"{arguments[0]}: {error.strerror}") from error
    values = redis_values(environment["REDIS_URL"]) if environment.get("REDIS_URL") else {}
    values |= {name: parse(name, environment[name]) for name in PLACEHOLDERS if name in environment}
    return render(template, values)


if __name__ == "__main__":
    try:
        sys.stdout.write(main(sys.argv[1:], os.environ))
    except TrunklineError as error:
        sys.exit(f"trunkline: {error}")
