"""Text with variables, such as "Order {order} is {status}.": substitution, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
MAX_VALUE_CHARS = 1_000

_PLACE = re.compile(r"\{([^{}]*)\}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")


class TemplateError(ValueError):
    """A template is not well formed; says how."""


@dataclass(frozen=True, slots=True)
class Template:
    """A text whose {names} stand for variables.

    Args:
        text: As it is written.

    Raises:
        TemplateError: a brace without its partner, or a name that can be none.
    """

    text: str

    def __post_init__(self) -> None:
        for name in self.names():
            if not NAME.fullmatch(name):
                raise TemplateError(f"{{{name}}} is no variable: a to z, 0 to 9 and _")
        if set(_PLACE.sub("", self.text)) & set("{}"):
            raise TemplateError("a brace without its partner")

    def names(self) -> list[str]:
        """The variables in it."""
        return _PLACE.findall(self.text)

    def fill(self, values: Mapping[str, str]) -> str:
        """The text with the variables' values; what a value contains is never looked at again."""
        return _PLACE.sub(lambda place: values.get(place[1], ""), self.text)

    def fill_url(self, values: Mapping[str, str]) -> str:
        """The same, with every value quoted: none can add a path, a query or a host."""
        return _PLACE.sub(lambda place: quote(values.get(place[1], ""), safe=""), self.text)


def clean(value: object) -> str:
    """A value as a variable may hold it: one line of text, bounded."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return _CONTROL.sub(" ", text)[:MAX_VALUE_CHARS].strip()
