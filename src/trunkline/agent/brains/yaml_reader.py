"""YAML that is checked while it is read: each mistake is told with its file, its line and what was expected there."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

import yaml

from trunkline.core.errors import ConfigError

MAX_FILE_BYTES = 256_000


class Reader:
    """One value of a YAML file.

    Args:
        file: Its name, for messages.
        node: As PyYAML composed it.
        what: What it is, for messages, such as "step" or "url".
    """

    def __init__(self, file: str, node: yaml.Node, what: str) -> None:
        self._file = file
        self._node = node
        self.what = what
        self.line = node.start_mark.line + 1

    def fail(self, problem: str, fix: str = "") -> NoReturn:
        """Raises ConfigError with file and line."""
        raise ConfigError(f"{self._file}:{self.line}: {problem}", fix)

    @property
    def is_text(self) -> bool:
        """True for a single value."""
        return isinstance(self._node, yaml.ScalarNode)

    @property
    def is_map(self) -> bool:
        """True for names with values."""
        return isinstance(self._node, yaml.MappingNode)

    def text(self, longest: int = 2_000) -> str:
        """A single value, as it is written there; never empty."""
        if not isinstance(self._node, yaml.ScalarNode):
            self.fail(f"{self.what}: expected text, found {self._kind()}")
        text = str(self._node.value).strip()
        if not text or self._node.tag.endswith(":null"):
            self.fail(f"{self.what}: expected text, found nothing")
        if len(text) > longest:
            self.fail(f"{self.what}: longer than {longest} characters")
        return text

    def plain(self) -> object:
        """A single value as YAML means it: text, number, true or false."""
        return yaml.safe_load(yaml.serialize(self._node)) if self.is_text else None

    def number(self, least: float, most: float) -> float:
        """A number within bounds."""
        text = self.text()
        try:
            value = float(text)
        except ValueError:
            self.fail(f"{self.what}: expected a number, found {text!r}")
        if not least <= value <= most:
            self.fail(f"{self.what}: expected {least:g} to {most:g}, found {text}")
        return value

    def flag(self) -> bool:
        """true or false."""
        text = self.text().lower()
        if text not in ("true", "false"):
            self.fail(f"{self.what}: expected true or false, found {text!r}")
        return text == "true"

    def items(self, what: str) -> list[Reader]:
        """The values of a list, of which there is at least one."""
        if not isinstance(self._node, yaml.SequenceNode) or not self._node.value:
            self.fail(f"{self.what}: expected a list, found {self._kind()}")
        return [Reader(self._file, node, what) for node in self._node.value]

    def texts(self, what: str) -> list[str]:
        """A text, or a list of them."""
        return [self.text()] if self.is_text else [each.text() for each in self.items(what)]

    def pairs(self) -> dict[str, Reader]:
        """Names with values, in order; each name once."""
        if not isinstance(self._node, yaml.MappingNode):
            self.fail(f"{self.what}: expected names with values, found {self._kind()}")
        found: dict[str, Reader] = {}
        for key, node in self._node.value:
            name = Reader(self._file, key, f"a name in {self.what}").text(100)
            if name in found:
                Reader(self._file, key, "").fail(f"{self.what}: {name!r} stands there twice")
            found[name] = Reader(self._file, node, name)
            if not found[name].is_text:
                # It begins where its name stands, though its first part may be on the next line.
                found[name].line = key.start_mark.line + 1
        return found

    def fields(self, allowed: Iterable[str], required: Iterable[str] = ()) -> dict[str, Reader]:
        """Names with values, of which only these are known."""
        allowed = list(allowed)
        found = self.pairs()
        for name, value in found.items():
            if name not in allowed:
                value.fail(f"{self.what}: {name!r} is unknown", f"known: {', '.join(allowed)}")
        for name in required:
            if name not in found:
                self.fail(f"{self.what}: {name!r} is missing")
        return found

    def _kind(self) -> str:
        if isinstance(self._node, yaml.MappingNode):
            return "names with values"
        if isinstance(self._node, yaml.SequenceNode):
            return "a list" if self._node.value else "an empty list"
        return f"{self._node.value!r}" if self._node.value else "nothing"


def read_yaml(path: Path, what: str) -> Reader:
    """Reads a file.

    Args:
        path: The file.
        what: What it is, for messages.

    Raises:
        ConfigError: it can't be read, is too long, or is no YAML; names the line.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigError(f"{path}: larger than {MAX_FILE_BYTES} bytes")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        problem = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError(f"can't read {path}: {problem}") from error
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                # They could make a short file endless.
                line = event.start_mark.line + 1 if event.start_mark is not None else 1
                raise ConfigError(f"{path}:{line}: aliases are not taken here")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else 1
        raise ConfigError(f"{path}:{line}: no YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{path}: no YAML: {str(error).splitlines()[0]}") from error
    if node is None:
        raise ConfigError(f"{path}:1: {what}: found nothing")
    return Reader(str(path), node, what)
