"""The token that a worker signs for itself opens one room, for an agent, for ten minutes."""

from __future__ import annotations

import time

import jwt

from trunkline.agent.room_token import TOKEN_TTL_S, agent_token
from trunkline.orchestrator.tokens import worker_of
from trunkline.settings import Settings

SECRET = "a-secret-of-more-than-thirty-two-characters"
SETTINGS = Settings(_env_file=None, livekit_api_key="key", livekit_api_secret=SECRET)  # type: ignore[call-arg, arg-type]


def test_it_lets_an_agent_into_one_room_to_speak_and_to_listen() -> None:
    claims = jwt.decode(agent_token(SETTINGS, "room-1", "agent-1-x"), SECRET, ["HS256"])
    assert (claims["iss"], claims["sub"], claims["kind"]) == ("key", "agent-1-x", "agent")
    assert {name: value for name, value in claims["video"].items() if value} == {
        "roomJoin": True,
        "room": "room-1",
        "canPublish": True,
        "canPublishSources": ["microphone"],
        "canSubscribe": True,
        "canPublishData": True,
        "agent": True,
    }
    assert 0 < claims["exp"] - time.time() <= TOKEN_TTL_S


def test_it_proves_nobody_to_be_a_worker() -> None:
    assert worker_of(SETTINGS, agent_token(SETTINGS, "room-1", "agent-1-x")) is None
