"""The worker's side of the socket by which the orchestrator gives it calls.

Connected again for ever, with growing pauses, while the calls go on. A job that is taken has no answer but the lease
that its session asks for; one that is not taken is refused at once, so that another worker gets it.
"""

from __future__ import annotations

import asyncio
import json
from typing import Protocol

import aiohttp
import structlog

from trunkline.agent.orchestrator_client import worker_token
from trunkline.core import wire
from trunkline.core.errors import RemoteProtocolError, UpstreamError, UpstreamRejectedError, UpstreamUnavailableError
from trunkline.settings import Settings

log = structlog.get_logger()

CONNECT_TIMEOUT_S = 5.0
SEND_TIMEOUT_S = 2.0
PING_S = 5.0
MAX_JOB_BYTES = 65_536
RETRY_S = (0.2, 0.5, 1.0, 2.0)


class Hall(Protocol):
    """The worker's calls, as seen from here."""

    def take(self, job: wire.Job) -> str:
        """Starts the call's session; returns why not, as a word, or nothing."""
        ...


class JobSocket:
    """Keeps one worker connected.

    Args:
        settings: ORCH_URL, WORKER_ID and the LiveKit key.
        hall: Where jobs go.
    """

    def __init__(self, settings: Settings, hall: Hall) -> None:
        self._settings = settings
        self._hall = hall
        self._served = False
        self.connected = asyncio.Event()

    async def run(self) -> None:
        """Stays connected until cancelled. Raises UpstreamRejectedError where our key is refused at first."""
        failures = 0
        async with aiohttp.ClientSession() as http:
            while True:
                try:
                    await self._connect_and_serve(http)
                except (UpstreamError, RemoteProtocolError) as error:
                    # A key that served before: the calls go on, and whoever changed it sees this line.
                    if isinstance(error, UpstreamRejectedError) and not self._served:
                        raise
                    log.warning("jobs_lost", error=str(error))
                failures = 0 if self.connected.is_set() else failures + 1
                self.connected.clear()
                await asyncio.sleep(RETRY_S[min(failures, len(RETRY_S) - 1)])

    async def _connect_and_serve(self, http: aiohttp.ClientSession) -> None:
        """Serves one connection. Raises UpstreamError or RemoteProtocolError when it ends."""
        url = f"{self._settings.orch_url.rstrip('/')}/workers/{self._settings.worker_id}/jobs"
        headers = {"Authorization": f"Bearer {worker_token(self._settings)}"}
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                socket = await http.ws_connect(url, headers=headers, heartbeat=PING_S, max_msg_size=MAX_JOB_BYTES)
        except aiohttp.WSServerHandshakeError as error:
            if error.status in (401, 403):
                raise UpstreamRejectedError("orchestrator", "LIVEKIT_API_KEY or LIVEKIT_API_SECRET is wrong") from error
            raise UpstreamUnavailableError("orchestrator", f"{error.status} at {url}") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UpstreamUnavailableError("orchestrator", f"can't connect to {url}") from error
        async with socket:
            self._served = True
            self.connected.set()
            log.info("worker_connected")
            async for message in socket:
                if message.type is aiohttp.WSMsgType.TEXT:
                    await self._take(socket, message.data)
        raise UpstreamUnavailableError("orchestrator", f"closed the worker's socket: {socket.close_code}")

    async def _take(self, socket: aiohttp.ClientWebSocketResponse, text: str) -> None:
        try:
            job = wire.job_of(json.loads(text))
        except ValueError as error:
            raise RemoteProtocolError(f"the orchestrator sent what is no job: {error}") from error
        reason = self._hall.take(job)
        if not reason:
            return
        log.warning("job_refused", call=job.call, reason=reason)
        refusal = wire.JobRefusal(call=job.call, room=job.room, reason=reason)
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await socket.send_str(wire.encode(refusal).decode())
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UpstreamUnavailableError("orchestrator", "takes no refusal") from error
