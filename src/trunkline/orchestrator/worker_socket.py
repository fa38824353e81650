"""The socket by which a worker gets its jobs: one for each worker, to any orchestrator.

Jobs go one way, refusals the other (`core/wire.py`). A job that could not be sent, or is refused, goes to another
worker at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json

import structlog
from fastapi import APIRouter, WebSocket
from starlette.websockets import WebSocketDisconnect

from trunkline.core import wire
from trunkline.core.errors import UpstreamError
from trunkline.orchestrator.context import Context, Parts, RefusedError, bearer_of
from trunkline.orchestrator.jobs import TOO_SLOW, Outbox
from trunkline.orchestrator.tokens import worker_of

log = structlog.get_logger()

SEND_TIMEOUT_S = 2.0
UNREADABLE = 4000
"""Close code: the worker sent something that is no refusal."""

router = APIRouter()


@router.websocket("/workers/{worker_id}/jobs")
async def jobs(worker_id: str, socket: WebSocket, parts: Parts) -> None:
    """Carries one worker's jobs until either side closes.

    Close codes: 4000 unreadable, 4001 replaced by a newer socket of the same worker, 4002 too slow, 1012 we stop.
    """
    worker = worker_of(parts.settings, bearer_of(socket))
    if worker is None:
        refusal = RefusedError(401, "not_a_worker", "needs a LiveKit token with the agent grant")
        await socket.send_denial_response(refusal.response())
    elif worker != worker_id:
        refusal = RefusedError(403, "wrong_worker", "the token proves another worker")
        await socket.send_denial_response(refusal.response())
    else:
        await _serve(worker, socket, parts)


async def _serve(worker: str, socket: WebSocket, parts: Context) -> None:
    """The worker hears that it is connected only when its jobs find us."""
    outbox = await parts.registry.jobs.attach(worker)
    work: list[asyncio.Task[int]] = []
    code = 0
    try:
        await socket.accept()
        log.info("worker_connected", worker=worker)
        work = [asyncio.create_task(_send(outbox, socket)), asyncio.create_task(_hear(worker, socket, parts))]
        done, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
        code = done.pop().result()
    finally:
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        unsent = await parts.registry.jobs.detach(worker, outbox)
        log.info("worker_disconnected", worker=worker, code=code, unsent=len(unsent))
        for job in unsent:
            await _pass_on(job, worker, parts)
    if code:
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):
            await socket.close(code)


async def _send(outbox: Outbox, socket: WebSocket) -> int:
    """Sends jobs; returns the close code, 0 where the socket is closed already."""
    while (job := await outbox.next()) is not None:
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await socket.send_text(wire.encode(job).decode())
        except TimeoutError:
            return TOO_SLOW
        except (WebSocketDisconnect, RuntimeError, OSError):
            return 0
        outbox.waiting.popleft()
    return outbox.close_code


async def _hear(worker: str, socket: WebSocket, parts: Context) -> int:
    """Takes refusals; returns as `_send`."""
    while True:
        try:
            refusal = wire.refusal_of(json.loads(await socket.receive_text()))
        except WebSocketDisconnect:
            return 0
        except (ValueError, KeyError) as error:
            log.warning("worker_unreadable", worker=worker, error=str(error))
            return UNREADABLE
        log.warning("job_refused", call=refusal.call, worker=worker, reason=refusal.reason)
        await _pass_on(wire.Job(call=refusal.call, room=refusal.room), worker, parts)


async def _pass_on(job: wire.Job, worker: str, parts: Context) -> None:
    try:
        await parts.calls.pass_on(job, worker)
    except UpstreamError as error:
        log.error("job_not_passed_on", call=job.call, error=str(error))
