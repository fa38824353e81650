"""A call with a policy of its own: from its door, through the registry, to the worker that takes it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.contract.test_orchestrator import KEYED, Orch, opened
from trunkline.core import wire
from trunkline.emulators.twilio import new_call_sid

pytestmark = pytest.mark.contract


@pytest.fixture
async def orch(redis_url: str) -> AsyncIterator[Orch]:
    async with opened(redis_url) as made:
        await made.beat()
        yield made


async def policy_of(orch: Orch, call: str) -> str:
    request = wire.LeaseRequest(worker="w1", room=wire.room_of(call))
    return str((await orch.ask(f"/calls/{call}/lease", request)).json()["reply_on"])


@pytest.mark.parametrize("reply_on", ["", "first_partial", "final"])
async def test_a_token_may_name_when_the_agent_answers(orch: Orch, reply_on: str) -> None:
    body = {"role": "caller", "reply_on": reply_on} if reply_on else {"role": "caller"}
    given = (await orch.http.post("/token", json=body, headers=KEYED)).json()
    assert await policy_of(orch, given["call"]) == reply_on


async def test_a_number_s_webhook_may_name_it(orch: Orch) -> None:
    call = new_call_sid()
    form = {"CallSid": call, "From": "+15550100", "To": "+15550199", "CallStatus": "ringing"}
    await orch.twilio.post("/twilio/voice?reply_on=stable_partial", form)
    assert await policy_of(orch, call) == "stable_partial"


async def test_one_that_nobody_knows_is_refused_and_begins_no_call(orch: Orch) -> None:
    response = await orch.http.post("/token", json={"reply_on": "whenever"}, headers=KEYED)
    assert response.status_code == 400
    assert orch.livekit.asked == []
