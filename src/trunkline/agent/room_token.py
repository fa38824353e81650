"""A new token for a participant whose first one is too old by now: a job's lasts an hour, a call may last longer."""

from __future__ import annotations

from typing import Any

import jwt

from trunkline.core.errors import ConfigError
from trunkline.settings import Settings

TOKEN_TTL_S = 600
_ALGORITHM = "HS256"


def renewed_token(settings: Settings, token: str, now: float) -> str:
    """The same token, valid for another ten minutes: same room, identity, kind, grants and attributes.

    Args:
        settings: The LiveKit key, with which the first one was signed, too.
        token: What LiveKit gave with the job; it may have expired.
        now: Wall-clock seconds.

    Raises:
        ConfigError: the token is not signed with our key.
    """
    secret = settings.livekit_api_secret.get_secret_value()
    unchecked = {"verify_exp": False, "verify_nbf": False, "verify_iat": False, "verify_aud": False}
    try:
        claims: dict[str, Any] = jwt.decode(token, secret, algorithms=[_ALGORITHM], options=unchecked)  # type: ignore[arg-type]
    except jwt.InvalidTokenError as error:
        raise ConfigError(f"LiveKit's token is not signed with LIVEKIT_API_SECRET: {type(error).__name__}") from error
    claims.update(exp=int(now) + TOKEN_TTL_S, nbf=int(now), iss=settings.livekit_api_key)
    claims.pop("iat", None)
    return jwt.encode(claims, secret, _ALGORITHM)
