"""Puts random secrets into `.env`, without touching what is set there.

Uses the standard library only, so that `scripts/generate_tokens.py --init` works before anything is installed.
"""

from __future__ import annotations

import re
import secrets
from pathlib import Path

from trunkline.core.errors import ConfigError
from trunkline.stack.render import write_private

SECRETS = {
    "LIVEKIT_API_KEY": 8,
    "LIVEKIT_API_SECRET": 32,
    "ORCH_API_KEY": 24,
    "TWILIO_AUTH_TOKEN": 16,
    "SIP_TRUNK_USERNAME": 8,
    "SIP_TRUNK_PASSWORD": 24,
}
"""What must not be guessed, with its size in random bytes."""

_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?([A-Za-z_]\w*)\s*=\s*(.*)")


def fresh_secrets() -> dict[str, str]:
    """A random value for each of `SECRETS`."""
    return {name: secrets.token_hex(size) for name, size in SECRETS.items()}


def variables(text: str) -> dict[str, str]:
    """The assignments of an env file, comments left out; of several for one name the last counts."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        if match := _ASSIGNMENT.fullmatch(line):
            found[match[1]] = _plain(match[2])
    return found


def fill(text: str, values: dict[str, str]) -> tuple[str, list[str]]:
    """Gives a value to each variable that is empty or missing.

    Args:
        text: An env file.
        values: By variable; only for those without a value.

    Returns:
        The new text, and the variables that got a value.
    """
    known = variables(text)
    wanted = {name: value for name, value in values.items() if not known.get(name)}
    lines = []
    for line in text.splitlines():
        match = _ASSIGNMENT.fullmatch(line)
        lines.append(f"{match[1]}={wanted[match[1]]}" if match and match[1] in wanted else line)
    lines += [f"{name}={value}" for name, value in wanted.items() if name not in known]
    return "\n".join(lines) + "\n", list(wanted)


def init(path: Path, example: Path) -> list[str]:
    """Fills the secrets that are not set, and makes the file readable by us alone.

    Args:
        path: The env file; made from `example` where it is missing.
        example: `.env.example`.

    Returns:
        The variables that were set.

    Raises:
        ConfigError: neither can be read, or `path` can't be written.
    """
    target = path.resolve()  # a link stays a link
    source = target if target.exists() else example
    try:
        text, names = fill(source.read_text(), fresh_secrets())
        write_private(target, text)
    except (OSError, UnicodeDecodeError) as error:
        problem = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError(f"{path}, from {source}: {problem}", "run it in the checkout") from error
    return names


def report(path: Path, names: list[str]) -> str:
    """One line about what `init` did; it shows no secret."""
    return f"{path}: set {', '.join(names)}" if names else f"{path}: every secret is set already"


def _plain(value: str) -> str:
    """A value without its quotes or its comment."""
    value = value.strip()
    if value[:1] in ("'", '"'):
        return value[1:].partition(value[0])[0]
    return re.split(r"(?:^|\s)#", value, maxsplit=1)[0].strip()
