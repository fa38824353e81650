"""What LiveKit says about a transfer, and what it means."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from livekit import api
from livekit.protocol import sip

from trunkline.core.errors import UpstreamRejectedError
from trunkline.orchestrator.livekit_admin import LOST_ANSWER, LOST_ANSWER_S, LiveKitAdmin
from trunkline.settings import Settings
from trunkline.testing.virtual_time import in_virtual_time

pytestmark = pytest.mark.unit


async def transfer(monkeypatch: pytest.MonkeyPatch, after_s: float, outcome: Any) -> Any:
    """Transfers with a LiveKit that answers this after so long; returns what it was asked."""
    asked: list[Any] = []

    async def answer(request: Any) -> Any:
        asked.append(request)
        await asyncio.sleep(after_s)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    settings = Settings(_env_file=None, livekit_api_key="key", livekit_api_secret="s" * 32)  # type: ignore[call-arg, arg-type]
    admin = LiveKitAdmin(settings)
    try:
        monkeypatch.setattr(admin._api.sip, "transfer_sip_participant", answer)
        await admin.transfer("room-CA1", "sip_1", "+15550100")
    finally:
        await admin.close()
    return asked[0]


def canceled(problem: str) -> api.TwirpError:
    return api.TwirpError("canceled", problem, status=408)


@in_virtual_time
async def test_a_transfer_goes_to_the_number_and_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    done = sip.TransferSIPParticipantResponse(status=sip.STS_TRANSFER_SUCCESSFUL)
    asked = await transfer(monkeypatch, 1.0, done)
    assert (asked.room_name, asked.participant_identity, asked.transfer_to) == ("room-CA1", "sip_1", "tel:+15550100")


@in_virtual_time
async def test_an_answer_that_livekit_sip_lost_is_a_transfer(monkeypatch: pytest.MonkeyPatch) -> None:
    await transfer(monkeypatch, 0.1, canceled(f"twirp error unknown: {LOST_ANSWER} (0 intermediate responses)"))


@pytest.mark.parametrize(
    ("after_s", "outcome"),
    [
        (LOST_ANSWER_S + 1, canceled(LOST_ANSWER)),
        (0.1, canceled("call transfer failed: 603")),
        (0.1, sip.TransferSIPParticipantResponse(status=sip.STS_TRANSFER_FAILED)),
    ],
    ids=["no answer", "declined", "failed"],
)
@in_virtual_time
async def test_a_transfer_that_failed_is_told(monkeypatch: pytest.MonkeyPatch, after_s: float, outcome: Any) -> None:
    with pytest.raises(UpstreamRejectedError):
        await transfer(monkeypatch, after_s, outcome)
