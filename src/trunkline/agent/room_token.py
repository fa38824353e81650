"""The agent's token for a call's room: signed by the worker itself, so that none travels with the job."""

from __future__ import annotations

from trunkline.media.room_token import room_token
from trunkline.settings import Settings

TOKEN_TTL_S = 600.0
"""For the join; LiveKit renews it for the participant that is in."""


def agent_token(settings: Settings, room: str, identity: str) -> str:
    """A token with which an agent joins that room, speaks, listens and sends data; nothing else.

    Args:
        settings: The LiveKit key.
        room: The only room that it opens.
        identity: The agent's.
    """
    return room_token(settings, room, identity, TOKEN_TTL_S, agent=True, name="agent")
