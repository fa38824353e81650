"""An emulated chat model: the stream of OpenAI's chat completions, which many other servers speak, too.

`POST /v1/chat/completions` with `stream: true` gives server-sent events with one word each, the first a set time after
the request; without `stream`, one answer. It says back the caller's last words, as the echo brain does, so that load
tests recognize their numbers. Left out: tools, images, more than one choice.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from typing import Any

from aiohttp import web

from trunkline.emulators.behaviour import Fault, Luck
from trunkline.emulators.connection import GARBAGE, LABEL, cut, handshake_fault, refusal

STALL_S = 120.0
"""How long a stalled stream stays open, unless its client goes."""
NOT_UNDERSTOOD = "Sorry, I did not understand that."
REFUSALS = {
    400: ("invalid_request_error", "invalid_request", "Not a chat request: model and messages are required."),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    402: ("insufficient_quota", "insufficient_quota", "You exceeded your current quota."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached."),
    503: ("server_error", "overloaded", "Unavailable."),
}


async def chat_completions(request: web.Request, luck: Luck) -> web.StreamResponse:
    """Serves POST /v1/chat/completions."""
    status = await handshake_fault(request, luck)
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if status is None and (scheme.lower() != "bearer" or not key.strip()):
        status = 401
    body: dict[str, Any] = {}
    words = ""
    try:
        body = await request.json()
        words = _last_words(body["messages"])
        model = str(body["model"])
    except (ValueError, KeyError, TypeError, AttributeError):
        status, model = status or 400, ""
    if status is not None:
        kind, code, problem = REFUSALS[status]
        return refusal(status, {"error": {"message": problem, "type": kind, "param": None, "code": code}})
    answer = f"You said: {words}. Nice!" if words else NOT_UNDERSTOOD
    if not body.get("stream"):
        await asyncio.sleep(luck.behaviour.llm_first.draw(luck.rng))
        return web.json_response(_whole(model, answer), headers=LABEL)
    with_usage = bool((body.get("stream_options") or {}).get("include_usage"))
    return await _stream(request, luck, model, answer, with_usage)


async def _stream(request: web.Request, luck: Luck, model: str, answer: str, with_usage: bool) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"} | LABEL)
    loop = asyncio.get_running_loop()
    due = loop.time() + luck.behaviour.llm_first.draw(luck.rng)
    fault = luck.sentence_fault()
    await response.prepare(request)
    chunk = {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": model,
        "system_fingerprint": "emulated",
    }
    words = answer.split(" ")
    for index, word in enumerate(words):
        await asyncio.sleep(max(0.0, due - loop.time()))
        delta = {"content": word if index == 0 else f" {word}"} | ({"role": "assistant"} if index == 0 else {})
        await _send(response, chunk | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
        if index == 0 and fault is Fault.CUT:
            cut(request)
            return response
        if index == 0 and fault is Fault.STALL:
            await asyncio.sleep(STALL_S)
        if index == 0 and fault is Fault.GARBAGE:
            await response.write(f"data: {GARBAGE}\n\n".encode())
        due += luck.behaviour.llm_token_s
    if fault is Fault.LATE_FINALS:
        await asyncio.sleep(luck.behaviour.late_final_s)
    await _send(response, chunk | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    if with_usage:
        await _send(response, chunk | {"choices": [], "usage": _usage(len(words))})
    await response.write(b"data: [DONE]\n\n")
    await response.write_eof()
    return response


async def _send(response: web.StreamResponse, event: dict[str, Any]) -> None:
    await response.write(f"data: {json.dumps(event, separators=(',', ':'))}\n\n".encode())


def _whole(model: str, answer: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": answer}
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "system_fingerprint": "emulated",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": _usage(len(answer.split(" "))),
    }


def _usage(words: int) -> dict[str, int]:
    return {"prompt_tokens": 0, "completion_tokens": words, "total_tokens": words}


def _last_words(messages: list[dict[str, Any]]) -> str:
    """What the user said last. Content may be a text or a list of parts."""
    content = next((each["content"] for each in reversed(messages) if each["role"] == "user"), "")
    if isinstance(content, list):
        content = " ".join(str(part.get("text", "")) for part in content)
    return " ".join(str(content).split())
