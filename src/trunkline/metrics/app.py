"""The collector's HTTP side, and the process: one port, HTTP on TCP and datagrams on UDP.

POST /ingest         one event, a JSON list of them, or one a line
GET  /summary        ?window_sec=N up to the horizon, ?metric=NAME for one duration alone, ?call=ID, ?worker=NAME
GET  /stages         each stage's share of the RoundTrip; ?window_sec=, ?call=, ?worker=
GET  /metrics        for Prometheus
GET  /calls          ?limit=N, the newest first
GET  /calls/{call}   all records of one call; /calls/{call}/recording: its sound, where it was recorded
GET  /stats, /healthz
GET  /               the page, see page.py
"""

from __future__ import annotations

import asyncio
import dataclasses
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import structlog
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response

from trunkline.core.events import EventError, Record, is_call_id, parse_event, parse_json, read_event
from trunkline.metrics import answers
from trunkline.metrics.call_history import MAX_CALLS, CallHistory
from trunkline.metrics.csv_log import CsvLog
from trunkline.metrics.datagrams import Datagrams
from trunkline.metrics.exporter import Exporter
from trunkline.metrics.hosts import HostGuard
from trunkline.metrics.latency_collector import Collector
from trunkline.metrics.looking_back import LookBack, Metric
from trunkline.metrics.page import HEADERS, create_page
from trunkline.metrics.recordings import Recordings
from trunkline.settings import Settings

log = structlog.get_logger()

MAX_BODY_BYTES = 1_048_576
BODY_TIMEOUT_S = 10.0


def create_app(collector: Collector, host_names: Sequence[str] = (), recordings_dir: Path | None = None) -> FastAPI:
    """The HTTP side of a collector. Errors are answered as `{"error": one line}`.

    Args:
        collector: What it tells of.
        host_names: Its names that have dots; "*" makes any name good.
        recordings_dir: Where the workers keep recordings; None: there are none.
    """
    app = FastAPI(title="trunkline metrics", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.collector = collector
    if "*" not in host_names:
        app.add_middleware(HostGuard, allowed=host_names)
    exporter = Exporter(collector)
    recordings = Recordings(recordings_dir)

    @app.exception_handler(RequestValidationError)
    async def _refuse_query(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        return _error(400, f"{first['loc'][-1]}: {first['msg']}")

    @app.post("/ingest")
    async def ingest(request: Request) -> JSONResponse:
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                body = await _body(request)
        except TimeoutError:
            return _error(408, f"no whole body within {BODY_TIMEOUT_S:g} s")
        if body is None:
            return _error(413, f"more than {MAX_BODY_BYTES} bytes")
        return _take_all(collector, body)

    @app.get("/summary")
    async def summary(asked: LookBack, metric: Metric) -> JSONResponse:
        look = collector.look(*asked)
        return JSONResponse(answers.summary(look) if metric is None else answers.metric(look, metric))

    @app.get("/stages")
    async def stages(asked: LookBack) -> JSONResponse:
        return JSONResponse(answers.stages(collector.look(*asked)))

    @app.get("/calls")
    async def calls(limit: Annotated[int, Query(ge=1, le=MAX_CALLS)] = 100) -> JSONResponse:
        return JSONResponse({"calls": [_brief(history) for history in collector.calls.newest(limit)]})

    @app.get("/calls/{call}")
    async def call(call: str) -> JSONResponse:
        history = collector.calls.get(call) if is_call_id(call) else None
        if history is None:
            return _error(404, "no such call, or not among the last ones")
        turns = [dataclasses.asdict(record) for record in history.turns]
        heard = [dataclasses.asdict(record) for record in history.heard]
        return JSONResponse({"call": call, "record": _record(history), "turns": turns, "heard": heard})

    @app.get("/calls/{call}/recording")
    async def recording(call: str) -> Response:
        path = recordings.find(call)
        if path is None:
            return _error(404, "this call was not recorded, or its recording is gone")
        return FileResponse(path, media_type="audio/wav", headers=HEADERS)

    @app.get("/metrics")
    async def metrics(request: Request) -> Response:
        body, content_type = exporter.page(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})

    @app.get("/stats")
    async def stats() -> JSONResponse:
        return JSONResponse(collector.stats())

    @app.get("/healthz")
    async def healthz() -> JSONResponse:
        return JSONResponse({"status": "ok"})

    app.include_router(create_page(collector, recordings))
    return app


@asynccontextmanager
async def collecting(settings: Settings, door: socket.socket) -> AsyncIterator[FastAPI]:
    """A collector that takes the datagrams of a socket, and its HTTP side.

    Raises:
        ConfigError: the CSV's directory can't be written.
    """
    folder = settings.metrics_csv_dir
    csv_log = None if folder is None else CsvLog(folder, settings.metrics_csv_keep_days)
    try:
        collector = Collector(settings.metrics_window_s, csv_log)
        datagrams = Datagrams(door, collector.take_datagram, collector.overrun)
        datagrams.open()
        log.info("metrics_started", port=door.getsockname()[1])
        try:
            yield create_app(collector, settings.metrics_host_names, settings.recordings_dir)
        finally:
            datagrams.close()
            log.info("metrics_stopped", **{name: n for name, n in collector.stats().items() if type(n) is int})
    finally:
        if csv_log is not None:
            await asyncio.to_thread(csv_log.close)


async def _body(request: Request) -> bytes | None:
    """The request's body; None where it is too long, however much of it was announced."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            return None
    return bytes(body)


def _take_all(collector: Collector, body: bytes) -> JSONResponse:
    """Takes the good events; the answer tells of the first bad one. A post that is repeated does no harm."""
    accepted, refused = 0, None
    for index, event in enumerate(_events(body)):
        try:
            record: Record = parse_event(event) if isinstance(event, bytes) else read_event(event)
        except EventError as error:
            collector.refuse(error)
            refused = refused or {"error": str(error), "index": index}
        else:
            accepted += collector.take(record)
    if refused is not None:
        return JSONResponse({**refused, "accepted": accepted}, 400)
    return JSONResponse({"accepted": accepted})


def _events(body: bytes) -> list[Any]:
    """The events of a body: parsed ones of a JSON list or object, else its lines as bytes."""
    try:
        whole = parse_json(body)
    except EventError:
        return [line for line in body.split(b"\n") if line.strip()] or [body]
    return whole if isinstance(whole, list) else [whole]


def _brief(history: CallHistory) -> dict[str, Any]:
    refusal = None if history.refusal is None else dataclasses.asdict(history.refusal)
    counts = {"turns": len(history.turns), "heard": len(history.heard)}
    return {"call": history.call, "record": _record(history), "refusal": refusal, **counts}


def _record(history: CallHistory) -> dict[str, Any] | None:
    return None if history.record is None else dataclasses.asdict(history.record)


def _error(status: int, problem: str) -> JSONResponse:
    return JSONResponse({"error": problem}, status)
