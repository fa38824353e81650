"""LiveKit's webhook: who came into a room, and which room is gone.

A caller who knows the trunk's password and dials a room of its own invention is in a room that the registry does not
know. No agent goes there, so nobody else would ever end that call: we do, while it rings.
"""

from __future__ import annotations

from typing import Any

import structlog
from fastapi import APIRouter, Request
from livekit import api
from livekit.protocol import models

from trunkline.core import wire
from trunkline.core.admission import is_call_id
from trunkline.orchestrator.context import Context, Parts, RefusedError

log = structlog.get_logger()

MAX_BODY_BYTES = 1_048_576

router = APIRouter(prefix="/livekit")


@router.post("/webhook")
async def webhook(request: Request, parts: Parts) -> dict[str, Any]:
    """Takes one signed event."""
    event = await _verified(request, parts)
    if event.event == "participant_joined" and event.participant.kind == models.ParticipantInfo.Kind.SIP:
        await _check_room(parts, event.room.name, event.participant.identity)
    return {}


async def _check_room(parts: Context, room: str, identity: str) -> None:
    call = wire.call_of(room)
    if call is not None and is_call_id(call) and await parts.registry.knows(call) is not None:
        return
    log.warning("caller_refused", room=room[:80], reason="refused_unknown_room")
    await parts.calls.turn_away(room, identity)
    await parts.calls.close_room_of(room)


async def _verified(request: Request, parts: Context) -> api.WebhookEvent:
    settings = parts.settings
    length = request.headers.get("content-length", "")
    if not length.isdigit() or int(length) > MAX_BODY_BYTES:
        raise RefusedError(413, "too_large", "an event has a length, of at most 1 MiB")
    body = await request.body()
    verifier = api.TokenVerifier(settings.livekit_api_key, settings.livekit_api_secret.get_secret_value())
    try:
        return api.WebhookReceiver(verifier).receive(body.decode(), request.headers.get("authorization", ""))
    except Exception as error:
        log.warning("webhook_refused", path=request.url.path, reason=type(error).__name__)
        raise RefusedError(401, "bad_signature", "not signed with our LiveKit key") from error
