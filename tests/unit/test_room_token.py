"""A token for a join from nothing says the same as the one that came with the job, later."""

from __future__ import annotations

import datetime

import jwt
import pytest
from livekit import api

from trunkline.agent.room_token import TOKEN_TTL_S, renewed_token
from trunkline.core.errors import ConfigError
from trunkline.settings import Settings

NOW = 1_800_000_000.0
SECRET = "a-secret-of-more-than-thirty-two-characters"


def config(secret: str = SECRET) -> Settings:
    return Settings(_env_file=None, livekit_api_key="key", livekit_api_secret=secret)  # type: ignore[call-arg, arg-type]


def job_token() -> str:
    grants = api.VideoGrants(room_join=True, room="room-1", agent=True, can_publish=True)
    token = api.AccessToken("key", SECRET).with_identity("agent-7").with_grants(grants).with_kind("agent")
    return token.with_attributes({"a": "b"}).with_ttl(datetime.timedelta(seconds=-3600)).to_jwt()


def test_only_the_times_change() -> None:
    renewed = renewed_token(config(), job_token(), NOW)
    before = jwt.decode(job_token(), SECRET, ["HS256"], options={"verify_exp": False})
    after = jwt.decode(renewed, SECRET, ["HS256"], options={"verify_exp": False, "verify_nbf": False})
    assert after.pop("exp") == NOW + TOKEN_TTL_S
    assert after.pop("nbf") == NOW
    for name in ("exp", "nbf", "iat"):
        before.pop(name, None)
    assert after == before
    assert (after["sub"], after["video"]["room"], after["kind"]) == ("agent-7", "room-1", "agent")


@pytest.mark.parametrize("token", ["", "nonsense", "a.b.c"])
def test_what_is_no_token_is_an_error_in_one_line(token: str) -> None:
    with pytest.raises(ConfigError, match="not signed"):
        renewed_token(config(), token, NOW)


def test_a_token_of_another_key_is_an_error() -> None:
    with pytest.raises(ConfigError, match="InvalidSignature"):
        renewed_token(config("another-secret-of-more-than-32-characters"), job_token(), NOW)
