"""The registry against a real Redis: slots, leases with fencing, admission once, rescue by one."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from trunkline.core import wire
from trunkline.core.errors import CapacityError, UpstreamUnavailableError
from trunkline.core.failover import Rescue, RescueTimes, decide
from trunkline.orchestrator.registry import PREFIX, Registry, RegistryRefusalError

pytestmark = pytest.mark.contract

PHONE = wire.CallKind.PHONE


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = Redis.from_url(redis_url, decode_responses=True)
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture
async def registry(redis: Redis, redis_url: str) -> AsyncIterator[Registry]:
    registry = Registry.at(redis_url)
    yield registry
    await registry.close()


async def beat(
    registry: Registry, worker: str = "w1", soft: int = 2, held: dict[str, int] | None = None, hard: int = 34
) -> list[str]:
    calls = [wire.HeldLease(call=call, fence=fence) for call, fence in (held or {}).items()]
    return await registry.heartbeat(worker, wire.Heartbeat(soft_capacity=soft, hard_capacity=hard, calls=calls))


async def lease(registry: Registry, call: str, worker: str = "w1") -> wire.Lease:
    return await registry.lease(call, wire.LeaseRequest(worker=worker, room=wire.room_of(call)))


async def age_lease(redis: Redis, call: str) -> None:
    """Makes a call's lease end in the past, as if its worker had been silent."""
    await redis.hset(f"{PREFIX}call:{call}", mapping={"lease_until": 1, "orphaned": 1})


async def test_no_worker_no_slot(registry: Registry) -> None:
    with pytest.raises(CapacityError) as full:
        await registry.reserve("a", PHONE, "", 0)
    assert (full.value.used, full.value.capacity) == (0, 0)


async def test_the_slots_are_those_of_live_workers_and_of_max_calls(registry: Registry, redis: Redis) -> None:
    await beat(registry, "w1", soft=2)
    await beat(registry, "w2", soft=1)
    for call in "abc":
        assert await registry.reserve(call, PHONE, "", 0)
    with pytest.raises(CapacityError) as full:
        await registry.reserve("d", PHONE, "", 0)
    assert (full.value.used, full.value.capacity) == (3, 3)
    await registry.release("a", None)
    with pytest.raises(CapacityError):
        await registry.reserve("d", PHONE, "", 2)
    assert await registry.reserve("d", PHONE, "", 0)
    await registry.release("b", None)
    await redis.zadd(f"{PREFIX}workers", {"w1": 1, "w2": 1})
    with pytest.raises(CapacityError):
        await registry.reserve("e", PHONE, "", 0)


async def test_a_hundred_at_once_get_exactly_the_slots_there_are(registry: Registry) -> None:
    await beat(registry, soft=40)
    results = await asyncio.gather(
        *(registry.reserve(f"c{n}", PHONE, "", 0) for n in range(100)), return_exceptions=True
    )
    assert sum(result == "w1" for result in results) == 40
    assert sum(isinstance(result, CapacityError) for result in results) == 60


async def test_a_call_asked_for_twice_has_one_slot(registry: Registry) -> None:
    await beat(registry, soft=1)
    assert await registry.reserve("a", PHONE, "", 0)
    assert not await registry.reserve("a", PHONE, "", 0)
    assert len((await registry.snapshot()).calls) == 1


async def test_a_lease_is_exclusive_and_fenced(registry: Registry, redis: Redis) -> None:
    await beat(registry)
    await registry.reserve("a", PHONE, "", 0)
    first = await lease(registry, "a", "w1")
    with pytest.raises(RegistryRefusalError, match="held"):
        await lease(registry, "a", "w2")
    await age_lease(redis, "a")
    second = await lease(registry, "a", "w2")
    assert second.fence == first.fence + 1
    for late in (
        registry.admit("a", first.fence, "p", "t", 60),
        registry.answered("a", first.fence),
        registry.release("a", first.fence),
    ):
        with pytest.raises(RegistryRefusalError, match="lease_lost"):
            await late
    assert await beat(registry, "w1", held={"a": first.fence}) == ["a"]
    assert await beat(registry, "w2", held={"a": second.fence}) == []
    assert await registry.release("a", second.fence) == "room-a"


@pytest.mark.parametrize(
    ("call", "room", "word"), [("none", "room-none", "unknown_call"), ("a", "room-b", "wrong_room")]
)
async def test_a_lease_is_refused(registry: Registry, call: str, room: str, word: str) -> None:
    await beat(registry)
    await registry.reserve("a", PHONE, "", 0)
    with pytest.raises(RegistryRefusalError, match=word):
        await registry.lease(call, wire.LeaseRequest(worker="w1", room=room))


async def test_a_token_admits_once_and_a_take_over_finds_the_caller_admitted(registry: Registry, redis: Redis) -> None:
    await beat(registry)
    await registry.reserve("a", PHONE, "", 0)
    await registry.reserve("b", PHONE, "", 0)
    first, other = await lease(registry, "a"), await lease(registry, "b")
    assert not first.admitted
    await registry.admit("a", first.fence, "p", "token-1", 60)
    await registry.admit("a", first.fence, "p", "token-1", 60)
    with pytest.raises(RegistryRefusalError, match="token_used"):
        await registry.admit("b", other.fence, "p", "token-1", 60)
    await age_lease(redis, "a")
    assert (await lease(registry, "a", "w2")).admitted


async def test_who_hears_the_agent_was_let_in(registry: Registry, redis: Redis) -> None:
    await beat(registry)
    await registry.reserve("a", wire.CallKind.WEBRTC, "caller", 0)
    await registry.answered("a", (await lease(registry, "a")).fence)
    await age_lease(redis, "a")
    assert (await lease(registry, "a", "w2")).admitted


async def test_states_follow_the_call(registry: Registry, redis: Redis) -> None:
    async def state() -> str:
        seen = await registry.snapshot()
        return seen.calls[0].state(seen.now_ms)

    await beat(registry)
    await registry.reserve("a", PHONE, "", 0)
    states = [await state()]
    fence = (await lease(registry, "a")).fence
    states.append(await state())
    await registry.admit("a", fence, "p", "t", 60)
    states.append(await state())
    await registry.answered("a", fence)
    states.append(await state())
    await age_lease(redis, "a")
    assert [*states, await state()] == ["reserved", "leased", "admitted", "answered", "orphaned"]


async def test_one_of_many_orchestrators_rescues(registry: Registry, redis: Redis, redis_url: str) -> None:
    await beat(registry)
    await registry.reserve("a", PHONE, "", 0)
    await lease(registry, "a")
    others = [Registry.at(redis_url) for _ in range(5)]
    [call] = (await registry.snapshot()).calls
    assert [await other.claim(call, give_up=False) for other in others] == [None] * 5
    await age_lease(redis, "a")
    claims = await asyncio.gather(*(other.claim(call, give_up=False) for other in others))
    assert sorted(claims, key=str) == [None] * 4 + ["w1"]
    [again] = (await registry.snapshot()).calls
    assert again.orphan.dispatches == 1
    given_up = await asyncio.gather(*(other.claim(again, give_up=True) for other in others))
    assert sorted(given_up, key=str) == ["", None, None, None, None]
    assert (await registry.snapshot()).calls == []
    for other in others:
        await other.close()


async def test_only_calls_that_nobody_holds_are_orphans(registry: Registry, redis: Redis) -> None:
    await beat(registry, soft=3)
    for call in ("new", "held", "left"):
        await registry.reserve(call, PHONE, "", 0)
    await lease(registry, "held")
    await lease(registry, "left")
    await age_lease(redis, "left")
    assert sorted(call.call for call in (await registry.orphans()).calls) == ["left", "new"]
    assert len((await registry.snapshot()).calls) == 3


async def test_a_new_call_is_an_orphan_whose_dispatch_is_under_way(registry: Registry) -> None:
    await beat(registry)
    await registry.reserve("a", PHONE, "", 0)
    seen = await registry.snapshot()
    orphan, times = seen.calls[0].orphan, RescueTimes()
    due = [decide(orphan, seen.now_ms + ms, times) for ms in (0, 1_400, 1_600, 4_600)]
    assert due == [Rescue.WAIT, Rescue.WAIT, Rescue.DISPATCH, Rescue.GIVE_UP]


async def assigned(registry: Registry) -> Counter[str]:
    """How many calls each worker was given."""
    return Counter(call.assigned for call in (await registry.snapshot()).calls)


async def test_a_burst_spreads_over_the_workers_before_any_lease_is_taken(registry: Registry) -> None:
    for worker in ("w1", "w2", "w3", "w4"):
        await beat(registry, worker, soft=25)
    chosen = await asyncio.gather(*(registry.reserve(f"c{n}", PHONE, "", 0) for n in range(100)))
    assert Counter(chosen) == await assigned(registry) == dict.fromkeys(("w1", "w2", "w3", "w4"), 25)
    with pytest.raises(CapacityError):
        await registry.reserve("one-more", PHONE, "", 0)


async def test_workers_of_unequal_size_are_filled_by_the_same_share(registry: Registry) -> None:
    await beat(registry, "large", soft=30)
    await beat(registry, "small", soft=10)
    for n in range(20):
        await registry.reserve(f"c{n}", PHONE, "", 0)
    assert await assigned(registry) == {"large": 15, "small": 5}


async def test_calls_that_are_held_count_as_well_as_those_under_way(registry: Registry) -> None:
    await beat(registry, "w1", soft=4)
    for call in "ab":
        assert await registry.reserve(call, PHONE, "", 0) == "w1"
    await lease(registry, "a")
    await beat(registry, "w2", soft=4)
    assert [await registry.reserve(call, PHONE, "", 0) for call in "cd"] == ["w2", "w2"]
    await registry.release("c", None)
    assert await registry.reserve("e", PHONE, "", 0) == "w2"


async def test_dead_and_draining_workers_are_given_nothing(registry: Registry, redis: Redis) -> None:
    for worker, soft in (("alive", 10), ("draining", 0), ("dead", 10)):
        await beat(registry, worker, soft=soft)
    await redis.zadd(f"{PREFIX}workers", {"dead": 1})
    for n in range(10):
        assert await registry.reserve(f"c{n}", PHONE, "", 0) == "alive"
    with pytest.raises(CapacityError):
        await registry.reserve("one-more", PHONE, "", 0)


async def test_a_call_that_is_passed_on_comes_to_each_other_worker_once(registry: Registry) -> None:
    for worker in ("w1", "w2", "w3"):
        await beat(registry, worker)
    assert await registry.reserve("a", PHONE, "", 0) == "w1"
    # A worker that was not given the call can't pass it on.
    assert await registry.pass_on("a", "w2") == ""
    assert [await registry.pass_on("a", worker) for worker in ("w1", "w2", "w3")] == ["w2", "w3", ""]
    assert await assigned(registry) == {"": 1}
    # The next dispatch begins anew.
    [call] = (await registry.snapshot()).calls
    assert await registry.claim(call, give_up=False) == "w1"


async def test_a_call_that_is_held_is_not_passed_on(registry: Registry) -> None:
    await beat(registry, "w1")
    await beat(registry, "w2")
    assert await registry.reserve("a", PHONE, "", 0) == "w1"
    await lease(registry, "a", "w1")
    assert await registry.pass_on("a", "w1") == ""
    assert await registry.pass_on("gone", "w1") == ""
    assert await assigned(registry) == {"w1": 1}


async def test_take_overs_fill_the_others_up_to_their_hard_capacity(registry: Registry, redis: Redis) -> None:
    await beat(registry, "w1", soft=4)
    for n in range(4):
        await registry.reserve(f"c{n}", PHONE, "", 0)
        await lease(registry, f"c{n}")
    await beat(registry, "w2", soft=2, hard=3)
    await beat(registry, "draining", soft=0)
    await redis.zadd(f"{PREFIX}workers", {"w1": 1})
    for n in range(4):
        await age_lease(redis, f"c{n}")
    taken = [await registry.claim(call, give_up=False) for call in (await registry.snapshot()).calls]
    assert taken == ["w2", "w2", "w2", ""]


async def test_without_redis_every_method_says_so() -> None:
    registry = Registry.at("redis://127.0.0.1:1/0")
    for work in (registry.ping(), registry.snapshot(), registry.knows("a"), registry.forget_worker("w")):
        with pytest.raises(UpstreamUnavailableError, match="redis"):
            await work
    await registry.close()
