"""A phone call on real servers, from the signed webhook to the caller's ear, and every way in that must stay shut."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.world import World
from trunkline.cli.placing import Order, collect_reports, place_call
from trunkline.core.wire import Mark, TurnOutcome
from trunkline.emulators.twilio import new_call_sid
from trunkline.loadtest.phone import CallRefusedError, HeardStart
from trunkline.loadtest.verdict import judge
from trunkline.orchestrator.tokens import mint_call_token
from trunkline.settings import load_settings

pytestmark = [pytest.mark.system, pytest.mark.timeout(120), pytest.mark.asyncio(loop_scope="module")]

RINGS_AT_MOST_S = 5.0
BRIDGE_WAITS_S = 10.0
"""livekit-sip that is put out of a room before it has published goes on ringing for so long."""


async def test_a_phone_call_is_answered_and_can_interrupt(world: World, sentences: list[str]) -> None:
    script = await world.utterances(sentences[0], sentences[1], interrupts=sentences[2])
    recording = world.folder / "call.wav"
    result = await place_call(world.exchange, world.phone, world.http, Order(1, script, recording))
    [report] = await collect_reports(world.exchange, [result])
    record, turns, rows = report.record, report.turns, report.rows
    assert judge([result], rows) == ""
    assert record is not None
    assert (record.result, record.reason, record.engine) == ("success", "caller_hung_up", "sdk")
    assert record.barge_ins >= 1
    assert TurnOutcome.INTERRUPTED in {turn.outcome for turn in turns}
    for turn in turns:
        marks = turn.marks_us
        assert marks[Mark.SPEECH_START] < marks[Mark.SPEECH_END] <= marks[Mark.STT_FINAL]
        assert marks[Mark.STT_FINAL] <= marks[Mark.AGENT_DECISION] <= marks[Mark.TTS_FIRST_BYTE]
        assert marks[Mark.TTS_FIRST_BYTE] <= marks[Mark.PLAYBACK_START] < marks[Mark.PLAYBACK_STOP]
    for turn, row in zip(result.turns, rows, strict=True):
        # The agent can't have heard the caller before it spoke, nor the caller the agent before it answered.
        assert turn.speech_start_us is not None
        assert row.roundtrip_ms is not None
        assert row.roundtrip_heard_ms is not None
        assert row.roundtrip_heard_ms > row.roundtrip_ms - 150
    assert (await world.api("/calls"))["calls"] == []
    assert recording.stat().st_size > 8_000 * 2 * 2


async def test_an_announced_call_holds_a_slot_until_it_ends(world: World) -> None:
    before = (await world.api("/calls"))["used"]
    call, dial = await world.announced()
    assert (await world.api("/calls"))["used"] == before + 1
    line = await world.phone.dial(call, dial.uri, (dial.username, dial.password))
    await line.answered(10)
    [listed] = [each for each in (await world.api("/calls"))["calls"] if each["call"] == call]
    assert listed["state"] in ("admitted", "answered")
    await line.hang_up()
    await until_free(world, call)


async def test_a_caller_who_hangs_up_while_it_rings_leaves_nothing(world: World) -> None:
    call, dial = await world.announced()
    line = await world.phone.dial(call, dial.uri, (dial.username, dial.password))
    await asyncio.sleep(0.1)
    await line.hang_up()
    await world.twilio.dial_ended(call, "canceled")
    await until_free(world, call)


@pytest.mark.parametrize("what", ["no token", "forged", "another call's", "used before"])
async def test_a_call_without_a_valid_token_is_refused_while_it_rings(world: World, what: str) -> None:
    call, dial = await world.announced()
    address, good = dial.uri.split("?x-call-token=")
    settings = load_settings(**{name.lower(): value for name, value in world.plan.env.items()})
    if what == "used before":
        first_call, first = await world.announced()
        line = await world.phone.dial(first_call, first.uri, (first.username, first.password))
        await line.answered(10)
        await line.hang_up()
        await until_free(world, first_call)
        # The same INVITE again: its room is no call any more.
        uri, call_name = first.uri, f"{first_call}-again"
    else:
        forged = good[:-4] + ("AAAA" if good[-4:] != "AAAA" else "BBBB")
        tokens = {"no token": "", "forged": forged, "another call's": mint_call_token(settings, "CAx", time.time())}
        token = tokens[what]
        uri, call_name = f"{address}?x-call-token={token}" if token else address, call
    began = time.monotonic()
    line = await world.phone.dial(call_name, uri, (dial.username, dial.password))
    with pytest.raises(CallRefusedError) as refused:
        await line.answered(15)
    assert refused.value.status == 486
    assert time.monotonic() - began < RINGS_AT_MOST_S
    if what != "used before":
        await until_free(world, call)
        assert '"reason": "refused_token"' in world.log("orchestrator")
    else:
        await world.twilio.dial_ended(call, "busy")


async def test_a_second_phone_in_a_calls_room_is_refused_and_hears_nothing(world: World) -> None:
    call, dial = await world.announced()
    line = await world.phone.dial(call, dial.uri, (dial.username, dial.password), caller="+15550142")
    await line.answered(10)
    began = time.monotonic()
    other = await world.phone.dial(f"{call}-2", dial.uri, (dial.username, dial.password), caller="+15550143")
    with pytest.raises(CallRefusedError):
        await other.answered(15)
    assert time.monotonic() - began < RINGS_AT_MOST_S
    assert line.ended is None
    await line.hang_up()


async def test_a_redial_into_a_room_that_is_just_closing_hears_nothing_and_ends(world: World) -> None:
    call, dial = await world.announced()
    line = await world.phone.dial(call, dial.uri, (dial.username, dial.password))
    await line.answered(10)
    await line.hang_up()
    # The agent's track may be there for some milliseconds yet: then the bridge answers, and there is nothing to hear.
    again = await world.phone.dial(f"{call}-again", dial.uri, (dial.username, dial.password))
    seen: list[object] = []
    async with asyncio.timeout(BRIDGE_WAITS_S + RINGS_AT_MOST_S):  # the room may close in the instant of its coming
        while again.ended is None:
            seen.append(await again.event())
    assert not [event for event in seen if isinstance(event, HeardStart)]
    assert again.ended.by == "agent"
    await until_free(world, call)


@pytest.mark.parametrize("room", ["room-CAffffffffffffffffffffffffffffffff", "my-own-room", "room-"])
async def test_a_room_of_the_callers_own_invention_is_refused_while_it_rings(world: World, room: str) -> None:
    host = world.plan.env["TWILIO_SIP_INGRESS_HOST"]
    credentials = (world.plan.env["SIP_TRUNK_USERNAME"], world.plan.env["SIP_TRUNK_PASSWORD"])
    began = time.monotonic()
    line = await world.phone.dial(f"own-{room}", f"sip:{room}@{host}?x-call-token=abc", credentials)
    with pytest.raises(CallRefusedError) as refused:
        await line.answered(15)
    assert refused.value.status == 486
    assert time.monotonic() - began < RINGS_AT_MOST_S
    assert '"reason": "refused_unknown_room"' in world.log("orchestrator")


@pytest.mark.parametrize("credentials", [("", ""), ("twilio", "wrong")], ids=["none", "wrong"])
async def test_a_caller_who_does_not_know_the_trunks_password_is_refused(
    world: World, credentials: tuple[str, str]
) -> None:
    call, dial = await world.announced()
    line = await world.phone.dial(f"{call}-stranger", dial.uri, credentials)
    with pytest.raises(CallRefusedError):
        await line.answered(15)
    states = {each["call"]: each["state"] for each in (await world.api("/calls"))["calls"]}
    assert states[call] != "answered"
    await world.twilio.dial_ended(call, "failed")


async def test_an_unsigned_webhook_is_refused_and_logged(world: World) -> None:
    form = {"CallSid": new_call_sid(), "From": "+1555", "To": "+1556"}
    response = await world.http.post(f"{world.plan.env['ORCH_URL']}/twilio/voice", data=form)
    assert response.status_code == 403
    assert '"event": "webhook_refused"' in world.log("orchestrator")


async def test_an_operator_hangs_up_a_call(world: World) -> None:
    call, dial = await world.announced()
    line = await world.phone.dial(call, dial.uri, (dial.username, dial.password))
    await line.answered(10)
    await world.api(f"/calls/{call}", "DELETE")
    async with asyncio.timeout(5):
        while line.ended is None:
            await line.event()
    assert line.ended.by == "agent"


async def test_no_secret_is_in_any_log(world: World) -> None:
    env = world.plan.env
    secrets = [env[name] for name in ("LIVEKIT_API_SECRET", "ORCH_API_KEY", "TWILIO_AUTH_TOKEN", "SIP_TRUNK_PASSWORD")]
    for log in world.plan.log_dir.iterdir():
        text = log.read_text(errors="replace")
        assert not [secret for secret in secrets if secret in text], log.name


async def until_free(world: World, call: str) -> None:
    """Waits until the registry does not know a call any more."""
    async with asyncio.timeout(8):
        while any(each["call"] == call for each in (await world.api("/calls"))["calls"]):
            await asyncio.sleep(0.05)
