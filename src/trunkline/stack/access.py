"""How to talk to a stack: addresses and secrets, as the environment variables of `settings.py`."""

from __future__ import annotations

import secrets
import socket
from dataclasses import dataclass

from pydantic import SecretStr

from trunkline.settings import Settings
from trunkline.stack.ports import Ports

LOOPBACK = "127.0.0.1"
EVERYWHERE = "0.0.0.0"  # noqa: S104 (compared, not bound)


@dataclass(frozen=True)
class Secrets:
    """What must be known to talk to a stack; made for each run unless the settings have it."""

    livekit_api_key: str
    livekit_api_secret: str
    orch_api_key: str
    twilio_auth_token: str
    sip_trunk_username: str
    sip_trunk_password: str
    redis_password: str

    @classmethod
    def make(cls, settings: Settings) -> Secrets:
        """Those that are set, and random ones for the rest."""

        def given(value: str | SecretStr, size: int) -> str:
            plain = value.get_secret_value() if isinstance(value, SecretStr) else value
            return plain or secrets.token_hex(size)

        return cls(
            livekit_api_key=given(settings.livekit_api_key, 8),
            livekit_api_secret=given(settings.livekit_api_secret, 32),
            orch_api_key=given(settings.orch_api_key, 24),
            twilio_auth_token=given(settings.twilio_auth_token, 16),
            sip_trunk_username=given(settings.sip_trunk_username, 8),
            sip_trunk_password=given(settings.sip_trunk_password, 24),
            redis_password=secrets.token_hex(24),
        )

    def __repr__(self) -> str:
        return "Secrets(...)"


def reachable(host: str) -> str:
    """The address under which others reach what is bound to `host`; for all addresses, that of the default route."""
    if host != EVERYWHERE:
        return host
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as route:
        try:
            route.connect(("192.0.2.1", 9))  # sends nothing; 192.0.2.0/24 is for documentation
        except OSError:
            return LOOPBACK
        return str(route.getsockname()[0])


def local(host: str) -> str:
    """The address under which this machine reaches what is bound to `host`."""
    return LOOPBACK if host == EVERYWHERE else host


def shared_env(ports: Ports, known: Secrets, settings: Settings, host: str) -> dict[str, str]:
    """What trunkline's processes, and tools that talk to the stack, need in their environment."""
    ingress = f"{reachable(host)}:{ports.sip}"
    if host != LOOPBACK and settings.twilio_sip_ingress_host:
        ingress = settings.twilio_sip_ingress_host
    return {
        "LIVEKIT_API_KEY": known.livekit_api_key,
        "LIVEKIT_API_SECRET": known.livekit_api_secret,
        "LIVEKIT_HOST": f"ws://{LOOPBACK}:{ports.livekit}",
        # Its media is on loopback, whatever address .env has for Compose.
        "LIVEKIT_PUBLIC_URL": f"ws://{LOOPBACK}:{ports.livekit}",
        "REDIS_URL": f"redis://:{known.redis_password}@{LOOPBACK}:{ports.redis}/0",
        "ORCH_LISTEN": f"{host}:{ports.orchestrator}",
        "ORCH_URL": f"http://{local(host)}:{ports.orchestrator}",
        # Where there is none, one in .env must not come through: simulated calls sign this address.
        "ORCH_PUBLIC_URL": settings.orch_public_url or f"http://{local(host)}:{ports.orchestrator}",
        "ORCH_API_KEY": known.orch_api_key,
        "TWILIO_AUTH_TOKEN": known.twilio_auth_token,
        "TWILIO_SIP_INGRESS_HOST": ingress,
        "SIP_TRUNK_USERNAME": known.sip_trunk_username,
        "SIP_TRUNK_PASSWORD": known.sip_trunk_password,
        "METRICS_ENDPOINT": f"http://{LOOPBACK}:{ports.metrics}/ingest",
        "METRICS_LISTEN": f"{LOOPBACK}:{ports.metrics}",
    }
