"""A real Prometheus scrapes a real collector: every query of the dashboard has an answer, and every rule is loaded."""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
import yaml

from tests.conftest import free_port, need
from tests.unit.test_collector import ended, fares, heard, refusal, turn
from trunkline.core import wire
from trunkline.core.wire import Mark, TurnOutcome

pytestmark = [pytest.mark.system, pytest.mark.timeout(120), pytest.mark.asyncio(loop_scope="module")]

CONFIG = Path(__file__).parents[2] / "config"
DASHBOARD: dict[str, Any] = json.loads((CONFIG / "grafana" / "dashboards" / "trunkline.json").read_text())
RULES = {
    rule["alert"]: rule
    for group in yaml.safe_load((CONFIG / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
}
QUERIES = [
    pytest.param(target["expr"], id=f"{panel['title']} {target['refId']}")
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
]
ANSWERED_WITHIN_S = 60.0
PAUSE_S = 0.2


@dataclass
class Prometheus:
    """A running one."""

    url: str
    http: httpx.AsyncClient

    async def ask(self, path: str, **params: str) -> Any:
        answer = (await self.http.get(f"{self.url}/api/v1/{path}", params=params)).json()
        assert answer["status"] == "success", answer
        return answer["data"]

    async def values(self, query: str) -> list[float]:
        """The samples that a query finds now."""
        found = await self.ask("query", query=query)
        return [float(series["value"][1]) for series in found["result"]]


@asynccontextmanager
async def program(*command: str, url: str, http: httpx.AsyncClient, **environment: str) -> AsyncIterator[None]:
    """A process that answers at an address."""
    with subprocess.Popen(command, env={**os.environ, **environment}, stderr=subprocess.DEVNULL) as process:
        try:
            async with asyncio.timeout(ANSWERED_WITHIN_S):
                while True:
                    assert process.poll() is None, f"{command[0]} ended"
                    try:
                        if (await http.get(url)).status_code == 200:
                            break
                    except httpx.TransportError:
                        pass
                    await asyncio.sleep(0.05)
            yield
        finally:
            process.terminate()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def prometheus(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Prometheus]:
    """Scrapes a collector to which something of every kind is told all the time."""
    server = need("prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    ports = free_port(), free_port()
    collector, url = (f"http://127.0.0.1:{port}" for port in ports)
    config = yaml.safe_load((CONFIG / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(CONFIG / name) for name in config["rule_files"]]
    config["scrape_configs"][0]["static_configs"] = [{"targets": [collector.removeprefix("http://")]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    command = [
        server, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{ports[1]}", "--log.level=error",
    ]  # fmt: skip
    trunkline = str(Path(sys.executable).with_name("trunkline"))
    async with (
        httpx.AsyncClient(timeout=10, trust_env=False) as http,
        program(trunkline, "metrics", url=f"{collector}/healthz", http=http, METRICS_LISTEN=f"127.0.0.1:{ports[0]}"),
        program(*command, url=f"{url}/-/ready", http=http),
    ):
        telling = asyncio.create_task(tell(http, collector))
        try:
            yield Prometheus(url, http)
        finally:
            telling.cancel()


async def tell(http: httpx.AsyncClient, collector: str) -> None:
    """Something of every kind, again and again."""
    for events in told():
        await http.post(f"{collector}/ingest", content=b"\n".join(events))
        await asyncio.sleep(PAUSE_S)


def told() -> Iterator[list[bytes]]:
    seq = count(1)
    usual = turn(1).marks_us
    cut = {**usual, Mark.BARGE_IN: 2_000_000, Mark.PLAYBACK_STOP: 2_090_000}
    prepared = {**usual, Mark.STT_PARTIAL: 1_100_000, Mark.PREPARED: 1_300_000, Mark.RELEASED: 1_450_000}
    for second in count():
        records = [
            turn(next(seq)),
            turn(next(seq), outcome=TurnOutcome.INTERRUPTED, marks_us=cut),
            turn(next(seq), policy="first_partial", marks_us=prepared),
            turn(next(seq), outcome=TurnOutcome.UNANSWERED),
            replace(heard(next(seq)), sender="w"),
            ended(next(seq), call=f"CA{second}"),
            ended(next(seq), call=f"CB{second}", result="server_error", reason="media_failed"),
            fares(next(seq), sender="w", late_ticks=second * 9, dropped_ticks=second),
            replace(refusal(next(seq), call=f"CR{second}"), sender="w"),
            turn(1),
        ]
        yield [*(wire.encode(record) for record in records), b"nonsense"]


@pytest.mark.parametrize("query", QUERIES)
async def test_a_query_of_the_dashboard_has_an_answer(prometheus: Prometheus, query: str) -> None:
    asked = query.replace("$__rate_interval", "10s").replace("$__range", "60s")
    assert "$" not in asked
    found: list[float] = []
    async with asyncio.timeout(ANSWERED_WITHIN_S):
        while not found or all(math.isnan(value) for value in found):
            found = await prometheus.values(asked)
            await asyncio.sleep(PAUSE_S)


async def test_the_dashboard_shows_every_metric_that_there_is(prometheus: Prometheus) -> None:
    async with asyncio.timeout(ANSWERED_WITHIN_S):
        while not await prometheus.values("trunkline_workers"):
            await asyncio.sleep(PAUSE_S)
    names = await prometheus.ask("label/__name__/values")
    ours = {re.sub(r"_(bucket|sum|count|total)$", "", name) for name in names if name.startswith("trunkline_")}
    asked = {
        re.sub(r"_(bucket|sum|count|total)$", "", name)
        for query in QUERIES
        for name in re.findall(r"trunkline_\w+", str(query.values[0]))
    }
    assert asked == ours


async def test_all_rules_are_loaded_and_can_be_evaluated(prometheus: Prometheus) -> None:
    async with asyncio.timeout(ANSWERED_WITHIN_S):
        while True:
            groups = (await prometheus.ask("rules"))["groups"]
            rules = [rule for group in groups for rule in group["rules"]]
            if rules and all(rule["health"] == "ok" for rule in rules):
                break
            assert not any(rule["health"] == "err" for rule in rules), rules
            await asyncio.sleep(PAUSE_S)
    assert {rule["name"] for rule in rules} == RULES.keys()
