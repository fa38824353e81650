"""Tokens: the short one that a phone call brings along, LiveKit's for rooms, and the check of who asks us.

A call token is a JWT signed with a key that is derived from LIVEKIT_API_SECRET and the call's id: it fits one call, and
does not have to carry its id. It is short because Twilio limits a SIP URI to 255 characters.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

import jwt
from livekit import api

from trunkline.core import wire
from trunkline.core.admission import AdmissionRefusedError, CallTokenClaims
from trunkline.core.errors import Reason
from trunkline.media.room_token import room_token
from trunkline.settings import Settings

_ALGORITHM = "HS256"
_TOKEN_ID_BYTES = 9
_MAX_TOKEN_CHARS = 1024


def mint_call_token(settings: Settings, call: str, now: float) -> str:
    """A token for one phone call, valid for `call_token_ttl_s`.

    Args:
        settings: LIVEKIT_API_SECRET and the time to live.
        call: The call that it opens.
        now: Wall-clock seconds.
    """
    claims = {
        "aud": wire.CALL_TOKEN_AUDIENCE,
        "exp": int(now + settings.call_token_ttl_s),
        "jti": secrets.token_urlsafe(_TOKEN_ID_BYTES),
    }
    return jwt.encode(claims, _call_key(settings, call), _ALGORITHM, headers={"typ": None})


def check_call_token(settings: Settings, call: str, token: str, now: float) -> CallTokenClaims:
    """What a call token says. Raises AdmissionRefusedError where it is missing, forged, too old or another call's."""
    if not token:
        raise AdmissionRefusedError(Reason.REFUSED_TOKEN, "the caller brought no call token")
    if len(token) > _MAX_TOKEN_CHARS:
        raise AdmissionRefusedError(Reason.REFUSED_TOKEN, "the call token is too long")
    try:
        claims = jwt.decode(
            token,
            _call_key(settings, call),
            algorithms=[_ALGORITHM],
            audience=wire.CALL_TOKEN_AUDIENCE,
            # Checked below against the time we were given.
            options={"require": ["aud", "exp", "jti"], "verify_exp": False},
        )
        expires_at = float(claims["exp"])
    except (jwt.InvalidTokenError, TypeError, ValueError) as error:
        raise AdmissionRefusedError(Reason.REFUSED_TOKEN, f"call token: {type(error).__name__}") from error
    # Written so that a NaN is refused, too.
    if not now <= expires_at <= now + settings.call_token_ttl_s + 1:
        raise AdmissionRefusedError(Reason.REFUSED_TOKEN, "the call token has expired")
    token_id = claims["jti"]
    if not isinstance(token_id, str) or not 0 < len(token_id) <= 64:
        raise AdmissionRefusedError(Reason.REFUSED_TOKEN, "the call token has no id")
    return CallTokenClaims(token_id, expires_at)


def mint_room_token(settings: Settings, room: str, identity: str, agent: bool) -> str:
    """LiveKit's token for one participant of one room, to be used within `call_token_ttl_s`.

    Args:
        settings: The LiveKit key.
        room: The only room it opens.
        identity: The participant.
        agent: Marks it as an agent, which livekit-server does not count as a caller.
    """
    return room_token(settings, room, identity, settings.call_token_ttl_s, agent=agent)


def mint_view_token(settings: Settings, call: str) -> str:
    """Shows what was said in one call, to the one who is in it, for as long as that is known. Opens nothing else."""
    return f"{call}.{_view_mac(settings, call)}"


def call_of_view_token(settings: Settings, token: str) -> str | None:
    """The call that a view token is for, or None where it is not ours."""
    call, _, mac = token.rpartition(".")
    return call if call and hmac.compare_digest(mac.encode(), _view_mac(settings, call).encode()) else None


def worker_of(settings: Settings, bearer: str) -> str | None:
    """The worker that a bearer token proves, or None: signed with our LiveKit key, with the `agent` grant, for no room.

    A token for a room proves a participant: /token gives such to whoever has the API key, under any name.
    """
    verifier = api.TokenVerifier(settings.livekit_api_key, settings.livekit_api_secret.get_secret_value())
    try:
        claims = verifier.verify(bearer)
    except Exception:  # noqa: BLE001 (whatever is wrong with a token of the outside: it proves nothing)
        return None
    if claims.video is None or not claims.video.agent or claims.video.room or not claims.identity:
        return None
    return claims.identity


def is_api_key(settings: Settings, bearer: str) -> bool:
    """True where this is ORCH_API_KEY. Without one nothing is."""
    key = settings.orch_api_key.get_secret_value()
    return bool(key) and hmac.compare_digest(bearer.encode(), key.encode())


def _view_mac(settings: Settings, call: str) -> str:
    secret = settings.livekit_api_secret.get_secret_value().encode()
    return hmac.digest(secret, b"trunkline view token " + call.encode(), hashlib.sha256).hex()


def _call_key(settings: Settings, call: str) -> bytes:
    secret = settings.livekit_api_secret.get_secret_value().encode()
    return hmac.digest(secret, b"trunkline call token " + call.encode(), hashlib.sha256)
