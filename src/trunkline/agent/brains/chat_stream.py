"""The stream of chat completions as OpenAI made it, and most servers of models speak it: text and calls of tools.

Closing the stream closes its connection, so that the server stops to generate.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from trunkline.core.errors import (
    RemoteProtocolError,
    UpstreamRejectedError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
)

MAX_STREAM_BYTES = 1_000_000
CONNECT_S = 3.0


@dataclass(slots=True)
class ToolCall:
    """A call that the model asks for; its arguments are JSON, complete only when the stream has ended."""

    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class ChatModel:
    """Where the model is.

    Args:
        http: Sends.
        url: Up to before `/chat/completions`, such as https://api.openai.com/v1.
        model: Its name there.
        key: Of the API; empty for none.
        token_s: Longest silence of the stream, in seconds.
    """

    http: httpx.AsyncClient
    url: str
    model: str
    key: str = field(default="", repr=False)
    token_s: float = 5.0

    async def stream(
        self, messages: list[dict[str, Any]], tools: list[dict[str, Any]], calls: list[ToolCall]
    ) -> AsyncIterator[str]:
        """Yields pieces of text.

        Args:
            messages: The conversation so far.
            tools: What the model may call.
            calls: Filled with the calls that it asks for.

        Raises:
            UpstreamError: refused, not there, or silent for too long.
            RemoteProtocolError: what comes is no such stream.
        """
        body: dict[str, Any] = {"model": self.model, "messages": messages, "stream": True}
        if tools:
            body["tools"] = tools
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        limits = httpx.Timeout(self.token_s, connect=CONNECT_S)
        url = f"{self.url.rstrip('/')}/chat/completions"
        try:
            async with self.http.stream("POST", url, json=body, headers=headers, timeout=limits) as response:
                if response.status_code != 200:
                    raise UpstreamRejectedError("llm", f"status {response.status_code}")
                async for text in _texts(response, calls):
                    yield text
        except httpx.TimeoutException as error:
            raise UpstreamTimeoutError("llm", f"silent for {self.token_s:g} s") from error
        except httpx.HTTPError as error:
            raise UpstreamUnavailableError("llm", type(error).__name__) from error


async def _texts(response: httpx.Response, calls: list[ToolCall]) -> AsyncIterator[str]:
    received = 0
    async for line in response.aiter_lines():
        received += len(line)
        if received > MAX_STREAM_BYTES:
            raise RemoteProtocolError(f"llm: more than {MAX_STREAM_BYTES} bytes")
        name, _, data = line.partition(":")
        if name != "data":
            continue
        if data.strip() == "[DONE]":
            return
        delta = _delta(data)
        for part in delta.get("tool_calls") or []:
            _add(calls, part)
        if text := delta.get("content"):
            yield str(text)
    raise RemoteProtocolError("llm: the stream was cut")


def _delta(data: str) -> dict[str, Any]:
    """What one event adds; nothing where it only tells statistics."""
    try:
        event = json.loads(data)
        if event.get("error"):
            raise UpstreamRejectedError("llm", "an error in the middle of the stream")
        choices = event.get("choices") or []
        return dict(choices[0].get("delta") or {}) if choices else {}
    except (ValueError, AttributeError, TypeError, KeyError, IndexError, RecursionError) as error:
        raise RemoteProtocolError("llm: an event that is none") from error


def _add(calls: list[ToolCall], part: Any) -> None:
    try:
        index = int(part.get("index", len(calls)))
        if not 0 <= index <= len(calls) or index >= 16:
            raise RemoteProtocolError("llm: a tool call out of order")
        if index == len(calls):
            calls.append(ToolCall())
        function = part.get("function") or {}
        call = calls[index]
        call.id = call.id or str(part.get("id") or "")
        call.name += str(function.get("name") or "")
        call.arguments += str(function.get("arguments") or "")
    except (AttributeError, TypeError, ValueError) as error:
        raise RemoteProtocolError("llm: a tool call that is none") from error
