"""The worker's end of the job socket: when it tries again, and which jobs it takes."""

from __future__ import annotations

import asyncio

import pytest

from trunkline.agent.jobs import JobSocket
from trunkline.agent.worker import Worker
from trunkline.core import wire
from trunkline.core.errors import RemoteProtocolError, UpstreamError, UpstreamRejectedError, UpstreamUnavailableError
from trunkline.settings import Settings
from trunkline.testing.virtual_time import in_virtual_time

pytestmark = pytest.mark.unit

SETTINGS = Settings(
    _env_file=None,  # type: ignore[call-arg]
    livekit_api_key="key",
    livekit_api_secret="a-secret-of-more-than-thirty-two-characters",  # type: ignore[arg-type]
    orch_url="http://127.0.0.1:1",
    media_engine="sdk",  # type: ignore[arg-type]
    worker_capacity=1,
    worker_hard_capacity=2,
)
AWAY = UpstreamUnavailableError("orchestrator", "away")
REFUSED = UpstreamRejectedError("orchestrator", "key")


class NoHall:
    def take(self, job: wire.Job) -> str:
        raise AssertionError(job)


class TriedSocket(JobSocket):
    """Each try ends as `ends` says: connected or not, with which error; the instants of all tries are kept."""

    def __init__(self, ends: list[tuple[bool, Exception]]) -> None:
        super().__init__(SETTINGS, NoHall())
        self.ends = ends
        self.tries: list[float] = []

    async def _connect_and_serve(self, _http: object) -> None:
        self.tries.append(asyncio.get_running_loop().time())
        connects, error = self.ends.pop(0)
        if connects:
            self._served = True
            self.connected.set()
        raise error


async def pauses(ends: list[tuple[bool, Exception]]) -> list[float]:
    """Seconds between tries, until a bug of ours ends it."""
    tried = TriedSocket([*ends, (False, ZeroDivisionError())])
    with pytest.raises(ZeroDivisionError):
        await tried.run()
    return [round(after - before, 3) for before, after in zip(tried.tries, tried.tries[1:], strict=False)]


@in_virtual_time
async def test_pauses_grow_while_the_orchestrator_is_away() -> None:
    assert await pauses([(False, AWAY)] * 6) == [0.5, 1.0, 2.0, 2.0, 2.0, 2.0]


@in_virtual_time
async def test_a_connection_that_was_there_is_made_again_soon() -> None:
    assert await pauses([(False, AWAY), (False, AWAY), (True, AWAY), (False, AWAY)]) == [0.5, 1.0, 0.2, 0.5]


@pytest.mark.parametrize("error", [REFUSED, RemoteProtocolError("no job")])
@in_virtual_time
async def test_what_goes_wrong_after_it_served_does_not_end_the_worker(error: Exception) -> None:
    assert await pauses([(True, AWAY), (False, error)]) == [0.2, 0.5]


@in_virtual_time
async def test_a_key_that_never_served_ends_the_worker() -> None:
    with pytest.raises(UpstreamError, match="key"):
        await TriedSocket([(False, AWAY), (False, REFUSED)]).run()


def job(call: str) -> wire.Job:
    return wire.Job(call=call, room=wire.room_of(call))


async def test_a_worker_takes_a_call_once_up_to_its_hard_capacity_and_none_while_it_drains() -> None:
    worker = Worker(SETTINGS)
    try:
        assert [worker.take(job(call)) for call in "aabc"] == ["", "", "", "full"]
        assert worker.calls() == 2
        first, second = (session.job for session in worker._sessions.values())
        assert (first.call, first.room, second.call) == ("a", "room-a", "b")
        assert first.identity.startswith(wire.agent_prefix("a"))
        worker._sessions.pop("b")
        worker._draining = True
        assert worker.take(job("d")) == "draining"
        # One that it holds already is no new one.
        assert worker.take(job("a")) == ""
    finally:
        worker._sessions.setdefault("b", None)  # type: ignore[arg-type]
        for task in list(worker._tasks.values()):
            task.cancel()
        await asyncio.gather(*worker._tasks.values(), return_exceptions=True)
        await worker._close()
