"""The page of the collector: its files, and what it asks for each second.

GET  /                  the page
GET  /page/{file}       its scripts, style and icon
GET  /page/live         figures, charts and the last calls
GET  /page/calls/{call} one call, turn by turn

The page polls. However many look, the figures are put together once a second and at most that; nothing is kept for a
reader. Only the files that were there at the start are served. What callers said is foreign text: the page writes it as
text only, and its policy lets no script run that is not one of these files.
"""

from __future__ import annotations

import hashlib
import json
from importlib import resources
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from trunkline.core.events import is_call_id
from trunkline.core.units import us_to_ms
from trunkline.core.wire import TurnOutcome, WorkerRecord
from trunkline.metrics import answers, call_view
from trunkline.metrics.latency_collector import Collector
from trunkline.metrics.recordings import Recordings
from trunkline.metrics.timeline import STEP_S, STEPS

KEEP_S = 0.9
"""How long the answer to /page/live stays good; a little less than the second after which each reader asks again."""
LISTED_CALLS = 50

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; media-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",
}

_TYPES = {"html": "text/html", "js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}


def create_page(collector: Collector, recordings: Recordings) -> APIRouter:
    """The routes of the page."""
    router = APIRouter()
    files = _files()
    live = _Live(collector, build=hashlib.sha256(b"".join(files.values())).hexdigest()[:12])

    @router.get("/")
    async def page() -> Response:
        return _file("index.html", files["index.html"])

    @router.get("/page/live")
    async def figures() -> Response:
        return Response(live.body(), media_type="application/json", headers=HEADERS)

    @router.get("/page/calls/{call}")
    async def call(call: str) -> JSONResponse:
        history = collector.calls.get(call) if is_call_id(call) else None
        if history is None:
            return JSONResponse({"error": "no such call, or not among the last ones"}, 404, HEADERS)
        recorded = recordings.find(call) is not None
        return JSONResponse({**call_view.whole(history), "recorded": recorded}, headers=HEADERS)

    @router.get("/page/{name}")
    async def file(name: str) -> Response:
        body = files.get(name)
        return _file(name, body) if body is not None else JSONResponse({"error": "no such file"}, 404, HEADERS)

    return router


class _Live:
    """What all readers see this second."""

    def __init__(self, collector: Collector, build: str) -> None:
        self._collector = collector
        self._build = build
        self._body = b""
        self._good_until = float("-inf")

    def body(self) -> bytes:
        """JSON; the same as for the last reader where that one came a moment ago."""
        now = self._collector.now()
        if now >= self._good_until:
            self._body = json.dumps(self._figures(now), separators=(",", ":"), ensure_ascii=False).encode()
            self._good_until = now + KEEP_S
        return self._body

    def _figures(self, now: float) -> dict[str, Any]:
        collector = self._collector
        collector.settle()
        totals, look = collector.totals, collector.look(collector.window_s)
        stats = collector.stats()
        del stats["senders"]
        del stats["refused_by_reason"]
        return {
            "build": self._build,
            "window": answers.stages(look) | answers.counts(look),
            "durations": {name: answers.metric(look, name) for name in ("response", "response_heard", "barge_in")},
            "totals": {
                "calls": totals.calls.total(),
                "turns": totals.turns.total(),
                "answered": totals.turns.total() - totals.turns[TurnOutcome.UNANSWERED],
                "barge_ins": totals.barge_ins,
                "refused": totals.refusals.total(),
            },
            "workers": [_worker(record) for record in collector.workers.alive(now)],
            "events": stats,
            "chart": {
                "step_s": STEP_S,
                "span_s": STEP_S * STEPS,
                **{name: timeline.points(now) for name, timeline in collector.timelines.items()},
            },
            "calls": [call_view.brief(history) for history in collector.calls.newest(LISTED_CALLS)],
        }


def _worker(record: WorkerRecord) -> dict[str, Any]:
    return {
        "worker": record.worker,
        "host": record.host,
        "calls": record.calls,
        "capacity": record.capacity,
        "draining": record.draining,
        "loop_lag_ms": us_to_ms(record.loop_lag_us),
        "late_ticks": record.late_ticks,
        "dropped_ticks": record.dropped_ticks,
    }


def _files() -> dict[str, bytes]:
    folder = resources.files("trunkline.metrics") / "dashboard"
    return {entry.name: entry.read_bytes() for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)}


def _file(name: str, body: bytes) -> Response:
    return Response(body, media_type=_TYPES[name.rpartition(".")[2]], headers=HEADERS)
