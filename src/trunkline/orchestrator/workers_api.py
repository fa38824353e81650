"""What workers ask: signs of life, leases, admission, and the end of a call.

A worker proves itself with a LiveKit token that has the `agent` grant. Bodies are the messages of `core/wire.py`;
refusals are `wire.Refusal`.
"""

from __future__ import annotations

import dataclasses
import time
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends, Request

from trunkline.core import wire
from trunkline.core.admission import AdmissionRefusedError
from trunkline.core.errors import Reason, UpstreamError
from trunkline.logs import masked
from trunkline.orchestrator.context import CallId, Context, Parts, RefusedError, bearer_of
from trunkline.orchestrator.entries import CallEntry
from trunkline.orchestrator.registry import RegistryRefusalError
from trunkline.orchestrator.tokens import check_call_token, worker_of
from trunkline.orchestrator.twilio import may_transfer, transfer_number

log = structlog.get_logger()

router = APIRouter()


async def proven_worker(request: Request, parts: Parts) -> str:
    """The worker that asks. Raises RefusedError where it can't prove to be one."""
    worker = worker_of(parts.settings, bearer_of(request))
    if worker is None:
        raise RefusedError(401, "not_a_worker", "needs a LiveKit token with the agent grant")
    return worker


Worker = Annotated[str, Depends(proven_worker)]


@router.post("/workers/{worker_id}/heartbeat")
async def heartbeat(worker_id: str, beat: wire.Heartbeat, worker: Worker, parts: Parts) -> dict[str, Any]:
    """A sign of life; the answer names the calls that are no longer the worker's."""
    _is_itself(worker, worker_id)
    if not 0 <= beat.soft_capacity <= beat.hard_capacity <= 10_000 or len(beat.calls) > 10_000:
        raise RefusedError(400, "bad_heartbeat", "capacities must be 0 <= soft <= hard <= 10000")
    return {"lost": await parts.registry.heartbeat(worker, beat)}


@router.delete("/workers/{worker_id}")
async def leave(worker_id: str, worker: Worker, parts: Parts) -> dict[str, Any]:
    """The worker takes no more calls."""
    _is_itself(worker, worker_id)
    await parts.registry.forget_worker(worker)
    log.info("worker_left", worker=worker)
    return {}


@router.post("/calls/{call}/lease")
async def lease(call: CallId, request: wire.LeaseRequest, worker: Worker, parts: Parts) -> dict[str, Any]:
    """Gives the call to a worker."""
    _is_itself(worker, request.worker)
    try:
        given = await parts.registry.lease(call, request)
    except RegistryRefusalError as refusal:
        log.warning("lease_refused", call=call, worker=worker, reason=refusal.word)
        raise _refused(refusal) from refusal
    log.info("lease_given", call=call, worker=worker, fence=given.fence, admitted=given.admitted)
    return dataclasses.asdict(given)


@router.post("/calls/{call}/admit")
async def admit(call: CallId, request: wire.AdmitRequest, worker: Worker, parts: Parts) -> dict[str, Any]:
    """Lets the caller in, or puts it out while it rings."""
    entry = await _entry(parts, call)
    try:
        await _admit(parts, entry, request)
    except AdmissionRefusedError as refusal:
        log.warning("caller_refused", call=call, worker=worker, reason=refusal.reason, detail=refusal.detail)
        await parts.calls.turn_away(entry.room, request.participant)
        raise RefusedError(403, refusal.reason, refusal.detail) from refusal
    log.info("caller_admitted", call=call, worker=worker)
    return {}


@router.post("/calls/{call}/answered")
async def answered(call: CallId, notice: wire.AnsweredNotice, worker: Worker, parts: Parts) -> dict[str, Any]:
    """The caller hears the agent."""
    try:
        await parts.registry.answered(call, notice.fence)
    except RegistryRefusalError as refusal:
        raise _refused(refusal) from refusal
    log.info("call_answered", call=call, worker=worker)
    return {}


@router.post("/calls/{call}/transfer")
async def transfer(call: CallId, request: wire.TransferRequest, worker: Worker, parts: Parts) -> dict[str, Any]:
    """Hands the caller over to a number that TRANSFER_ALLOW names; answers when that is done."""
    entry = await _entry(parts, call)
    if entry.fence != request.fence:
        raise RefusedError(409, "lease_lost", "lease lost")
    if entry.kind is not wire.CallKind.PHONE:
        raise RefusedError(400, "no_phone", "only a phone call can be transferred")
    number = transfer_number(f"tel:{request.number}")
    if number is None or not may_transfer(parts.settings.transfer_allow, number):
        log.warning("transfer_refused", call=call, worker=worker, number=masked(request.number))
        raise RefusedError(403, "transfer_refused", "TRANSFER_ALLOW does not name the number")
    try:
        await parts.livekit.transfer(entry.room, entry.participant, number)
    except UpstreamError as error:
        log.warning("transfer_failed", call=call, number=masked(number), error=str(error))
        raise RefusedError(502, "transfer_failed", "the call could not be transferred") from error
    log.info("call_transferred", call=call, worker=worker, number=masked(number))
    return {}


@router.post("/calls/{call}/end")
async def end(call: CallId, notice: wire.EndNotice, worker: Worker, parts: Parts) -> dict[str, Any]:
    """The session is over: slot, lease and room are released."""
    try:
        await parts.calls.finish(call, notice)
    except RegistryRefusalError as refusal:
        raise _refused(refusal) from refusal
    return {}


async def _admit(parts: Context, entry: CallEntry, request: wire.AdmitRequest) -> None:
    token_id, ttl_s = "", 0.0
    if entry.kind is wire.CallKind.PHONE:
        now = time.time()
        claims = check_call_token(parts.settings, entry.call, request.token, now)
        token_id, ttl_s = claims.token_id, max(1.0, claims.expires_at - now + 1)
    elif request.participant != entry.participant:
        # LiveKit let it in by a room token of ours; only the one we gave it to is the caller.
        raise AdmissionRefusedError(Reason.REFUSED_TOKEN, "somebody else than the expected participant")
    try:
        await parts.registry.admit(entry.call, request.fence, request.participant, token_id, ttl_s)
    except RegistryRefusalError as refusal:
        if refusal.word == "token_used":
            raise AdmissionRefusedError(Reason.REFUSED_TOKEN, "the call token was used before") from refusal
        raise _refused(refusal) from refusal


async def _entry(parts: Context, call: str) -> CallEntry:
    entry = await parts.registry.knows(call)
    if entry is None:
        raise RefusedError(404, "unknown_call", "no such call")
    return entry


def _is_itself(worker: str, named: str) -> None:
    if worker != named:
        raise RefusedError(403, "wrong_worker", "the token proves another worker")


def _refused(refusal: RegistryRefusalError) -> RefusedError:
    status = 404 if refusal.word == "unknown_call" else 409
    return RefusedError(status, refusal.word, refusal.word.replace("_", " "))
