"""Twilio's webhooks: a call comes in, a dial has ended, a transfer is asked for.

Only requests that Twilio signed are looked at: its X-Twilio-Signature covers our public address and every form field.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Annotated, Literal

import structlog
from fastapi import APIRouter, Depends, Request, Response
from starlette.exceptions import HTTPException
from twilio.request_validator import RequestValidator
from twilio.twiml.voice_response import VoiceResponse

from trunkline.core import wire
from trunkline.core.errors import CapacityError, UpstreamUnavailableError
from trunkline.logs import masked
from trunkline.orchestrator.context import Context, Parts, RefusedError, address_of
from trunkline.orchestrator.tokens import mint_call_token
from trunkline.settings import ReplyOn, Settings

log = structlog.get_logger()

CALL_SID = re.compile(r"CA[0-9a-fA-F]{32}")
MAX_BODY_BYTES = 65_536
MAX_FIELDS = 200
MAX_URI_CHARS = 255
"""Twilio's limit of a <Sip> address; ours stays under it with its header."""
RING_S = 30

BUSY_WORDS = "All our lines are busy at the moment. Please call again later."
FAILED_WORDS = "We are sorry, your call could not be connected. Please call again later."
NO_TRANSFER_WORDS = "We are sorry, this call can not be transferred."

router = APIRouter(prefix="/twilio")

Form = Mapping[str, str]


async def signed_form(request: Request, parts: Parts) -> Form:
    """The form of a request that Twilio signed. Raises RefusedError for every other."""
    address = address_of(request)
    if not parts.limits.address_may(address):
        raise RefusedError(429, "too_many_requests", "too many refused requests from this address")
    try:
        form = await _form(request)
        _check_signature(parts.settings, request, form)
    except RefusedError as refusal:
        parts.limits.count_refused(address)
        log.warning("webhook_refused", path=request.url.path, address=address, reason=refusal.reason)
        raise
    return form


SignedForm = Annotated[Form, Depends(signed_form)]


@router.post("/voice")
async def voice(form: SignedForm, parts: Parts, reply_on: ReplyOn | Literal[""] = "") -> Response:
    """A call comes in: where it is to be dialled, or that we are busy.

    A number whose callers are to be answered in another way than REPLY_ON says has it in its webhook's address, as in
    `/twilio/voice?reply_on=first_partial`; Twilio's signature covers that.
    """
    call = _call_sid(form)
    caller = form.get("From", "")
    log.info("call_incoming", call=call, caller=masked(caller))
    if not parts.limits.caller_may(caller):
        log.warning("caller_limited", call=call, caller=masked(caller))
        raise RefusedError(429, "too_many_calls", "too many calls from this number", call)
    if not parts.trunk_ready:
        # livekit-sip would let the call ring into nowhere.
        raise UpstreamUnavailableError("livekit", "the SIP trunk is not made yet")
    try:
        await parts.calls.begin(call, wire.CallKind.PHONE, reply_on=reply_on)
    except CapacityError as full:
        log.warning("call_refused_full", call=call, used=full.used, capacity=full.capacity)
        parts.refusals.tell(wire.Door.PHONE, "full", call)
        return _speak(BUSY_WORDS)
    return _dial(parts, call)


@router.post("/dial-ended")
async def dial_ended(form: SignedForm, parts: Parts) -> Response:
    """The dial is over: hang up, with an apology where nobody was reached."""
    call = _call_sid(form)
    status = form.get("DialCallStatus", "")
    log.info("dial_ended", call=call, status=status, sip_status=form.get("DialSipResponseCode", ""))
    if status in ("completed", "answered"):
        hung_up = VoiceResponse()
        hung_up.hangup()
        return _twiml(hung_up)
    await parts.calls.drop(call, f"dial {status or 'ended'}")
    return _speak(FAILED_WORDS)


@router.post("/refer")
async def refer(form: SignedForm, parts: Parts) -> Response:
    """The agent asks for a transfer: dialled where TRANSFER_ALLOW names the number."""
    call = _call_sid(form)
    number = transfer_number(form.get("ReferTransferTarget", ""))
    if number is None or not may_transfer(parts.settings.transfer_allow, number):
        log.warning("transfer_refused", call=call, number=masked(number or ""))
        return _speak(NO_TRANSFER_WORDS)
    log.info("transfer", call=call, number=masked(number))
    response = VoiceResponse()
    response.dial(number)
    return _twiml(response)


def transfer_number(target: str) -> str | None:
    """The E.164 number of a Refer-To such as <sip:+15551234@host> or tel:+15551234, or None."""
    match = re.fullmatch(r"<?(?:sips?|tel):(\+[1-9][0-9]{4,14})(?:[@;?>].*)?", target.strip())
    return match[1] if match else None


def may_transfer(allowed: str, number: str) -> bool:
    """True where a list such as "+15551234,+4930*" names the number."""
    for entry in (part.strip() for part in allowed.split(",")):
        if entry == number or (entry.endswith("*") and len(entry) > 1 and number.startswith(entry[:-1])):
            return True
    return False


def sip_uri(settings: Settings, call: str, token: str) -> str:
    """Where Twilio dials a call: the room is the user part, the token goes along as a header."""
    room = wire.room_of(call)
    return f"sip:{room}@{settings.twilio_sip_ingress_host}?{wire.CALL_TOKEN_HEADER}={token}"


def _dial(parts: Context, call: str) -> Response:
    settings = parts.settings
    uri = sip_uri(settings, call, mint_call_token(settings, call, time.time()))
    if len(uri) > MAX_URI_CHARS:
        log.warning("sip_uri_long", chars=len(uri), limit=MAX_URI_CHARS)
    response = VoiceResponse()
    dial = response.dial(
        # It rings at the caller until the agent has answered, instead of silence.
        answer_on_bridge=True,
        timeout=RING_S,
        action=f"{settings.public_url}/twilio/dial-ended",
        refer_url=f"{settings.public_url}/twilio/refer",
    )
    credentials = {}
    if settings.sip_trunk_username:
        credentials = {
            "username": settings.sip_trunk_username,
            "password": settings.sip_trunk_password.get_secret_value(),
        }
    dial.sip(uri, **credentials)
    return _twiml(response)


def _speak(words: str) -> Response:
    response = VoiceResponse()
    response.say(words)
    response.hangup()
    return _twiml(response)


def _twiml(response: object) -> Response:
    return Response(str(response), media_type="application/xml")


def _call_sid(form: Form) -> str:
    call = form.get("CallSid", "")
    if not CALL_SID.fullmatch(call):
        raise RefusedError(400, "bad_call_sid", "CallSid is missing or malformed")
    return call


async def _form(request: Request) -> Form:
    if request.headers.get("content-type", "").split(";")[0].strip() != "application/x-www-form-urlencoded":
        raise RefusedError(415, "bad_content_type", "a webhook is a URL-encoded form")
    length = request.headers.get("content-length", "0")
    if not length.isdigit() or int(length) > MAX_BODY_BYTES:
        raise RefusedError(413, "too_large", f"a webhook has at most {MAX_BODY_BYTES} bytes")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise RefusedError(413, "too_large", f"a webhook has at most {MAX_BODY_BYTES} bytes")
    # The parser reads what we have read already.
    request._body = body
    try:
        form = await request.form(max_fields=MAX_FIELDS)
    except (HTTPException, ValueError) as error:
        raise RefusedError(400, "bad_form", "the form can't be read") from error
    fields = {key: value for key, value in form.multi_items() if isinstance(value, str)}
    if len(fields) != len(form.multi_items()):
        raise RefusedError(400, "bad_form", "a field is given twice")
    return fields


def _check_signature(settings: Settings, request: Request, form: Form) -> None:
    secret = settings.twilio_auth_token.get_secret_value()
    if not secret:
        raise RefusedError(403, "no_auth_token", "TWILIO_AUTH_TOKEN is not set: webhooks are closed")
    signature = request.headers.get("x-twilio-signature", "")
    query = f"?{request.url.query}" if request.url.query else ""
    url = f"{settings.public_url}{request.url.path}{query}"
    if not signature or not RequestValidator(secret).validate(url, dict(form), signature):
        raise RefusedError(403, "bad_signature", "the signature is missing or wrong; is ORCH_PUBLIC_URL right?")
