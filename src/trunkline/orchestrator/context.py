"""What all routes of the orchestrator share, and how they refuse."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Annotated, cast

from fastapi import Depends, Path, Request
from fastapi.responses import JSONResponse
from starlette.requests import HTTPConnection

from trunkline.core import wire
from trunkline.core.admission import CALL_ID
from trunkline.orchestrator.calls import Calls
from trunkline.orchestrator.limits import RateLimits
from trunkline.orchestrator.livekit_admin import LiveKitAdmin
from trunkline.orchestrator.refusals import Refusals
from trunkline.orchestrator.registry import Registry
from trunkline.orchestrator.spoken import Spoken
from trunkline.settings import Settings


@dataclass(slots=True)
class Context:
    """The parts of one orchestrator.

    Args:
        settings: Everything it was told.
        registry: Remembers the calls.
        livekit: Carries them.
        calls: What can be done to them.
        limits: How often somebody may ask.
        trunk_ready: LiveKit knows our SIP trunk.
        spoken: Knows what was said in a call.
        refusals: Tells the collector who was not let in.
    """

    settings: Settings
    registry: Registry
    livekit: LiveKitAdmin
    calls: Calls
    limits: RateLimits
    trunk_ready: bool = False
    spoken: Spoken = field(init=False)
    refusals: Refusals = field(init=False)

    def __post_init__(self) -> None:
        self.spoken = Spoken(self.settings.metrics_endpoint)
        self.refusals = self.calls.refusals = Refusals(self.settings)


class RefusedError(Exception):
    """A request is refused.

    Args:
        status: HTTP status.
        reason: A word for programs.
        detail: A sentence for people.
        call: The call that is not let in, where the request has proved that there is one.
    """

    def __init__(self, status: int, reason: str, detail: str, call: str = "") -> None:
        super().__init__(detail)
        self.call = call
        self.status = status
        self.reason = reason
        self.detail = detail

    def response(self) -> JSONResponse:
        """As an answer."""
        body = dataclasses.asdict(wire.Refusal(reason=self.reason, detail=self.detail))
        return JSONResponse(body, self.status)


async def context_of(request: HTTPConnection) -> Context:
    """The orchestrator's parts, as a dependency of a route; a coroutine, since others are run in a thread each time."""
    return cast(Context, request.app.state.context)


def address_of(request: Request) -> str:
    """Who asks, for rate limits and logs. Behind a proxy uvicorn has put the real address here."""
    return request.client.host if request.client is not None else "unknown"


def bearer_of(request: HTTPConnection) -> str:
    """The bearer token of a request; empty where there is none."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


Parts = Annotated[Context, Depends(context_of)]
CallId = Annotated[str, Path(pattern=f"^{CALL_ID.pattern}$")]
