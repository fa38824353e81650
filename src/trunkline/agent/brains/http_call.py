"""HTTP for scripts and tools: only to hosts that are allowed, within a time limit, with a bounded answer."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx

MAX_ANSWER_BYTES = 65_536
MAX_TIMEOUT_S = 5.0
"""Less than a brain may think (`Patience`): its own error branch comes first."""
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")

_PATH = re.compile(r"(?:[^.\[\]]+|\[\d{1,6}\])(?:\.[^.\[\]]+|\[\d{1,6}\])*")
_STEP = re.compile(r"([^.\[\]]+)|\[(\d{1,6})\]")


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request, complete.

    Args:
        method: One of METHODS.
        url: http or https; no redirect is followed.
        headers: Beside the usual ones.
        body: Sent as JSON; None: nothing.
        timeout_s: For all of it, in seconds.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    timeout_s: float = 3.0


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What came back.

    Args:
        status: HTTP status; 0 where nothing came back.
        body: The answer's JSON, its text where it is none, or None.
        problem: Why it is of no use; empty for a status of 200 to 299.
    """

    status: int
    body: Any = None
    problem: str = ""


def host_of(url: str) -> str:
    """HOST or HOST:PORT of an http or https URL. Raises ValueError for every other, and for one with a password."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise ValueError("expected http://HOST/… or https://HOST/…")
    default = {"http": 80, "https": 443}[parts.scheme]
    port = parts.port
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return host if port in (None, default) else f"{host}:{port}"


async def call_http(client: httpx.AsyncClient, request: HttpRequest) -> HttpAnswer:
    """Sends a request; every failure is an answer with a problem."""
    try:
        async with (
            asyncio.timeout(request.timeout_s),
            client.stream(
                request.method,
                request.url,
                headers=dict(request.headers),
                json=request.body,
                timeout=request.timeout_s,
                follow_redirects=False,
            ) as response,
        ):
            content = bytearray()
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > MAX_ANSWER_BYTES:
                    return HttpAnswer(response.status_code, None, f"more than {MAX_ANSWER_BYTES} bytes")
    except (TimeoutError, httpx.TimeoutException):
        return HttpAnswer(0, None, f"no answer within {request.timeout_s:g} s")
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        return HttpAnswer(0, None, type(error).__name__)
    problem = "" if response.is_success else f"status {response.status_code}"
    return HttpAnswer(response.status_code, _read(bytes(content)), problem)


def _read(content: bytes) -> Any:
    text = content.decode("utf-8", "replace")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def is_path(path: str) -> bool:
    """True for a path that `find` understands."""
    return _PATH.fullmatch(path) is not None


def find(body: Any, path: str) -> Any:
    """What stands at a path such as `order.lines[0].name`. Raises LookupError where there is nothing."""
    for name, index in _STEP.findall(path):
        if index:
            if not isinstance(body, list):
                raise LookupError(path)
            body = body[int(index)]
        else:
            if not isinstance(body, dict):
                raise LookupError(path)
            body = body[name]
    if body is None:
        raise LookupError(path)
    return body
