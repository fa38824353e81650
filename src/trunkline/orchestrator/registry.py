"""The one memory of which calls there are, who holds them and who was let in: in Redis, by scripts.

Each step is one Lua script (`lua/`), so that it happens whole or not at all, whatever number of orchestrators runs. A
call's record is its slot. Every write about a call carries the fencing number of the lease it was made under; a worker
that was replaced is told so and leaves. The script that takes a slot also chooses the worker that the call is given to.

    {trunkline}:calls          sorted set: call -> when it began
    {trunkline}:call:CALL      hash: room, kind, participant, assigned, worker, fence, lease_until, admitted, …
    {trunkline}:workers        sorted set: worker -> when it was last seen
    {trunkline}:worker:WORKER  hash: soft, hard, calls
    {trunkline}:token:ID       a call token that was used; gone when the token has expired
    {trunkline}:link:HASH      a one-time link, see links.py
    {trunkline}:jobs:WORKER    channel of a worker's jobs, see jobs.py
"""

from __future__ import annotations

from importlib import resources
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from trunkline.core import wire
from trunkline.core.admission import LEASE_S, WORKER_ALIVE_S, is_call_id
from trunkline.core.errors import CapacityError, UpstreamUnavailableError
from trunkline.core.units import s_to_us
from trunkline.orchestrator.entries import CallEntry, Snapshot, call_entry, pairs, worker_entry
from trunkline.orchestrator.jobs import Jobs
from trunkline.orchestrator.links import Links

PREFIX = "{trunkline}:"
REDIS_TIMEOUT_S = 1.0
WORKER_ALIVE_MS = round(WORKER_ALIVE_S * 1000)
WORKER_FORGOTTEN_S = 60.0
"""A worker that gave no sign for so long is listed no more."""

SCRIPTS = ("reserve", "lease", "heartbeat", "admit", "answered", "release", "claim", "pass_on", "leg", "list")


class RegistryRefusalError(Exception):
    """The registry does not allow a step.

    Args:
        word: unknown_call, wrong_room, held, lease_lost or token_used.
    """

    def __init__(self, word: str) -> None:
        super().__init__(word)
        self.word = word


class Registry:
    """The registry behind one Redis connection pool. Every method raises UpstreamUnavailableError without Redis.

    Args:
        redis: Decodes answers to text.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self.links = Links(redis, PREFIX)
        self.jobs = Jobs(redis, PREFIX)
        lua = resources.files("trunkline.orchestrator").joinpath("lua")
        prelude = lua.joinpath("prelude.lua").read_text()
        self._scripts = {
            name: redis.register_script(prelude + lua.joinpath(f"{name}.lua").read_text()) for name in SCRIPTS
        }

    @classmethod
    def at(cls, url: str) -> Registry:
        """A registry at a Redis URL; connects when it is first used."""
        redis = Redis.from_url(
            url, decode_responses=True, socket_timeout=REDIS_TIMEOUT_S, socket_connect_timeout=REDIS_TIMEOUT_S
        )
        return cls(redis)

    async def close(self) -> None:
        """Closes the connections."""
        await self._redis.aclose()

    async def ping(self) -> None:
        """Asks Redis for a sign of life."""
        try:
            await self._redis.ping()
        except (RedisError, OSError) as error:
            raise _unavailable(error) from error

    async def reserve(
        self, call: str, kind: wire.CallKind, participant: str, max_calls: int, room: str = "", *, reply_on: str = ""
    ) -> str | None:
        """Takes a slot, and chooses the worker with the largest free share of its capacity.

        Args:
            call: Its id.
            kind: The door it comes in by.
            participant: Who is expected; empty where that is not known yet.
            max_calls: Upper limit whatever the workers can take; 0 for none.
            room: A shared one; empty: the call's own.
            reply_on: When the agent answers; empty: as its settings say.

        Returns:
            The worker to give the call to; None where it has a slot already.

        Raises:
            CapacityError: all slots are taken.
        """
        word, used, capacity, worker = await self._run(
            "reserve",
            call,
            room or wire.room_of(call),
            kind,
            participant,
            max_calls,
            WORKER_ALIVE_MS,
            reply_on,
        )
        if word == "full":
            raise CapacityError(int(used), int(capacity))
        return str(worker) if word == "reserved" else None

    async def lease(self, call: str, request: wire.LeaseRequest) -> wire.Lease:
        """Gives a call to a worker. Raises RegistryRefusalError where it is not to be had."""
        word, *rest = await self._run("lease", call, request.worker, request.room, round(LEASE_S * 1000))
        _refuse_unless_ok(word)
        fence, kind, admitted, participant, reply_on = rest
        return wire.Lease(
            call=call,
            room=request.room,
            kind=wire.CallKind(kind),
            fence=int(fence),
            admitted=bool(int(admitted)),
            participant=participant,
            reply_on=reply_on,
        )

    async def heartbeat(self, worker: str, beat: wire.Heartbeat) -> list[str]:
        """Extends a worker's leases; returns the calls that are no longer its own."""
        held = [part for lease in beat.calls for part in (lease.call, lease.fence)]
        lost = await self._run(
            "heartbeat",
            worker,
            beat.soft_capacity,
            beat.hard_capacity,
            round(LEASE_S * 1000),
            round(WORKER_FORGOTTEN_S * 1000),
            *held,
        )
        return [str(call) for call in lost]

    async def forget_worker(self, worker: str) -> None:
        """The worker has left; its leases run out on their own."""
        try:
            await self._redis.zrem(f"{PREFIX}workers", worker)
            await self._redis.delete(f"{PREFIX}worker:{worker}")
        except (RedisError, OSError) as error:
            raise _unavailable(error) from error

    async def admit(self, call: str, fence: int, participant: str, token_id: str, token_ttl_s: float) -> None:
        """Lets a caller in. Raises RegistryRefusalError.

        Args:
            call: Its id.
            fence: The lease under which it is asked.
            participant: The caller's identity in the room.
            token_id: Of the token it brought; empty where the room's own token was the proof.
            token_ttl_s: How long a used token must be remembered.
        """
        word = await self._run("admit", call, fence, participant, token_id, s_to_us(token_ttl_s) // 1000)
        _refuse_unless_ok(word)

    async def answered(self, call: str, fence: int) -> None:
        """The caller hears the agent. Raises RegistryRefusalError."""
        _refuse_unless_ok(await self._run("answered", call, fence))

    async def release(self, call: str, fence: int | None) -> str:
        """Ends a call; returns its room. Raises RegistryRefusalError.

        Args:
            call: Its id.
            fence: The lease under which it ends; None: whoever holds it.
        """
        word, room = await self._run("release", call, "" if fence is None else fence)
        _refuse_unless_ok(word)
        return str(room)

    async def claim(self, call: CallEntry, give_up: bool) -> str | None:
        """Takes it on us to rescue a call as we saw it: chooses a worker, another than before where there is one.

        Args:
            call: As it was when the decision was made.
            give_up: It ends by that, and no worker is chosen.

        Returns:
            None where it is not on us; else the worker to give the call to, empty where there is none.
        """
        ours, worker = await self._run(
            "claim", call.call, call.fence, call.orphan.dispatches, int(give_up), WORKER_ALIVE_MS
        )
        return str(worker) if int(ours) else None

    async def pass_on(self, call: str, worker: str) -> str:
        """The next worker for a call that this one does not take; empty where no other is left until the next dispatch,
        and where the call is held, gone, or was given to somebody else by now.
        """
        return str(await self._run("pass_on", call, worker, WORKER_ALIVE_MS))

    async def knows(self, call: str) -> CallEntry | None:
        """The call's record, or None."""
        try:
            fields = await self._redis.hgetall(f"{PREFIX}call:{call}")
        except (RedisError, OSError) as error:
            raise _unavailable(error) from error
        return call_entry(call, {str(k): str(v) for k, v in fields.items()}) if fields else None

    async def call_in(self, room: str) -> str | None:
        """The call that takes place in a room; None where it is no call's, whatever its name."""
        call = wire.call_of(room)
        return call if call is not None and is_call_id(call) and await self.knows(call) is not None else None

    async def is_its_leg(self, call: str, leg: str) -> bool:
        """True where this is the call's own phone: the first one that came. Others may know its room, and are not.

        Args:
            call: Its id.
            leg: livekit-sip's id of the phone call.
        """
        word, first = await self._run("leg", call, leg)
        return bool(word == "unknown_call" or first == leg)

    async def snapshot(self) -> Snapshot:
        """Everything at one instant."""
        return await self._list("all")

    async def orphans(self) -> Snapshot:
        """The same, but only of the calls those that no worker holds."""
        return await self._list("orphans")

    async def _list(self, which: str) -> Snapshot:
        now, calls, workers = await self._run("list", which)
        return Snapshot(
            int(now),
            [call_entry(call, pairs(fields)) for call, *fields in calls if fields],
            [worker_entry(worker, seen, pairs(fields)) for worker, seen, *fields in workers if fields],
        )

    async def _run(self, script: str, *args: Any) -> Any:
        try:
            return await self._scripts[script](keys=[f"{PREFIX}calls"], args=[PREFIX, *args])
        except (RedisError, OSError) as error:
            raise _unavailable(error) from error


def _unavailable(error: Exception) -> UpstreamUnavailableError:
    return UpstreamUnavailableError("redis", str(error) or type(error).__name__)


def _refuse_unless_ok(word: str) -> None:
    if word != "ok":
        raise RegistryRefusalError(word)
