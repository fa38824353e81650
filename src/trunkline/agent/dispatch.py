"""LiveKit's agent dispatch, from the worker's side: registers, offers room for calls, takes jobs.

One WebSocket to livekit-server carries protobuf messages of `livekit.protocol.agent`. LiveKit offers a job, the worker
says whether it takes it, and is assigned it with a token. A worker that reports a load of `agents.target_load` or more
is offered nothing; so the load is measured by the hard capacity, and the answer to an offer keeps the soft one.
The connection is made again for ever, with a growing pause, while the calls go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass
from typing import Any, Protocol

import aiohttp
import structlog
from livekit.protocol import agent as proto
from livekit.protocol import models

from trunkline import __version__
from trunkline.agent.orchestrator_client import worker_token
from trunkline.agent.session import Job
from trunkline.core import wire
from trunkline.core.errors import RemoteProtocolError, UpstreamError, UpstreamRejectedError, UpstreamUnavailableError
from trunkline.settings import Settings

log = structlog.get_logger()

CONNECT_TIMEOUT_S = 5.0
PING_S = 5.0
STATUS_S = 1.0
ASSIGNMENT_TIMEOUT_S = 7.5
"""An accepted offer that is not assigned by then gives its place back."""
RETRY_S = (0.2, 0.5, 1.0, 2.0, 5.0)


class Hall(Protocol):
    """The worker's calls, as dispatch sees them."""

    def calls(self) -> int:
        """Calls it holds now."""
        ...

    def take(self, job: Job) -> None:
        """Starts the session of an assigned job."""
        ...

    def terminate(self, job_id: str) -> None:
        """LiveKit wants the job to end."""
        ...


@dataclass(slots=True)
class _Promise:
    """An accepted offer that waits for its assignment."""

    expires_at: float


class Dispatch:
    """Keeps one worker registered.

    Args:
        settings: LIVEKIT_HOST and key, AGENT_NAME, capacities.
        hall: Where jobs go.
    """

    def __init__(self, settings: Settings, hall: Hall) -> None:
        self._settings = settings
        self._hall = hall
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._promises: dict[str, _Promise] = {}
        self._draining = False
        self.registered = asyncio.Event()
        self.refused_offers = 0

    async def run(self) -> None:
        """Stays registered until cancelled. Raises UpstreamRejectedError where LiveKit refuses the key at first."""
        failures = 0
        was_registered = False
        async with aiohttp.ClientSession() as http:
            while True:
                try:
                    await self._connect_and_serve(http)
                    failures = 0
                except (UpstreamError, RemoteProtocolError) as error:
                    was_registered = was_registered or self.registered.is_set()
                    if isinstance(error, UpstreamRejectedError) and not was_registered:
                        raise
                    # A key that served before: the calls go on, and whoever changed it sees this line.
                    if self.registered.is_set():
                        failures = 0
                    log.warning("dispatch_lost", error=str(error))
                self.registered.clear()
                await asyncio.sleep(RETRY_S[min(failures, len(RETRY_S) - 1)])
                failures += 1

    async def drain(self) -> None:
        """Takes no more jobs."""
        self._draining = True
        await self.report()

    async def report(self) -> None:
        """Tells LiveKit how full the worker is; called when that changes and once a second."""
        if self._socket is None or not self.registered.is_set():
            return
        calls = self._hall.calls() + self._promised()
        full = self._draining or calls >= self._settings.hard_capacity
        status = proto.UpdateWorkerStatus(
            status=proto.WorkerStatus.WS_FULL if full else proto.WorkerStatus.WS_AVAILABLE,
            load=calls / self._settings.hard_capacity,
            job_count=calls,
            draining=self._draining,
        )
        await self._send(proto.WorkerMessage(update_worker=status))

    async def job_status(self, job_id: str, status: proto.JobStatus, error: str = "") -> None:
        """Tells LiveKit how a job goes."""
        update = proto.UpdateJobStatus(job_id=job_id, status=status, error=error)
        await self._send(proto.WorkerMessage(update_job=update))

    async def _connect_and_serve(self, http: aiohttp.ClientSession) -> None:
        url = f"{self._settings.livekit_ws_url.rstrip('/')}/agent"
        headers = {"Authorization": f"Bearer {worker_token(self._settings)}"}
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                socket = await http.ws_connect(url, headers=headers, heartbeat=PING_S, autoclose=True)
        except aiohttp.WSServerHandshakeError as error:
            if error.status in (401, 403):
                raise UpstreamRejectedError("livekit", "LIVEKIT_API_KEY or LIVEKIT_API_SECRET is wrong") from error
            raise UpstreamUnavailableError("livekit", f"{error.status} at {url}") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UpstreamUnavailableError("livekit", f"can't connect to {url}") from error
        async with socket:
            self._socket = socket
            try:
                await self._register()
                await self._serve(socket)
            finally:
                self._socket = None

    async def _register(self) -> None:
        request = proto.RegisterWorkerRequest(
            type=proto.JobType.JT_ROOM,
            agent_name=self._settings.agent_name,
            version=__version__,
            allowed_permissions=models.ParticipantPermission(
                can_publish=True, can_subscribe=True, can_publish_data=True, can_update_metadata=True, agent=True
            ),
        )
        await self._send(proto.WorkerMessage(register=request))

    async def _serve(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        reporting = asyncio.get_running_loop().create_task(self._report_regularly())
        try:
            async for message in socket:
                if message.type is not aiohttp.WSMsgType.BINARY:
                    continue
                await self._handle(_parse(message.data))
        finally:
            reporting.cancel()
            await asyncio.gather(reporting, return_exceptions=True)
        raise UpstreamUnavailableError("livekit", "closed the worker's connection")

    async def _handle(self, message: proto.ServerMessage) -> None:
        match message.WhichOneof("message"):
            case "register":
                self.registered.set()
                log.info("worker_registered", livekit_worker=message.register.worker_id)
                await self.report()
            case "availability":
                await self._answer_offer(message.availability.job)
            case "assignment":
                await self._take(message.assignment)
            case "termination":
                self._hall.terminate(message.termination.job_id)

    async def _answer_offer(self, job: proto.Job) -> None:
        self._forget_late_promises()
        call = _call_of(job)
        free = self._hall.calls() + self._promised() < self._settings.worker_capacity
        accept = bool(call) and free and not self._draining
        if accept:
            now = asyncio.get_running_loop().time()
            self._promises[job.id] = _Promise(now + ASSIGNMENT_TIMEOUT_S)
        else:
            self.refused_offers += 1
            log.info("offer_refused", job=job.id, draining=self._draining, free=free, named_call=bool(call))
        answer = proto.AvailabilityResponse(
            job_id=job.id,
            available=accept,
            participant_identity=f"{wire.agent_prefix(call or '')}{job.id}",
            participant_name="agent",
        )
        await self._send(proto.WorkerMessage(availability=answer))

    async def _take(self, assignment: proto.JobAssignment) -> None:
        job = assignment.job
        if self._promises.pop(job.id, None) is None:
            log.warning("assignment_without_offer", job=job.id)
        url = assignment.url or self._settings.livekit_ws_url
        self._hall.take(Job(job.id, _call_of(job) or "", job.room.name, url, assignment.token))
        await self.report()

    async def _report_regularly(self) -> None:
        while True:
            await asyncio.sleep(STATUS_S)
            self._forget_late_promises()
            await self.report()

    async def _send(self, message: proto.WorkerMessage) -> None:
        socket = self._socket
        if socket is None or socket.closed:
            return
        with contextlib.suppress(ConnectionError, aiohttp.ClientError, TimeoutError):
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await socket.send_bytes(message.SerializeToString())

    def _promised(self) -> int:
        return len(self._promises)

    def _forget_late_promises(self) -> None:
        now = asyncio.get_running_loop().time()
        for job_id in [job_id for job_id, promise in self._promises.items() if promise.expires_at <= now]:
            log.warning("offer_never_assigned", job=job_id)
            del self._promises[job_id]


def _parse(data: bytes) -> proto.ServerMessage:
    try:
        return proto.ServerMessage.FromString(data)
    except Exception as error:
        raise RemoteProtocolError(f"livekit sent {len(data)} bytes that are no ServerMessage") from error


def _call_of(job: proto.Job) -> str | None:
    """The call that the dispatch's metadata names; None where it names none."""
    try:
        metadata: Any = json.loads(job.metadata)
    except ValueError:
        return None
    call = metadata.get("call") if isinstance(metadata, dict) else None
    return call if isinstance(call, str) and call else None
