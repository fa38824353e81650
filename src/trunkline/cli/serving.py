"""Serving an app on an address of the settings, with a clear word where that is taken."""

from __future__ import annotations

import signal
import socket
from typing import Any

import uvicorn

from trunkline.core.errors import ConfigError
from trunkline.settings import split_listen

BACKLOG = 512
GRACE_S = 3
"""How long requests under way may take after SIGTERM."""
WS_PING_S = 5.0
"""How often a WebSocket's other end is asked for a sign of life, and how long it may take for it."""
WS_MAX_BYTES = 65_536


def listen(name: str, address: str, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
    """A socket that listens there.

    Args:
        name: The setting, for the error.
        address: HOST:PORT or :PORT.
        kind: Streams, or datagrams; those come to a socket that does not block.

    Raises:
        ConfigError: the port is taken, or the address is not ours.
    """
    host, port = split_listen(address)
    try:
        family, *_, found = socket.getaddrinfo(host.strip("[]"), port, type=kind)[0]
        door = socket.socket(family, kind)
        try:
            if kind is socket.SOCK_STREAM:
                # After a restart, connections of before may linger; with datagrams it would let two share a port.
                door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                door.bind(found)
                door.listen(BACKLOG)
            else:
                door.setblocking(False)
                door.bind(found)
        except OSError:
            door.close()
            raise
    except OSError as error:
        raise ConfigError(f"can't listen on {address}: {error.strerror}", f"set {name} to a free address") from error
    return door


async def serve(app: Any, door: socket.socket) -> None:
    """Serves an ASGI app until SIGTERM or Ctrl-C."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=GRACE_S,
        limit_concurrency=2_000,
        ws_ping_interval=WS_PING_S,
        ws_ping_timeout=WS_PING_S,
        ws_max_size=WS_MAX_BYTES,
        ws_per_message_deflate=False,
    )
    server = uvicorn.Server(config)
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn takes these over while it serves, and raises them again afterwards: whoever called this has still
        # to put things in order then.
        signal.signal(number, server.handle_exit)
    await server.serve(sockets=[door])
