"""The page /call and its one-time links, on a real Redis; LiveKit's server API is recorded, not run."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from tests.contract.test_orchestrator import KEYED, Orch, make, opened, settings
from trunkline.orchestrator.links import LINK_TTL_S
from trunkline.orchestrator.tokens import call_of_view_token, mint_view_token

pytestmark = pytest.mark.contract


@pytest.fixture
async def orch(redis_url: str) -> AsyncIterator[Orch]:
    async with opened(redis_url) as made:
        await made.beat()
        yield made


async def new_code(orch: Orch) -> str:
    made = (await orch.http.post("/call/links", headers=KEYED)).json()
    assert made["expires_in_s"] == LINK_TTL_S
    address, _, code = made["link"].partition("#")
    assert address == "http://orch.test/call"
    return str(code)


async def begin(orch: Orch, code: str) -> tuple[int, dict[str, Any]]:
    response = await orch.http.post("/call/begin", json={"code": code})
    return response.status_code, response.json()


async def calls(orch: Orch) -> list[dict[str, Any]]:
    return list((await orch.http.get("/calls", headers=KEYED)).json()["calls"])


async def test_only_who_has_the_key_makes_links(orch: Orch) -> None:
    assert (await orch.http.post("/call/links")).status_code == 401


async def test_a_link_lets_one_caller_in(orch: Orch) -> None:
    status, answer = await begin(orch, await new_code(orch))
    assert status == 200
    [listed] = await calls(orch)
    assert (listed["call"], listed["kind"], listed["state"]) == (answer["call"], "webrtc", "reserved")
    assert orch.livekit.asked == [f"create {answer['call']}"]
    assert answer["url"] == "ws://localhost:7880"


async def test_of_two_at_the_same_time_one_gets_in(orch: Orch) -> None:
    code = await new_code(orch)
    answers = await asyncio.gather(*(begin(orch, code) for _ in range(8)))
    assert sorted(status for status, _ in answers) == [200] + [410] * 7
    assert {answer["reason"] for status, answer in answers if status == 410} == {"link_used"}
    assert len(await calls(orch)) == 1


@pytest.mark.parametrize(("code", "status"), [("A" * 32, 404), ("", 400), ("A" * 33, 400), ("../" * 8, 400)])
async def test_what_is_no_link_lets_nobody_in(orch: Orch, code: str, status: int) -> None:
    assert (await begin(orch, code))[0] == status
    assert await calls(orch) == []


async def test_guessing_is_stopped(orch: Orch) -> None:
    statuses = [(await begin(orch, f"{number:032}"))[0] for number in range(62)]
    assert statuses[:60] == [404] * 60
    assert statuses[60:] == [429] * 2


async def test_a_link_runs_out(orch: Orch, redis_url: str) -> None:
    code = await new_code(orch)
    async with Redis.from_url(redis_url, decode_responses=True) as redis:
        [key] = await redis.keys("*link:*")
        assert code not in key
        assert 0 < await redis.ttl(key) <= LINK_TTL_S
        await begin(orch, code)
        assert 0 < await redis.ttl(key) <= LINK_TTL_S
        await redis.delete(key)
    assert (await begin(orch, code))[0] == 404


@pytest.mark.parametrize("why", ["full", "livekit"])
async def test_a_call_that_does_not_come_about_leaves_the_link_good(orch: Orch, why: str) -> None:
    code = await new_code(orch)
    if why == "full":
        await orch.beat(soft=0)
    orch.livekit.fails = why == "livekit"
    status, answer = await begin(orch, code)
    assert (status, answer["reason"]) == (503, "full" if why == "full" else "upstream_unavailable")
    await orch.beat()
    orch.livekit.fails = False
    assert (await begin(orch, code))[0] == 200


async def test_the_page_has_no_secret_and_takes_nothing_from_elsewhere(orch: Orch) -> None:
    page = await orch.http.get("/call")
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
    assert "connect-src 'self' ws://localhost:7880 http://localhost:7880;" in policy
    assert "unsafe" not in policy
    assert "*" not in policy
    names = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert names
    assert all(name.startswith("/call/page/") for name in names)
    for name in [*names, "/call/page/call.js", "/call/page/livekit-client.esm.mjs"]:
        file = await orch.http.get(name)
        assert file.status_code == 200, name
        again = await orch.http.get(name, headers={"If-None-Match": file.headers["etag"]})
        assert again.status_code == 304
    assert (await orch.http.get("/call/page/..%2Fapp.py")).status_code == 404


async def test_a_public_livekit_makes_links_and_policy_public(redis_url: str) -> None:
    config = settings(livekit_public_url="wss://livekit.example.com", orch_public_url="https://calls.example.com")
    public = make(config, redis_url)
    try:
        made = (await public.http.post("/call/links", headers=KEYED)).json()
        assert made["link"].startswith("https://calls.example.com/call#")
        policy = (await public.http.get("/call")).headers["content-security-policy"]
        assert "connect-src 'self' wss://livekit.example.com https://livekit.example.com;" in policy
    finally:
        await public.http.aclose()
        await public.context.registry.close()


async def test_turns_are_shown_to_the_one_in_the_call(orch: Orch) -> None:
    config = orch.context.settings
    token = mint_view_token(config, "web-1")
    assert call_of_view_token(config, token) == "web-1"
    whole = {
        "turn": 1,
        "outcome": "answered",
        "understood": "hello",
        "answer": "hi",
        "roundtrip_ms": 9.0,
        "marks_ms": {},
    }
    collector = httpx.MockTransport(
        lambda request: (
            httpx.Response(200, json={"turns": [whole]})
            if request.url.path == "/page/calls/web-1"
            else httpx.Response(404)
        )
    )
    orch.context.spoken._http = httpx.AsyncClient(transport=collector, base_url="http://metrics.test")
    seen = await orch.http.get("/call/turns", headers={"Authorization": f"Bearer {token}"})
    [turn] = seen.json()["turns"]
    assert turn == {"turn": 1, "outcome": "answered", "understood": "hello", "answer": "hi", "roundtrip_ms": 9.0} | {
        "response_ms": None
    }
    other = mint_view_token(config, "web-2")
    assert (await orch.http.get("/call/turns", headers={"Authorization": f"Bearer {other}"})).json() == {"turns": []}
    for forged in ("", "web-1", "web-1.", f"web-2.{token.partition('.')[2]}"):
        assert (await orch.http.get("/call/turns", headers={"Authorization": f"Bearer {forged}"})).status_code == 401
