"""Serving an app on an address of the settings, with a clear word where that is taken."""

from __future__ import annotations

import socket
from typing import Any

import uvicorn

from trunkline.core.errors import ConfigError
from trunkline.settings import split_listen

BACKLOG = 512
GRACE_S = 3
"""How long requests under way may take after SIGTERM."""


def listen(name: str, address: str) -> socket.socket:
    """A socket that listens there.

    Args:
        name: The setting, for the error.
        address: HOST:PORT or :PORT.

    Raises:
        ConfigError: the port is taken, or the address is not ours.
    """
    host, port = split_listen(address)
    door = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        door.bind((host, port))
        door.listen(BACKLOG)
    except OSError as error:
        door.close()
        raise ConfigError(f"can't listen on {address}: {error.strerror}", f"set {name} to a free address") from error
    return door


async def serve(app: Any, door: socket.socket) -> None:
    """Serves an ASGI app until SIGTERM or Ctrl-C."""
    config = uvicorn.Config(
        app, log_config=None, access_log=False, timeout_graceful_shutdown=GRACE_S, limit_concurrency=2_000
    )
    await uvicorn.Server(config).serve(sockets=[door])
