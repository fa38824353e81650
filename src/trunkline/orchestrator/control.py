"""For operators and programs with ORCH_API_KEY: tokens, calls, workers; and for everybody: is it healthy?"""

from __future__ import annotations

import asyncio
import secrets
from typing import Annotated, Any, Literal

import structlog
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from trunkline.core import wire
from trunkline.core.errors import CapacityError, TrunklineError
from trunkline.orchestrator.context import CallId, Context, Parts, RefusedError, address_of, bearer_of
from trunkline.orchestrator.tokens import is_api_key, mint_room_token
from trunkline.settings import ReplyOn

log = structlog.get_logger()

READY_TIMEOUT_S = 2.0

router = APIRouter()


async def key_holder(request: Request, parts: Parts) -> None:
    """Lets only those pass who know ORCH_API_KEY."""
    if not is_api_key(parts.settings, bearer_of(request)):
        address = address_of(request)
        parts.limits.count_refused(address)
        log.warning("api_key_refused", path=request.url.path, address=address)
        if not parts.limits.address_may(address):
            raise RefusedError(429, "too_many_requests", "too many refused requests from this address")
        raise RefusedError(401, "bad_api_key", "needs the header Authorization: Bearer ORCH_API_KEY")


keyed = [Depends(key_holder)]


class TokenRequest(BaseModel):
    """Who wants to join which room.

    Args:
        role: "caller" begins a call of its own, unless it names one; "agent" joins a call that is there.
        room: A call's room, such as room-CA123.
        shared: Of a caller who begins a call: name of a room that up to 25 callers share, each with an agent that
            nobody else hears; for load tests.
        identity: Its name in the room; made up where empty.
        reply_on: Of a caller who begins a call: when the agent answers in it; empty: as the workers' REPLY_ON says.
    """

    role: Literal["caller", "agent"] = "caller"
    reply_on: ReplyOn | Literal[""] = ""
    room: Annotated[str, Field(max_length=80)] = ""
    shared: Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9-]*$")] = ""
    identity: Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9_.-]*$")] = ""


@router.post("/token", dependencies=keyed)
async def token(wanted: TokenRequest, request: Request, parts: Parts) -> dict[str, Any]:
    """A LiveKit token to be used within 60 s."""
    if not parts.limits.token_may(address_of(request)):
        raise RefusedError(429, "too_many_requests", "too many tokens for this address")
    identity = wanted.identity or f"{wanted.role}-{secrets.token_hex(6)}"
    call, room = await _call_for(wanted, identity, parts)
    return {
        "token": mint_room_token(parts.settings, room, identity, agent=wanted.role == "agent"),
        "url": parts.settings.livekit_ws_url,
        "room": room,
        "identity": identity,
        "call": call,
        "expires_in_s": parts.settings.call_token_ttl_s,
    }


@router.get("/calls", dependencies=keyed)
async def calls(parts: Parts) -> dict[str, Any]:
    """The calls there are now."""
    seen = await parts.registry.snapshot()
    return {
        "used": len(seen.calls),
        "capacity": sum(worker.soft_capacity for worker in seen.workers if worker.alive(seen.now_ms)),
        "calls": [
            {
                "call": call.call,
                "room": call.room,
                "kind": call.kind,
                "state": call.state(seen.now_ms),
                "worker": call.worker,
                "age_s": (seen.now_ms - call.created_ms) / 1000,
                "answered_s": (seen.now_ms - call.answered_ms) / 1000 if call.answered_ms else None,
            }
            for call in seen.calls
        ],
    }


@router.delete("/calls/{call}", dependencies=keyed)
async def hang_up(call: CallId, parts: Parts) -> dict[str, Any]:
    """Ends a call."""
    if not await parts.calls.drop(call, "operator"):
        raise RefusedError(404, "unknown_call", "no such call")
    return {}


@router.get("/workers", dependencies=keyed)
async def workers(parts: Parts) -> dict[str, Any]:
    """The workers that were seen within the last minute."""
    seen = await parts.registry.snapshot()
    return {
        "workers": [
            {
                "worker": worker.worker,
                "alive": worker.alive(seen.now_ms),
                "seen_s": (seen.now_ms - worker.seen_ms) / 1000,
                "calls": worker.calls,
                "soft_capacity": worker.soft_capacity,
                "hard_capacity": worker.hard_capacity,
            }
            for worker in seen.workers
        ]
    }


@router.get("/healthz")
async def healthz() -> dict[str, Any]:
    """This process runs."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(parts: Parts) -> Response:
    """It can take calls: Redis and LiveKit answer, and LiveKit knows the SIP trunk."""
    redis, livekit = await asyncio.gather(_problem(parts.registry.ping()), _problem(parts.livekit.ping()))
    checks = {"redis": redis, "livekit": livekit, "trunk": "" if parts.trunk_ready else "not made yet"}
    ready = not any(checks.values())
    return JSONResponse({"ready": ready, "checks": {k: v or "ok" for k, v in checks.items()}}, 200 if ready else 503)


async def _call_for(wanted: TokenRequest, identity: str, parts: Context) -> tuple[str, str]:
    """The call, and its room."""
    if wanted.shared and (wanted.room or wanted.role == "agent"):
        raise RefusedError(400, "bad_room", "only a caller who begins a call shares a room")
    if wanted.room:
        call = await parts.registry.call_in(wanted.room)
        if call is None:
            raise RefusedError(404, "unknown_room", "no call takes place in that room")
        return call, wanted.room
    if wanted.role == "agent":
        raise RefusedError(400, "no_room", "an agent names the room of a call")
    try:
        room = f"{wire.SHARED_ROOM_PREFIX}{wanted.shared}" if wanted.shared else ""
        return await parts.calls.begin_webrtc(identity, room, wanted.reply_on)
    except CapacityError as full:
        raise RefusedError(503, "full", str(full), full.call) from full


async def _problem(check: Any) -> str:
    try:
        async with asyncio.timeout(READY_TIMEOUT_S):
            await check
    except TimeoutError:
        return f"no answer within {READY_TIMEOUT_S:.0f} s"
    except TrunklineError as error:
        return str(error)
    return ""
