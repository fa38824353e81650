"""The worker's side of the orchestrator's API: leases, admission, signs of life.

Every request has a time limit and carries a token that proves the worker knows LIVEKIT_API_SECRET. Messages are the
dataclasses of `core/wire.py`.
"""

from __future__ import annotations

import datetime
import json
import time
from typing import Any

import aiohttp
from livekit import api

from trunkline.core import wire
from trunkline.core.errors import (
    Reason,
    Result,
    SetupError,
    Termination,
    UpstreamRejectedError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
)
from trunkline.settings import Settings

REQUEST_TIMEOUT_S = 2.0
TRANSFER_TIMEOUT_S = 35.0
"""More than the orchestrator lets the other number ring."""
TOKEN_TTL_S = 60.0
TOKEN_USED_S = 30.0
"""A token serves for so long, and is made anew well before it ends."""


class OrchestratorClient:
    """Speaks to the orchestrator for one worker.

    Args:
        settings: ORCH_URL, WORKER_ID and the LiveKit key are used.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._url = settings.orch_url.rstrip("/")
        self._http: aiohttp.ClientSession | None = None
        self._token = ""
        self._token_until = 0.0

    async def close(self) -> None:
        """Closes connections."""
        if self._http is not None:
            await self._http.close()

    async def heartbeat(self, beat: wire.Heartbeat) -> wire.HeartbeatReply:
        """Extends the leases of all calls; the answer names those that are no longer ours."""
        body = await self._send("POST", f"/workers/{self._settings.worker_id}/heartbeat", beat)
        return wire.HeartbeatReply(lost=[str(call) for call in body.get("lost", [])])

    async def leave(self) -> None:
        """The worker takes no more calls."""
        await self._send("DELETE", f"/workers/{self._settings.worker_id}", None)

    async def lease(self, call: str, room: str) -> wire.Lease:
        """Takes the call. Raises SetupError where it is not to be had."""
        request = wire.LeaseRequest(worker=self._settings.worker_id, room=room)
        try:
            body = await self._send("POST", f"/calls/{call}/lease", request)
        except UpstreamRejectedError as error:
            raise SetupError(
                f"no lease: {error.problem}", Termination(Result.SERVER_ERROR, Reason.LEASE_LOST)
            ) from error
        return wire.Lease(
            call=str(body["call"]),
            room=str(body["room"]),
            kind=wire.CallKind(body["kind"]),
            fence=int(body["fence"]),
            admitted=bool(body["admitted"]),
            participant=str(body.get("participant", "")),
            reply_on=str(body.get("reply_on", "")),
        )

    async def admit(self, call: str, fence: int, participant: str, token: str) -> None:
        """Shows what the caller brought. Raises SetupError where it is refused; it is removed already then."""
        request = wire.AdmitRequest(fence=fence, participant=participant, token=token)
        try:
            await self._send("POST", f"/calls/{call}/admit", request)
        except UpstreamRejectedError as error:
            raise SetupError(
                f"refused: {error.problem}", Termination(Result.CALLER_ERROR, Reason.REFUSED_TOKEN)
            ) from error

    async def answered(self, call: str, fence: int) -> None:
        """Tells that the phone is answered."""
        await self._send("POST", f"/calls/{call}/answered", wire.AnsweredNotice(fence=fence))

    async def end(self, call: str, fence: int, termination: Termination) -> None:
        """Releases slot, lease and room."""
        notice = wire.EndNotice(fence=fence, result=termination.result, reason=termination.reason)
        await self._send("POST", f"/calls/{call}/end", notice)

    async def transfer(self, call: str, fence: int, number: str) -> None:
        """Hands the caller over; returns when that is done. Raises UpstreamError where it is not."""
        request = wire.TransferRequest(fence=fence, number=number)
        await self._send("POST", f"/calls/{call}/transfer", request, TRANSFER_TIMEOUT_S)

    async def _send(self, method: str, path: str, message: Any, timeout_s: float = REQUEST_TIMEOUT_S) -> dict[str, Any]:
        content = None if message is None else wire.encode(message)
        limit = aiohttp.ClientTimeout(total=timeout_s)
        try:
            request = self._client().request(
                method, self._url + path, data=content, headers=self._headers(), timeout=limit, allow_redirects=False
            )
            async with request as response:
                status, body = response.status, _json(await response.read())
        except TimeoutError as error:
            raise UpstreamTimeoutError("orchestrator", f"no answer to {method} {path}") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise UpstreamUnavailableError(
                "orchestrator", f"{method} {path}: {error or type(error).__name__}"
            ) from error
        if status >= 500:
            raise UpstreamUnavailableError("orchestrator", f"{status} to {method} {path}")
        if status >= 400:
            raise UpstreamRejectedError("orchestrator", str(body.get("reason", status)))
        return body

    def _client(self) -> aiohttp.ClientSession:
        if self._http is None:
            # Our own services are never behind a proxy that the environment names for the rest of the world.
            self._http = aiohttp.ClientSession(trust_env=False)
        return self._http

    def _headers(self) -> dict[str, str]:
        now = time.monotonic()
        if now >= self._token_until:
            self._token, self._token_until = worker_token(self._settings), now + TOKEN_USED_S
        return {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}


def worker_token(settings: Settings) -> str:
    """A token that proves to the orchestrator that this is an agent worker."""
    token = api.AccessToken(settings.livekit_api_key, settings.livekit_api_secret.get_secret_value())
    token = token.with_identity(settings.worker_id).with_grants(api.VideoGrants(agent=True))
    return token.with_ttl(datetime.timedelta(seconds=TOKEN_TTL_S)).to_jwt()


def _json(content: bytes) -> dict[str, Any]:
    try:
        body = json.loads(content)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
