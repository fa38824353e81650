"""The watchdog: rescues calls that no worker holds, and ends phone calls that no call is known for.

Every orchestrator runs one. They agree through the registry: whoever claims an orphan first acts on it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from trunkline.core.errors import UpstreamError
from trunkline.core.failover import Rescue, RescueTimes, decide
from trunkline.orchestrator.calls import Calls
from trunkline.orchestrator.entries import CallEntry
from trunkline.orchestrator.livekit_admin import LiveKitAdmin
from trunkline.orchestrator.registry import Registry

log = structlog.get_logger()

LOOK_S = 0.25
SWEEP_S = 1.0
MAX_ROOMS_A_SWEEP = 50
MAX_RESCUES_AT_ONCE = 32


class Watchdog:
    """Looks after the calls.

    Args:
        registry: Where they are remembered.
        calls: What can be done to them.
        livekit: Knows who is in which room.
        times: How long a caller may be without an agent.
    """

    def __init__(
        self, registry: Registry, calls: Calls, livekit: LiveKitAdmin, times: RescueTimes | None = None
    ) -> None:
        self._registry = registry
        self._calls = calls
        self._livekit = livekit
        self._times = times or RescueTimes()
        self._slots = asyncio.Semaphore(MAX_RESCUES_AT_ONCE)

    async def run(self) -> None:
        """Looks and sweeps until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_again_and_again(self.look, LOOK_S))
            tasks.create_task(_again_and_again(self.sweep, SWEEP_S))

    async def look(self) -> None:
        """Looks once, and rescues what needs it. Raises UpstreamError without Redis."""
        seen = await self._registry.orphans()
        due = [(call, decide(call.orphan, seen.now_ms, self._times)) for call in seen.calls]
        async with asyncio.TaskGroup() as tasks:
            for call, rescue in due:
                if rescue is not Rescue.WAIT:
                    tasks.create_task(self._rescue(call, rescue))

    async def sweep(self) -> None:
        """Puts phone calls out of rooms that are no call's: a webhook was lost, or a call had just ended as they came.

        Raises UpstreamError without Redis or LiveKit.
        """
        # In this order: a room of ours is in the registry before it is in LiveKit.
        rooms = await self._livekit.rooms()
        known = {call.room for call in (await self._registry.snapshot()).calls}
        for room in [room for room in rooms if room not in known][:MAX_ROOMS_A_SWEEP]:
            for identity in await self._livekit.our_phones_in(room):
                await self._calls.refuse_unknown_room(room, identity)

    async def _rescue(self, call: CallEntry, rescue: Rescue) -> None:
        async with self._slots:
            try:
                worker = await self._registry.claim(call, give_up=rescue is Rescue.GIVE_UP)
                if worker is None:
                    return
                if rescue is Rescue.GIVE_UP:
                    log.error("call_given_up", call=call.call, reason="no_agent", worker=call.assigned)
                    await self._calls.close_room_of(call.room)
                    return
                log.warning("call_dispatched_again", call=call.call, lost_worker=call.assigned, worker=worker)
                await self._calls.dispatch_again(call.call, call.room, worker)
            except UpstreamError as error:
                # The next look tries again, until it is given up.
                log.error("rescue_failed", call=call.call, error=str(error))


async def _again_and_again(work: Callable[[], Awaitable[None]], pause_s: float) -> None:
    """Does it for ever; an upstream that fails is logged once until it is back."""
    failing = False
    while True:
        try:
            await work()
            failing = False
        except UpstreamError as error:
            if not failing:
                log.error("watchdog_blind", error=str(error))
            failing = True
        await asyncio.sleep(pause_s)
