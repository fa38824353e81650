"""LiveKit's token for a room: what callers and agents alike may do in it. Signed by orchestrator and workers."""

from __future__ import annotations

import datetime

from livekit import api

from trunkline.settings import Settings

PUBLISHED_SOURCE = "microphone"
"""All that may be published: speech, no picture."""


def room_token(settings: Settings, room: str, identity: str, ttl_s: float, *, agent: bool, name: str = "") -> str:
    """A token with which one participant joins a room, speaks, listens and sends data; nothing else.

    Args:
        settings: The LiveKit key.
        room: The only room that it opens.
        identity: The participant's.
        ttl_s: Seconds within which it must be used.
        agent: Marks it as an agent, which livekit-server does not count as a caller.
        name: What others are shown.
    """
    grants = api.VideoGrants(
        room_join=True,
        room=room,
        can_publish=True,
        can_publish_sources=[PUBLISHED_SOURCE],
        can_subscribe=True,
        can_publish_data=True,
        agent=agent,
    )
    token = api.AccessToken(settings.livekit_api_key, settings.livekit_api_secret.get_secret_value())
    token = token.with_identity(identity).with_name(name).with_grants(grants)
    if agent:
        token = token.with_kind("agent")
    return token.with_ttl(datetime.timedelta(seconds=ttl_s)).to_jwt()
