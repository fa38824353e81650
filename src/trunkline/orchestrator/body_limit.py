"""Reads each request's body before anything else sees it: bounded in size and in time.

FastAPI reads a body before it asks who sent it, so without this anybody could fill the memory.
"""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trunkline.orchestrator.context import RefusedError

MAX_BODY_BYTES = 1_048_576
BODY_TIMEOUT_S = 10.0


class BodyLimit:
    """ASGI middleware: 413 for a body of more than 1 MiB, 408 for one that takes more than 10 s.

    Args:
        app: Gets each request with its whole body.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Takes one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                body = await _whole_body(receive)
        except TimeoutError:
            refusal = RefusedError(408, "too_slow", f"no whole body within {BODY_TIMEOUT_S:.0f} s")
            await refusal.response()(scope, receive, send)
            return
        except RefusedError as refusal:
            await refusal.response()(scope, receive, send)
            return
        if body is None:
            return
        waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def whole() -> Message:
            return waiting.pop() if waiting else await receive()

        await self._app(scope, whole, send)


async def _whole_body(receive: Receive) -> bytes | None:
    """The body; None where its sender has left. Raises RefusedError: it is too long."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            raise RefusedError(413, "too_large", f"a body has at most {MAX_BODY_BYTES} bytes")
        if not message.get("more_body", False):
            return bytes(body)
