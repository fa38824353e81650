"""The agent's token for a call's room: signed by the worker itself, so that none travels with the job."""

from __future__ import annotations

import datetime

from livekit import api

from trunkline.core import wire
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
    grants = api.VideoGrants(
        room_join=True,
        room=room,
        can_publish=True,
        can_publish_sources=[wire.PUBLISHED_SOURCE],
        can_subscribe=True,
        can_publish_data=True,
        agent=True,
    )
    token = api.AccessToken(settings.livekit_api_key, settings.livekit_api_secret.get_secret_value())
    # Of the kind "agent", which livekit-server does not count as a caller.
    token = token.with_identity(identity).with_name("agent").with_kind("agent").with_grants(grants)
    return token.with_ttl(datetime.timedelta(seconds=TOKEN_TTL_S)).to_jwt()
