"""Reads an HTTP request with templates from YAML: the `http` step of a flow, and a tool of a model."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from trunkline.agent.brains.flow import Body
from trunkline.agent.brains.http_call import MAX_TIMEOUT_S, METHODS, host_of, is_path
from trunkline.agent.brains.template import Template
from trunkline.agent.brains.yaml_reader import Reader

_HEADER = re.compile(r"[A-Za-z0-9-]{1,64}")


@dataclass(frozen=True, slots=True)
class HttpTemplate:
    """A request before its values are known."""

    method: str
    url: Template
    headers: tuple[tuple[str, Template], ...]
    body: Body
    timeout_s: float

    @staticmethod
    def checked_path(value: Reader) -> str:
        """A path into an answer's JSON. Raises ConfigError."""
        path = value.text(200)
        if not is_path(path):
            value.fail(f"{path!r} is no path", "such as order.lines[0].name")
        return path


def read_http_request(
    fields: dict[str, Reader], hosts: list[str], read_template: Callable[[Reader], Template]
) -> HttpTemplate:
    """Reads and checks `method`, `url`, `headers`, `json` and `timeout`. Raises ConfigError.

    Args:
        fields: As they stand in the file; `url` must be there.
        hosts: To which requests may go.
        read_template: Reads a text with variables.
    """
    url = fields["url"]
    template = read_template(url)
    authority = re.match(r"[a-z]+://[^/?#]*", template.text)
    if authority is not None and "{" in authority[0]:
        url.fail("url: the host can't be a variable")
    try:
        host = host_of(template.text)
    except ValueError as error:
        url.fail(f"url: {error}")
    if host not in hosts:
        url.fail(f"url: the host {host!r} is not allowed", f"allowed: {', '.join(hosts) or 'none; see allow'}")
    method = fields["method"].text().upper() if "method" in fields else "GET"
    if method not in METHODS:
        fields["method"].fail(f"method: expected one of {', '.join(METHODS)}, found {method!r}")
    headers = tuple(_header(name, value, read_template) for name, value in _pairs(fields, "headers").items())
    body = _body(fields["json"], read_template) if "json" in fields else None
    timeout_s = fields["timeout"].number(0.1, MAX_TIMEOUT_S) if "timeout" in fields else 3.0
    return HttpTemplate(method, template, headers, body, timeout_s)


def _pairs(fields: dict[str, Reader], name: str) -> dict[str, Reader]:
    return fields[name].pairs() if name in fields else {}


def _header(name: str, value: Reader, read_template: Callable[[Reader], Template]) -> tuple[str, Template]:
    if not _HEADER.fullmatch(name):
        value.fail(f"headers: {name!r} is no header's name")
    return name, read_template(value)


def _body(value: Reader, read_template: Callable[[Reader], Template]) -> Body:
    if value.is_map:
        return {name: _body(each, read_template) for name, each in value.pairs().items()}
    if not value.is_text:
        return [_body(each, read_template) for each in value.items("value")]
    plain = value.plain()
    if isinstance(plain, bool | int | float):
        return plain
    return read_template(value)
