"""LiveKit's webhook: who came into a room, and which room is gone.

A caller who knows the trunk's password and dials a room of its own invention is in a room that the registry does not
know. No agent goes there, so nobody else would ever end that call: we do, while it rings. What the webhook misses, the
watchdog's sweep finds.
"""

from __future__ import annotations

from typing import Any

import structlog
from fastapi import APIRouter, Request
from livekit import api
from livekit.protocol import models

from trunkline.orchestrator.context import Context, Parts, RefusedError

log = structlog.get_logger()

MAX_BODY_BYTES = 1_048_576
LEG_ATTRIBUTE = "sip.callID"
"""Participant attribute with livekit-sip's own id of a phone call."""

router = APIRouter(prefix="/livekit")


@router.post("/webhook")
async def webhook(request: Request, parts: Parts) -> dict[str, Any]:
    """Takes one signed event."""
    event = await _verified(request, parts)
    if event.event == "participant_joined" and parts.livekit.is_our_phone(event.participant):
        await _check_phone(parts, event.room.name, event.participant)
    return {}


async def _check_phone(parts: Context, room: str, phone: models.ParticipantInfo) -> None:
    call = await parts.registry.call_in(room)
    if call is None:
        await parts.calls.refuse_unknown_room(room, phone.identity)
    elif not await parts.registry.is_its_leg(call, phone.attributes.get(LEG_ATTRIBUTE, "")):
        await parts.calls.refuse_second_phone(room, phone.identity)


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
