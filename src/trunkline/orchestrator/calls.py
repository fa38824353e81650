"""What can be done to a call: begun, ended, rescued. The doors (Twilio, tokens, workers, operators) all come here."""

from __future__ import annotations

import asyncio
import secrets

import structlog

from trunkline.core import wire
from trunkline.core.errors import CapacityError, Reason, UpstreamError
from trunkline.orchestrator.livekit_admin import LiveKitAdmin
from trunkline.orchestrator.refusals import Refusals
from trunkline.orchestrator.registry import Registry, RegistryRefusalError

log = structlog.get_logger()

PUBLISH_TIMEOUT_S = 0.8
PUBLISH_TRIES = 16


class Calls:
    """The calls of all orchestrators: the registry remembers them, LiveKit carries them.

    Args:
        registry: Remembers.
        livekit: Carries.
        max_calls: Upper limit, 0 for none.
    """

    def __init__(self, registry: Registry, livekit: LiveKitAdmin, max_calls: int) -> None:
        self._registry = registry
        self._livekit = livekit
        self._max_calls = max_calls
        self.refusals: Refusals | None = None
        """Told who is put out; set by whoever has the settings for it."""

    async def begin(
        self, call: str, kind: wire.CallKind, participant: str = "", room: str = "", reply_on: str = ""
    ) -> None:
        """Takes a slot and has an agent join while the caller still dials.

        Args:
            call: Its id; where it has begun already, nothing happens.
            kind: The door it comes in by.
            participant: Who is expected; empty where that is not known.
            room: A shared one; empty: a room of its own.
            reply_on: When the agent answers; empty: as its settings say.

        Raises:
            CapacityError: no slot is free.
            UpstreamError: Redis or LiveKit failed; no slot is held.
        """
        worker = await self._registry.reserve(call, kind, participant, self._max_calls, room, reply_on=reply_on)
        if worker is None:
            log.info("call_begun_already", call=call)
            return
        try:
            await self._open_room(call, room)
            await self._give(wire.Job(call=call, room=room or wire.room_of(call)), worker)
        except BaseException:
            await self.drop(call, "room_failed")
            raise
        log.info("call_begun", call=call, kind=kind)

    async def begin_webrtc(self, participant: str, room: str = "", reply_on: str = "") -> tuple[str, str]:
        """Begins a call for one who is not on the phone; its id and its room. Raises what `begin` does."""
        call = f"web-{secrets.token_hex(12)}"
        try:
            await self.begin(call, wire.CallKind.WEBRTC, participant, room, reply_on)
        except CapacityError as full:
            full.call = call
            raise
        return call, room or wire.room_of(call)

    async def finish(self, call: str, notice: wire.EndNotice) -> None:
        """The worker that holds the call has ended it. Raises RegistryRefusalError."""
        room = await self._registry.release(call, notice.fence)
        await self.close_room_of(room)
        log.info("call_finished", call=call, result=notice.result, reason=notice.reason)

    async def drop(self, call: str, why: str) -> bool:
        """Ends a call whoever holds it; False where there is no such call. Raises UpstreamError without Redis."""
        try:
            room = await self._registry.release(call, None)
        except RegistryRefusalError:
            return False
        await self.close_room_of(room)
        log.info("call_dropped", call=call, why=why)
        return True

    async def turn_away(self, room: str, identity: str) -> None:
        """Puts a caller out who was not let in, while it rings."""
        try:
            await self._let_publish(room, identity)
            await self._livekit.remove_participant(room, identity)
        except UpstreamError as error:
            log.error("participant_not_removed", room=room, error=str(error))

    async def refuse_unknown_room(self, room: str, identity: str) -> None:
        """Puts a phone call out that dialled a room of its own invention."""
        log.warning("caller_refused", room=room[:80], reason=Reason.REFUSED_UNKNOWN_ROOM)
        self._tell_refusal("unknown_room")
        await self.turn_away(room, identity)

    async def refuse_second_phone(self, room: str, identity: str) -> None:
        """Puts a phone call out that came into the room of another one."""
        log.warning("caller_refused", room=room, reason="refused_second_phone")
        self._tell_refusal("second_phone")
        await self.turn_away(room, identity)

    def _tell_refusal(self, reason: str) -> None:
        # Without a call: an invented room has none, and the call of a second phone's room is another's.
        if self.refusals is not None:
            self.refusals.tell(wire.Door.BRIDGE, reason)

    async def _let_publish(self, room: str, identity: str) -> None:
        """Waits until a phone has published its track.

        livekit-sip that is put out before goes on waiting for that, for 10 s, and the caller would hear it ring.
        """
        for _ in range(PUBLISH_TRIES):
            if await self._livekit.has_track(room, identity):
                return
            await asyncio.sleep(PUBLISH_TIMEOUT_S / PUBLISH_TRIES)

    async def dispatch_again(self, call: str, room: str, worker: str) -> None:
        """Gives the call to a worker once more; makes the room anew where it is gone."""
        await self._open_room(call, room)
        await self._give(wire.Job(call=call, room=room), worker)

    async def pass_on(self, job: wire.Job, worker: str) -> None:
        """Gives a call to another worker than this one, which does not take it. Raises UpstreamError without Redis."""
        await self._give(job, await self._registry.pass_on(job.call, worker))

    async def _give(self, job: wire.Job, worker: str) -> None:
        """Sends the job to this worker, or to the next one whose socket somebody has; the watchdog tries again."""
        while worker and not await self._registry.jobs.send(worker, job):
            log.warning("worker_not_connected", call=job.call, worker=worker)
            worker = await self._registry.pass_on(job.call, worker)
        log.info("call_given", call=job.call, worker=worker)

    async def _open_room(self, call: str, room: str) -> None:
        """Makes the call's room; one that is there already is fine."""
        if room.startswith(wire.SHARED_ROOM_PREFIX):
            await self._livekit.open_shared_room(room)
        else:
            await self._livekit.create_room(call)

    async def close_room_of(self, room: str) -> None:
        """Puts everybody out of a room whose call is over; in a shared one the others talk on."""
        if room.startswith(wire.SHARED_ROOM_PREFIX):
            return
        try:
            await self._livekit.delete_room(room)
        except UpstreamError as error:
            # It empties on its own; the slot is free already.
            log.warning("room_not_deleted", room=room, error=str(error))
