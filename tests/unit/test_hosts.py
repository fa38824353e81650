"""Who may speak to the collector from a browser: its own page, under a name that nobody outside can own."""

from __future__ import annotations

import httpx
import pytest

from tests.unit.test_collector import turn
from trunkline.core import wire
from trunkline.metrics.app import create_app
from trunkline.metrics.latency_collector import Collector

pytestmark = pytest.mark.unit


async def answer(headers: dict[str, str], *allowed: str, method: str = "GET") -> httpx.Response:
    transport = httpx.ASGITransport(create_app(Collector(60.0), allowed))
    async with httpx.AsyncClient(transport=transport, base_url="http://collector") as client:
        path, body = ("/stats", None) if method == "GET" else ("/ingest", wire.encode(turn(1)))
        return await client.request(method, path, headers=headers, content=body)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:9100",
        "LOCALHOST.",
        "metrics:9100",
        "127.0.0.1:9100",
        "192.168.1.7",
        "[::1]:9100",
        "[::1]",
    ],
)
async def test_addresses_and_names_without_dots_are_good(host: str) -> None:
    assert (await answer({"host": host})).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:9100", "127.0.0.1.evil.example", "localhost.evil.example", "[::1",
     "a.b@127.0.0.1x.y",
     "1.2.3.4.5", "metrics.example.com"],
)  # fmt: skip
async def test_other_names_are_refused_in_one_line(host: str) -> None:
    refused = await answer({"host": host})
    assert refused.status_code == 421
    assert refused.json()["error"].startswith("Host: ")


@pytest.mark.parametrize(
    ("allowed", "host", "status"),
    [("metrics.example.com", "metrics.example.com:443", 200), ("metrics.example.com", "Metrics.Example.COM", 200),
     ("metrics.example.com", "x.metrics.example.com", 421), (".example.com", "x.y.example.com", 200),
     (".example.com", "evilexample.com", 421), ("*", "evil.example", 200)],
)  # fmt: skip
async def test_names_of_the_setting_are_good(allowed: str, host: str, status: int) -> None:
    assert (await answer({"host": host}, allowed)).status_code == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (None, 200),
        ("http://localhost:9100", 200),
        ("http://evil.example", 403),
        ("http://localhost", 403),
        ("null", 403),
    ],
)
async def test_another_page_can_not_post(origin: str | None, status: int) -> None:
    headers = {"host": "localhost:9100"} | ({} if origin is None else {"origin": origin})
    assert (await answer(headers, method="POST")).status_code == status
