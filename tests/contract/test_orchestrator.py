"""The orchestrator's HTTP side on a real Redis; LiveKit's server API is recorded, not run."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from livekit import api
from redis.asyncio import Redis

from trunkline.agent.orchestrator_client import worker_token
from trunkline.core import wire
from trunkline.core.errors import UpstreamUnavailableError
from trunkline.emulators.twilio import DialSip, HangUp, Speak, TwilioEmulator, new_call_sid, read_twiml
from trunkline.orchestrator import body_limit
from trunkline.orchestrator.app import _must_go_on, create_app
from trunkline.orchestrator.calls import Calls
from trunkline.orchestrator.context import Context
from trunkline.orchestrator.failover import Watchdog
from trunkline.orchestrator.limits import RateLimits
from trunkline.orchestrator.refusals import Refusals
from trunkline.orchestrator.registry import PREFIX, Registry
from trunkline.orchestrator.tokens import mint_call_token
from trunkline.orchestrator.twilio import BUSY_WORDS, MAX_URI_CHARS, may_transfer, transfer_number
from trunkline.settings import Settings

pytestmark = pytest.mark.contract

KEYED = {"Authorization": "Bearer orch-key"}


def settings(**changes: Any) -> Settings:
    return Settings(
        _env_file=None,  # type: ignore[call-arg]
        livekit_api_key="key",
        livekit_api_secret="secret-that-is-long-enough-for-hs256",  # type: ignore[arg-type]
        orch_url="http://orch.test",
        orch_api_key="orch-key",  # type: ignore[arg-type]
        twilio_auth_token="twilio-token",  # type: ignore[arg-type]
        twilio_sip_ingress_host="sip.eu-west-1.example.com:5060",
        sip_trunk_username="twilio",
        sip_trunk_password="pw",  # type: ignore[arg-type]
        worker_id="w1",
        **changes,
    )


@dataclass
class RecordedLiveKit:
    """Takes what would go to LiveKit."""

    asked: list[str] = field(default_factory=list)
    fails: bool = False
    strays: dict[str, list[str]] = field(default_factory=dict)

    async def rooms(self) -> list[str]:
        return list(self.strays)

    async def has_track(self, room: str, identity: str) -> bool:
        return True

    async def our_phones_in(self, room: str) -> list[str]:
        return self.strays[room]

    def is_our_phone(self, participant: Any) -> bool:
        return bool(participant.attributes.get("sip.trunkID") == "ours")

    async def _take(self, what: str) -> None:
        if self.fails:
            raise UpstreamUnavailableError("livekit", "down")
        self.asked.append(what)

    async def ping(self) -> None:
        await self._take("ping")

    async def create_room(self, call: str) -> None:
        await self._take(f"create {call}")

    async def open_shared_room(self, room: str) -> None:
        await self._take(f"open {room}")

    async def delete_room(self, room: str) -> None:
        await self._take(f"delete {room}")

    async def transfer(self, room: str, identity: str, number: str) -> None:
        await self._take(f"transfer {identity} in {room} to {number}")

    async def remove_participant(self, room: str, identity: str) -> None:
        await self._take(f"remove {identity} from {room}")


@dataclass
class RecordedRefusals(Refusals):
    """Keeps what the collector would be told."""

    told: list[tuple[str, str, str]] = field(default_factory=list)

    def tell(self, door: wire.Door, reason: str, call: str | None = None) -> None:
        self.told.append((door.value, reason, call or ""))

    def close(self) -> None:
        pass


@dataclass
class Orch:
    """One orchestrator and those who ask it."""

    context: Context
    livekit: RecordedLiveKit
    http: httpx.AsyncClient
    twilio: TwilioEmulator
    refusals: RecordedRefusals

    async def beat(self, soft: int = 25, worker: str = "w1") -> None:
        beat = wire.Heartbeat(soft_capacity=soft, hard_capacity=34)
        await self.context.registry.heartbeat(worker, beat)

    def worker(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {worker_token(self.context.settings)}"}

    async def ask(self, path: str, message: Any, headers: dict[str, str] | None = None) -> httpx.Response:
        with_type = {"Content-Type": "application/json", **(self.worker() if headers is None else headers)}
        return await self.http.post(path, content=wire.encode(message), headers=with_type)

    async def lease(self, call: str) -> int:
        request = wire.LeaseRequest(worker="w1", room=wire.room_of(call))
        return int((await self.ask(f"/calls/{call}/lease", request)).json()["fence"])


@pytest.fixture
async def orch(redis_url: str) -> AsyncIterator[Orch]:
    async with opened(redis_url) as made:
        yield made


@asynccontextmanager
async def opened(redis_url: str) -> AsyncIterator[Orch]:
    """An orchestrator on an empty Redis."""
    async with Redis.from_url(redis_url) as redis:
        await redis.flushall()
    made = make(settings(), redis_url)
    yield made
    await made.http.aclose()
    await made.context.spoken.close()
    await made.context.registry.close()


def make(config: Settings, redis_url: str) -> Orch:
    registry, livekit = Registry.at(redis_url), RecordedLiveKit()
    calls = Calls(registry, livekit, config.max_calls)  # type: ignore[arg-type]
    context = Context(config, registry, livekit, calls, RateLimits(config), trunk_ready=True)  # type: ignore[arg-type]
    refusals = RecordedRefusals()
    context.refusals = context.calls.refusals = refusals
    transport = httpx.ASGITransport(create_app(context), raise_app_exceptions=True)
    http = httpx.AsyncClient(transport=transport, base_url="http://orch.test")
    return Orch(context, livekit, http, TwilioEmulator("http://orch.test", "twilio-token", http), refusals)


async def test_a_call_is_dialled_into_its_room_with_a_token_of_its_own(orch: Orch) -> None:
    await orch.beat()
    call = new_call_sid()
    dial = await orch.twilio.incoming_call(call, "+15550100", "+15550199")
    assert isinstance(dial, DialSip)
    address, _, token = dial.uri.partition("?x-call-token=")
    assert address == f"sip:room-{call}@sip.eu-west-1.example.com:5060"
    assert (dial.username, dial.password) == ("twilio", "pw")
    assert dial.action == "http://orch.test/twilio/dial-ended"
    assert len(dial.uri) <= MAX_URI_CHARS
    assert token.count(".") == 2
    assert orch.livekit.asked == [f"create {call}"]
    [listed] = (await orch.http.get("/calls", headers=KEYED)).json()["calls"]
    assert (listed["call"], listed["state"], listed["kind"]) == (call, "reserved", "phone")


async def test_a_webhook_sent_twice_takes_one_slot(orch: Orch) -> None:
    await orch.beat(soft=1)
    call = new_call_sid()
    for _ in range(2):
        assert isinstance(await orch.twilio.incoming_call(call, "+1555", "+1556"), DialSip)
    assert (await orch.http.get("/calls", headers=KEYED)).json()["used"] == 1


async def test_full_is_spoken_and_holds_no_slot(orch: Orch) -> None:
    await orch.beat(soft=1)
    await orch.twilio.incoming_call(new_call_sid(), "+1555", "+1556")
    refused = new_call_sid()
    assert await orch.twilio.incoming_call(refused, "+1557", "+1556") == Speak(BUSY_WORDS)
    assert orch.refusals.told == [("phone", "full", refused)]
    assert (await orch.http.get("/calls", headers=KEYED)).json()["used"] == 1


async def test_a_room_that_can_not_be_made_holds_no_slot_and_sends_twilio_to_its_fallback(orch: Orch) -> None:
    await orch.beat()
    orch.livekit.fails = True
    with pytest.raises(UpstreamUnavailableError, match="503"):
        await orch.twilio.incoming_call(new_call_sid(), "+1555", "+1556")
    assert (await orch.http.get("/calls", headers=KEYED)).json()["used"] == 0


async def test_without_a_trunk_no_call_is_taken(orch: Orch) -> None:
    await orch.beat()
    orch.context.trunk_ready = False
    with pytest.raises(UpstreamUnavailableError, match="503"):
        await orch.twilio.incoming_call(new_call_sid(), "+1555", "+1556")
    assert (await orch.http.get("/calls", headers=KEYED)).json()["used"] == 0


async def test_a_body_is_bounded_before_anybody_is_asked_who_sent_it(orch: Orch) -> None:
    """Announced or not: in pieces it has no length."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * 100_000

    for path in ("/token", "/twilio/voice", "/livekit/webhook", "/calls/CA1/lease", "/nowhere"):
        for body in (b"x" * 2_000_000, pieces()):
            assert (await orch.http.post(path, content=body)).status_code == 413


async def test_a_body_that_never_ends_is_given_up(orch: Orch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_limit, "BODY_TIMEOUT_S", 0.01)

    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    response = await orch.http.post("/token", content=slow())
    assert (response.status_code, response.json()["reason"]) == (408, "too_slow")


async def test_an_orchestrator_without_its_watchdog_ends(orch: Orch, monkeypatch: pytest.MonkeyPatch) -> None:
    raised: list[int] = []
    monkeypatch.setattr(signal, "raise_signal", raised.append)

    async def broken() -> None:
        raise KeyError("room")

    for work, signals in ((broken(), [signal.SIGTERM]), (asyncio.sleep(0), [])):
        raised.clear()
        task = asyncio.ensure_future(work)
        await asyncio.wait({task})
        _must_go_on(task)
        assert raised == signals


async def test_without_redis_twilio_is_sent_to_its_fallback() -> None:
    orch = make(settings(), "redis://127.0.0.1:1/0")
    with pytest.raises(UpstreamUnavailableError, match="503"):
        await orch.twilio.incoming_call(new_call_sid(), "+1555", "+1556")
    ready = await orch.http.get("/readyz")
    assert ready.status_code == 503
    assert "redis" in ready.json()["checks"]["redis"]
    assert (await orch.http.get("/healthz")).status_code == 200


FORM = {"CallSid": "CA" + "1" * 32, "From": "+1555"}


@pytest.mark.parametrize(
    ("request_parts", "status", "reason"),
    [
        ({"data": FORM}, 403, "bad_signature"),
        ({"data": FORM, "headers": {"X-Twilio-Signature": "AAAA"}}, 403, "bad_signature"),
        ({"data": FORM, "headers": {"X-Twilio-Signature": "ä".encode("latin-1")}}, 403, "bad_signature"),
        ({"json": FORM}, 415, "bad_content_type"),
        ({"data": {"x": "y" * 70_000}}, 413, "too_large"),
        ({"data": {f"f{n}": "1" for n in range(300)}}, 400, "bad_form"),
        ({"content": b"a=1&a=2", "headers": {"Content-Type": "application/x-www-form-urlencoded"}}, 400, "bad_form"),
    ],
    ids=["unsigned", "wrong", "not ascii", "json", "huge", "many fields", "a field twice"],
)
async def test_a_webhook_that_twilio_did_not_send_is_refused(
    orch: Orch, request_parts: dict[str, Any], status: int, reason: str
) -> None:
    await orch.beat()
    for path in ("/twilio/voice", "/twilio/dial-ended", "/twilio/refer"):
        response = await orch.http.post(path, **request_parts)
        assert (response.status_code, response.json()["reason"]) == (status, reason)
    assert orch.livekit.asked == []


async def test_a_signature_for_another_form_or_address_is_refused(orch: Orch) -> None:
    await orch.beat()
    other = TwilioEmulator("http://orch.test", "other-token", orch.http)
    with pytest.raises(Exception, match="bad_signature"):
        await other.incoming_call(new_call_sid(), "+1555", "+1556")


@pytest.mark.parametrize("sid", ["", "CA1", "CA" + "g" * 32, "CA" + "1" * 33, "../" + "1" * 31, "CA" + "1" * 32 + "\n"])
async def test_a_malformed_call_sid_is_refused(orch: Orch, sid: str) -> None:
    await orch.beat()
    with pytest.raises(Exception, match="bad_call_sid"):
        await orch.twilio.incoming_call(sid, "+1555", "+1556")
    assert orch.livekit.asked == []


async def test_a_number_that_calls_too_often_and_a_guesser_of_signatures_are_stopped(redis_url: str) -> None:
    orch = make(settings(orch_rate_limit="3/minute"), redis_url)
    await orch.beat()
    for _ in range(3):
        await orch.twilio.incoming_call(new_call_sid(), "+1555", "+1556")
    with pytest.raises(Exception, match="429"):
        await orch.twilio.incoming_call(new_call_sid(), "+1555", "+1556")
    await orch.twilio.incoming_call(new_call_sid(), "+1559", "+1556")
    statuses = [(await orch.http.post("/twilio/voice", data=FORM)).status_code for _ in range(4)]
    assert statuses == [403, 403, 403, 429]
    await orch.http.aclose()
    await orch.context.registry.close()


async def test_callers_who_hide_their_number_are_not_one_caller(redis_url: str) -> None:
    orch = make(settings(orch_rate_limit="2/minute"), redis_url)
    await orch.beat()
    for _ in range(5):
        assert isinstance(await orch.twilio.incoming_call(new_call_sid(), "anonymous", "+1556"), DialSip)
    await orch.http.aclose()
    await orch.context.registry.close()


@pytest.mark.parametrize(
    ("status", "said", "left"), [("completed", HangUp(), 1), ("busy", None, 0), ("failed", None, 0)]
)
async def test_the_end_of_a_dial_frees_a_slot_that_was_never_used(
    orch: Orch, status: str, said: HangUp | None, left: int
) -> None:
    await orch.beat()
    call = new_call_sid()
    await orch.twilio.incoming_call(call, "+1555", "+1556")
    answer = await orch.twilio.dial_ended(call, status)
    assert answer == said if said else isinstance(answer, Speak)
    assert (await orch.http.get("/calls", headers=KEYED)).json()["used"] == left


@pytest.mark.parametrize(
    ("target", "number"),
    [
        ("sip:+15550100@x.example", "+15550100"),
        ("<tel:+15550100>", "+15550100"),
        ("sip:+15550100;phone-context=x@y", "+15550100"),
        ("sip:0900@x", None),
        ("+15550100", None),
        ("sip:+1555 0100@x", None),
        ("", None),
    ],
)
def test_transfer_targets(target: str, number: str | None) -> None:
    assert transfer_number(target) == number


@pytest.mark.parametrize(
    ("allowed", "number", "may"),
    [
        ("", "+1555", False),
        ("*", "+1555", False),
        ("+1555", "+1555", True),
        ("+49*, +1*", "+1555", True),
        ("+49*", "+1555", False),
    ],
)
def test_transfers_are_denied_by_default(allowed: str, number: str, may: bool) -> None:
    assert may_transfer(allowed, number) is may


async def test_a_transfer_is_dialled_only_where_it_is_allowed(redis_url: str) -> None:
    orch = make(settings(transfer_allow="+1555*"), redis_url)
    form = {"CallSid": new_call_sid(), "ReferTransferTarget": "sip:+15550100@x"}
    assert "<Dial>+15550100</Dial>" in await orch.twilio.post("/twilio/refer", form)
    form["ReferTransferTarget"] = "sip:+19005550100@x"
    assert "<Dial>" not in await orch.twilio.post("/twilio/refer", form)
    await orch.http.aclose()
    await orch.context.registry.close()


async def test_tokens_take_a_key_and_begin_a_call(orch: Orch) -> None:
    await orch.beat(soft=1)
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic b3JjaC1rZXk="}):
        assert (await orch.http.post("/token", json={}, headers=headers)).status_code == 401
    given = (await orch.http.post("/token", json={"role": "caller"}, headers=KEYED)).json()
    assert given["expires_in_s"] == 60
    claims = api.TokenVerifier("key", "secret-that-is-long-enough-for-hs256").verify(given["token"])
    assert claims.video is not None
    assert (claims.video.room, claims.video.room_join, claims.identity) == (given["room"], True, given["identity"])
    assert orch.livekit.asked == [f"create {given['call']}"]
    full = await orch.http.post("/token", json={"role": "caller"}, headers=KEYED)
    assert (full.status_code, full.json()["reason"]) == (503, "full")
    *keyless, (door, reason, call) = orch.refusals.told
    assert keyless == [("api", "bad_api_key", "")] * 3
    assert (door, reason) == ("api", "full")
    assert call.startswith("web-")
    agent = await orch.http.post("/token", json={"role": "agent", "room": given["room"]}, headers=KEYED)
    assert agent.status_code == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"role": "agent"}, 400),
        ({"role": "king"}, 400),
        ({"room": "room-none"}, 404),
        ({"room": "none"}, 404),
        ({"room": "room-../x"}, 404),
        ({"identity": "a b"}, 400),
        ({"shared": "a b"}, 400),
        ({"role": "agent", "shared": "a"}, 400),
        ({"room": "room-x", "shared": "a"}, 400),
        ([], 400),
        ("x", 400),
    ],
)
async def test_a_token_for_nothing_is_refused(orch: Orch, body: Any, status: int) -> None:
    await orch.beat()
    response = await orch.http.post("/token", json=body, headers=KEYED)
    assert response.status_code == status
    assert set(response.json()) == {"reason", "detail"}
    assert orch.livekit.asked == []


async def test_a_closed_api_stays_closed_without_a_key(redis_url: str) -> None:
    orch = make(settings().model_copy(update={"orch_api_key": type(settings().orch_api_key)("")}), redis_url)
    for path in ("/calls", "/workers"):
        assert (await orch.http.get(path, headers={"Authorization": "Bearer "})).status_code == 401
    await orch.http.aclose()
    await orch.context.registry.close()


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer x"}, KEYED], ids=["none", "junk", "api key"])
async def test_only_workers_may_speak_as_workers(orch: Orch, headers: dict[str, str]) -> None:
    beat = wire.Heartbeat(soft_capacity=1, hard_capacity=1)
    response = await orch.ask("/workers/w1/heartbeat", beat, headers)
    assert response.status_code == 401
    room_token = api.AccessToken("key", "secret-that-is-long-enough-for-hs256").with_identity("w1")
    room_token = room_token.with_grants(api.VideoGrants(room_join=True, room="r"))
    response = await orch.ask("/workers/w1/heartbeat", beat, {"Authorization": f"Bearer {room_token.to_jwt()}"})
    assert response.status_code == 401
    assert (await orch.ask("/workers/w2/heartbeat", beat)).status_code == 403


async def test_a_token_for_a_room_makes_nobody_a_worker(orch: Orch) -> None:
    """Or the API key would be enough to speak as any worker."""
    await orch.beat()
    call = (await orch.http.post("/token", json={}, headers=KEYED)).json()
    wanted = {"role": "agent", "room": call["room"], "identity": "w1"}
    agent = (await orch.http.post("/token", json=wanted, headers=KEYED)).json()
    beat = wire.Heartbeat(soft_capacity=1, hard_capacity=1)
    response = await orch.ask("/workers/w1/heartbeat", beat, {"Authorization": f"Bearer {agent['token']}"})
    assert response.status_code == 401


async def test_calls_in_a_shared_room_each_have_a_caller_of_their_own_and_end_alone(orch: Orch) -> None:
    await orch.beat()
    wanted = [{"shared": "lt-1", "identity": identity} for identity in ("ann", "bob")]
    ann, bob = [(await orch.http.post("/token", json=body, headers=KEYED)).json() for body in wanted]
    assert ann["room"] == bob["room"] == "room-shared-lt-1"
    assert ann["call"] != bob["call"]
    assert orch.livekit.asked == ["open room-shared-lt-1"] * 2
    request = wire.LeaseRequest(worker="w1", room=ann["room"])
    lease = (await orch.ask(f"/calls/{ann['call']}/lease", request)).json()
    assert (lease["participant"], lease["kind"]) == ("ann", "webrtc")
    other = wire.AdmitRequest(fence=lease["fence"], participant="bob", token="")
    assert (await orch.ask(f"/calls/{ann['call']}/admit", other)).status_code == 403
    own = wire.AdmitRequest(fence=lease["fence"], participant="ann", token="")
    assert (await orch.ask(f"/calls/{ann['call']}/admit", own)).status_code == 200
    end = wire.EndNotice(fence=lease["fence"], result="success", reason="caller_hung_up")
    assert (await orch.ask(f"/calls/{ann['call']}/end", end)).status_code == 200
    assert not any(asked.startswith("delete") for asked in orch.livekit.asked)


async def test_a_call_from_lease_to_end(orch: Orch) -> None:
    await orch.beat()
    call = new_call_sid()
    dial = await orch.twilio.incoming_call(call, "+1555", "+1556")
    assert isinstance(dial, DialSip)
    token = dial.uri.partition("?x-call-token=")[2]
    fence = await orch.lease(call)
    admitted = await orch.ask(f"/calls/{call}/admit", wire.AdmitRequest(fence=fence, participant="p", token=token))
    assert admitted.status_code == 200
    assert (await orch.ask(f"/calls/{call}/answered", wire.AnsweredNotice(fence=fence))).status_code == 200
    [listed] = (await orch.http.get("/calls", headers=KEYED)).json()["calls"]
    assert (listed["state"], listed["worker"]) == ("answered", "w1")
    end = wire.EndNotice(fence=fence, result="success", reason="caller_hung_up")
    assert (await orch.ask(f"/calls/{call}/end", end)).status_code == 200
    assert orch.livekit.asked[-1] == f"delete room-{call}"
    assert (await orch.ask(f"/calls/{call}/end", end)).status_code == 404


async def test_a_caller_without_a_valid_token_is_put_out(orch: Orch) -> None:
    await orch.beat()
    call, other = new_call_sid(), new_call_sid()
    for each in (call, other):
        await orch.twilio.incoming_call(each, "+1555", "+1556")
    config, now = orch.context.settings, time.time()
    good = mint_call_token(config, call, now)
    wrong = {
        "none": "",
        "junk": "a.b.c",
        "other call": mint_call_token(config, other, now),
        "old": mint_call_token(config, call, now - 120),
        "from the future": mint_call_token(config, call, now + 3600),
        "unsigned": base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=") + good[good.index(".") :],
        "room token": worker_token(config),
        "long": "x" * 100_000,
    }
    fence = await orch.lease(call)
    for name, token in wrong.items():
        orch.livekit.asked.clear()
        asked = wire.AdmitRequest(fence=fence, participant="p", token=token)
        response = await orch.ask(f"/calls/{call}/admit", asked)
        assert (response.status_code, response.json()["reason"]) == (403, "refused_token"), name
        assert orch.livekit.asked == [f"remove p from room-{call}"], name
        assert token == "" or token not in response.text
    asked = wire.AdmitRequest(fence=fence, participant="p", token=good)
    assert (await orch.ask(f"/calls/{call}/admit", asked)).status_code == 200


async def test_a_web_caller_is_the_one_the_token_was_given_to(orch: Orch) -> None:
    await orch.beat()
    given = (await orch.http.post("/token", json={"identity": "ann"}, headers=KEYED)).json()
    call = given["call"]
    fence = await orch.lease(call)
    for participant, status in (("bob", 403), ("ann", 200)):
        asked = wire.AdmitRequest(fence=fence, participant=participant, token="")
        assert (await orch.ask(f"/calls/{call}/admit", asked)).status_code == status


async def test_an_operator_ends_a_call(orch: Orch) -> None:
    await orch.beat()
    call = new_call_sid()
    await orch.twilio.incoming_call(call, "+1555", "+1556")
    assert (await orch.http.delete(f"/calls/{call}")).status_code == 401
    assert (await orch.http.delete(f"/calls/{call}", headers=KEYED)).status_code == 200
    assert (await orch.http.delete(f"/calls/{call}", headers=KEYED)).status_code == 404
    assert orch.livekit.asked[-1] == f"delete room-{call}"


def signed_event(event: dict[str, Any]) -> tuple[bytes, dict[str, str]]:
    body = json.dumps(event).encode()
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    token = api.AccessToken("key", "secret-that-is-long-enough-for-hs256").with_sha256(digest).to_jwt()
    return body, {"Authorization": token}


def joined(room: str, trunk: str, leg: str = "SCL_1") -> dict[str, Any]:
    attributes = {"sip.trunkID": trunk, "sip.callID": leg}
    participant = {"identity": "p", "kind": "SIP", "attributes": attributes}
    return {"event": "participant_joined", "room": {"name": room}, "participant": participant}


@pytest.mark.parametrize("room", ["room-CAinvented", "my-own-room", "room-", "room-../../x"])
async def test_a_phone_in_a_room_of_its_own_invention_is_put_out(orch: Orch, room: str) -> None:
    body, headers = signed_event(joined(room, "ours"))
    assert (await orch.http.post("/livekit/webhook", content=body, headers=headers)).status_code == 200
    assert orch.livekit.asked == [f"remove p from {room}"]


async def test_what_the_webhook_missed_the_sweep_finds(orch: Orch) -> None:
    await orch.beat()
    call = new_call_sid()
    await orch.twilio.incoming_call(call, "+1555", "+1556")
    orch.livekit.asked.clear()
    orch.livekit.strays = {f"room-{call}": ["caller"], "room-CAgone": ["p"], "elsewhere": []}
    await Watchdog(orch.context.registry, orch.context.calls, orch.livekit).sweep()  # type: ignore[arg-type]
    assert orch.livekit.asked == ["remove p from room-CAgone"]


async def test_a_phone_in_a_known_room_and_others_are_left_alone(orch: Orch) -> None:
    await orch.beat()
    call = new_call_sid()
    await orch.twilio.incoming_call(call, "+1555", "+1556")
    orch.livekit.asked.clear()
    for room, trunk in ((f"room-{call}", "ours"), ("elsewhere", "another application's"), ("elsewhere", "")):
        body, headers = signed_event(joined(room, trunk))
        assert (await orch.http.post("/livekit/webhook", content=body, headers=headers)).status_code == 200
    assert orch.livekit.asked == []


async def test_a_second_phone_in_a_calls_room_is_put_out_and_the_first_may_come_back(orch: Orch) -> None:
    await orch.beat()
    call = new_call_sid()
    await orch.twilio.incoming_call(call, "+1555", "+1556")
    orch.livekit.asked.clear()
    for leg in ("SCL_1", "SCL_1", "SCL_2"):
        body, headers = signed_event(joined(f"room-{call}", "ours", leg))
        assert (await orch.http.post("/livekit/webhook", content=body, headers=headers)).status_code == 200
    assert orch.livekit.asked == [f"remove p from room-{call}"]


async def test_an_unsigned_event_of_livekit_is_refused(orch: Orch) -> None:
    body, headers = signed_event({"event": "participant_joined"})
    for content, given in ((body + b" ", headers), (body, {}), (body, {"Authorization": "x"}), (b"\xff", headers)):
        response = await orch.http.post("/livekit/webhook", content=content, headers=given)
        assert response.status_code == 401


async def test_an_orphan_is_dispatched_again_and_then_given_up(orch: Orch, redis_url: str) -> None:
    await orch.beat()
    call = new_call_sid()
    await orch.twilio.incoming_call(call, "+1555", "+1556")
    watchdog = Watchdog(orch.context.registry, orch.context.calls, orch.livekit)  # type: ignore[arg-type]
    async with Redis.from_url(redis_url, decode_responses=True) as redis:

        async def let_time_pass(ms: int) -> None:
            for name in ("dispatched", "orphaned"):
                await redis.hincrby(f"{PREFIX}call:{call}", name, -ms)

        await watchdog.look()
        assert orch.livekit.asked == [f"create {call}"]
        await let_time_pass(1_600)
        await watchdog.look()
        await watchdog.look()
        # The room may be gone by then.
        assert orch.livekit.asked[1:] == [f"create {call}"]
        await let_time_pass(3_000)
        await watchdog.look()
    assert orch.livekit.asked[2:] == [f"delete room-{call}"]
    assert (await orch.http.get("/calls", headers=KEYED)).json()["calls"] == []


@pytest.mark.parametrize(
    "text", ["", "x", "<a/>", "<Response/>", "<Response><Play/></Response>", "<!DOCTYPE a><Response/>"]
)
def test_twiml_that_is_none(text: str) -> None:
    with pytest.raises(Exception, match="TwiML"):
        read_twiml(text)


@pytest.mark.parametrize(
    ("number", "fence_off", "status", "reason"),
    [
        ("+15550100", 0, 200, None),
        ("+4930123456", 0, 200, None),
        ("+15550101", 0, 403, "transfer_refused"),
        ("sip:me@example.com", 0, 403, "transfer_refused"),
        ("+15550100", 1, 409, "lease_lost"),
    ],
)
async def test_a_worker_transfers_only_its_own_call_and_only_to_numbers_that_are_allowed(
    redis_url: str, number: str, fence_off: int, status: int, reason: str | None
) -> None:
    async with Redis.from_url(redis_url) as redis:
        await redis.flushall()
    orch = make(settings(transfer_allow="+15550100, +4930*"), redis_url)
    await orch.beat()
    call = new_call_sid()
    dial = await orch.twilio.incoming_call(call, "+1555", "+1556")
    assert isinstance(dial, DialSip)
    fence = await orch.lease(call)
    token = dial.uri.partition("?x-call-token=")[2]
    await orch.ask(f"/calls/{call}/admit", wire.AdmitRequest(fence=fence, participant="sip_1", token=token))
    answer = await orch.ask(f"/calls/{call}/transfer", wire.TransferRequest(fence=fence + fence_off, number=number))
    assert (answer.status_code, answer.json().get("reason")) == (status, reason)
    asked = [each for each in orch.livekit.asked if each.startswith("transfer")]
    assert asked == ([f"transfer sip_1 in room-{call} to {number}"] if status == 200 else [])
    orch.livekit.fails = True
    if status == 200:
        answer = await orch.ask(f"/calls/{call}/transfer", wire.TransferRequest(fence=fence, number=number))
        assert (answer.status_code, answer.json()["reason"]) == (502, "transfer_failed")
    await orch.http.aclose()
    await orch.context.registry.close()
