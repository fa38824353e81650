"""Keeps other people's web pages away from the collector, which asks nobody who they are.

A page elsewhere may have its own name point at this machine (DNS rebinding), and would then read everything: so a name
in `Host` must be one that nobody outside can own. It may also post here without reading the answer: so what comes
from a page must come from ours.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send


class HostGuard:
    """Refuses requests under foreign names and from foreign pages.

    Addresses are good, and so are names without a dot, such as localhost or a service's in Compose and Kubernetes.

    Args:
        app: What it guards.
        allowed: More names; ".example.com" is any name that ends so.
    """

    def __init__(self, app: ASGIApp, allowed: Iterable[str] = ()) -> None:
        self._app = app
        self._allowed = tuple(name.lower() for name in allowed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The guarded app."""
        problem = self._problem(Headers(scope=scope)) if scope["type"] == "http" else ""
        if problem:
            await JSONResponse({"error": problem}, 421 if problem.startswith("Host") else 403)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _problem(self, headers: Headers) -> str:
        host = headers.get("host", "")
        if host and not self._is_ours(host):
            return "Host: not a name of this collector; METRICS_ALLOWED_HOSTS may name it"
        origin = headers.get("origin")
        if origin is not None and _host_of(origin) != host.lower():
            return "Origin: not this collector's page"
        return ""

    def _is_ours(self, host: str) -> bool:
        name = _name_of(host)
        if name is None:
            return False
        if "." not in name or _is_address(name):
            return True
        return any(name == each or (each.startswith(".") and name.endswith(each)) for each in self._allowed)


def _host_of(origin: str) -> str | None:
    """Host and port of an Origin, None where it has none."""
    try:
        return urlsplit(origin).netloc.lower() or None
    except ValueError:
        return None


def _name_of(host: str) -> str | None:
    """A Host header without its port, in lower case."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".") or None
    except ValueError:
        return None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
