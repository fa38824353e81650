"""The page /call: somebody talks to the agent from a browser.

POST /call/links      with ORCH_API_KEY: a link that works once
GET  /call            the page; the link's code stands behind its #, so that no server and no log sees it
GET  /call/page/{..}  its files, LiveKit's client among them: nothing comes from elsewhere
POST /call/begin      uses the link up: a room, an agent, and a token for that room
GET  /call/turns      what was said so far, for whoever is in the call
"""

from __future__ import annotations

import gzip
import hashlib
import secrets
from dataclasses import dataclass
from importlib import resources
from typing import Annotated, Any
from urllib.parse import urlsplit

import structlog
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from trunkline.core.errors import CapacityError, UpstreamError
from trunkline.orchestrator.context import Parts, RefusedError, address_of, bearer_of
from trunkline.orchestrator.control import keyed
from trunkline.orchestrator.links import CODE_PATTERN, LINK_TTL_S, LinkRefusedError
from trunkline.orchestrator.tokens import call_of_view_token, mint_room_token, mint_view_token
from trunkline.settings import Settings

log = structlog.get_logger()

_TYPES = {
    "html": "text/html",
    "js": "text/javascript",
    "mjs": "text/javascript",
    "css": "text/css",
    "txt": "text/plain",
}

router = APIRouter(prefix="/call")


@dataclass(frozen=True, slots=True)
class _File:
    """One file of the page, as it is sent."""

    body: bytes
    packed: bytes
    media_type: str
    etag: str


def _files() -> dict[str, _File]:
    folder = resources.files("trunkline.orchestrator") / "call_page"
    entries = [*folder.iterdir(), *(folder / "vendor").iterdir()]
    return {entry.name: _read(entry.name, entry.read_bytes()) for entry in entries if entry.is_file()}


def _read(name: str, body: bytes) -> _File:
    etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
    return _File(body, gzip.compress(body, 6), _TYPES.get(name.rpartition(".")[2], "application/octet-stream"), etag)


_FILES = _files()


class Begin(BaseModel):
    """Somebody pressed the button.

    Args:
        code: Of the link.
    """

    code: Annotated[str, Field(pattern=CODE_PATTERN)]


@router.post("/links", dependencies=keyed)
async def make_link(request: Request, parts: Parts) -> dict[str, Any]:
    """A link for one call from a browser: at our public address where LiveKit has one, else where we were asked."""
    public = parts.settings.livekit_public_url.startswith("wss://")
    address = parts.settings.public_url if public else str(request.base_url).rstrip("/")
    code = await parts.registry.links.make()
    return {"link": f"{address}/call#{code}", "expires_in_s": LINK_TTL_S}


@router.get("")
async def page(request: Request, parts: Parts) -> Response:
    """The page; it does not use the link up, so that whoever looks at a link first does no harm."""
    return _send("index.html", request, parts.settings)


@router.get("/page/{name}")
async def file(name: str, request: Request, parts: Parts) -> Response:
    """A file of the page."""
    return _send(name, request, parts.settings)


@router.post("/begin")
async def begin(wanted: Begin, request: Request, parts: Parts) -> dict[str, Any]:
    """Begins the call that a link is for."""
    address = address_of(request)
    if not parts.limits.address_may(address):
        raise RefusedError(429, "too_many_requests", "too many refused requests from this address")
    links = parts.registry.links
    try:
        await links.use(wanted.code)
    except LinkRefusedError as refusal:
        parts.limits.count_refused(address)
        log.warning("link_refused", address=address, used=refusal.used)
        if refusal.used:
            raise RefusedError(410, "link_used", "this link was used before") from refusal
        raise RefusedError(404, "link_unknown", "there is no such link, or it has run out") from refusal
    identity = f"browser-{secrets.token_hex(6)}"
    try:
        call, room = await parts.calls.begin_webrtc(identity)
    except CapacityError as full:
        await links.give_back(wanted.code)
        raise RefusedError(503, "full", str(full), full.call) from full
    except UpstreamError:
        await links.give_back(wanted.code)
        raise
    return {
        "call": call,
        "url": parts.settings.livekit_page_url,
        "token": mint_room_token(parts.settings, room, identity, agent=False),
        "view": mint_view_token(parts.settings, call),
    }


@router.get("/turns")
async def turns(request: Request, parts: Parts) -> dict[str, Any]:
    """What was said so far, for the one whom /call/begin let in."""
    call = call_of_view_token(parts.settings, bearer_of(request))
    if call is None:
        raise RefusedError(401, "bad_view_token", "needs what /call/begin gave")
    return {"turns": await parts.spoken.turns(call)}


def _send(name: str, request: Request, settings: Settings) -> Response:
    found = _FILES.get(name)
    if found is None:
        raise RefusedError(404, "unknown_file", "no such file")
    headers = _headers(settings) | {"etag": found.etag, "vary": "accept-encoding"}
    if request.headers.get("if-none-match") == found.etag:
        return Response(status_code=304, headers=headers)
    if "gzip" not in request.headers.get("accept-encoding", ""):
        return Response(found.body, media_type=found.media_type, headers=headers)
    return Response(found.packed, media_type=found.media_type, headers=headers | {"content-encoding": "gzip"})


def _headers(settings: Settings) -> dict[str, str]:
    """The page may run its own scripts, speak to us and to LiveKit, and use the microphone; nothing else."""
    livekit = urlsplit(settings.livekit_page_url)
    secure = livekit.scheme == "wss"
    http, ws = ("https", "wss") if secure else ("http", "ws")
    return {
        "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
        f"connect-src 'self' {ws}://{livekit.netloc} {http}://{livekit.netloc}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'",
        "permissions-policy": "microphone=(self), camera=(), geolocation=(), display-capture=()",
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "cache-control": "no-cache",
    }
