"""The collector's HTTP side, and the process: one port, HTTP on TCP and datagrams on UDP.

POST /ingest         one event, a JSON list of them, or one a line
GET  /summary        ?window_sec=N up to the horizon, ?metric=NAME for one duration alone, ?call=ID, ?worker=NAME
GET  /stages         each stage's share of the RoundTrip; ?window_sec=, ?call=, ?worker=
GET  /metrics        for Prometheus
GET  /calls          ?limit=N, the newest first
GET  /calls/{call}   all records of one call
GET  /stats, /healthz
GET  /               the page, see page.py
"""

from __future__ import annotations

import asyncio
import dataclasses
import signal
import socket
from typing import Annotated, Any

import structlog
import uvicorn
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response

from trunkline.core.errors import ConfigError
from trunkline.core.latency import EventError, Record, is_call_id, parse_event, parse_json, read_event
from trunkline.metrics.call_history import MAX_CALLS, CallHistory
from trunkline.metrics.csv_log import CsvLog
from trunkline.metrics.exporter import Exporter
from trunkline.metrics.latency_collector import Collector
from trunkline.metrics.looking_back import LookBack, Metric
from trunkline.metrics.page import create_page
from trunkline.settings import Settings, split_listen

log = structlog.get_logger()

MAX_BODY_BYTES = 1_048_576
BODY_TIMEOUT_S = 10.0
RECEIVE_BUFFER_BYTES = 1_048_576
GRACE_S = 5
MAX_CONNECTIONS = 512
"""Further ones are answered 503."""


def create_app(collector: Collector) -> FastAPI:
    """The HTTP side of a collector. Errors are answered as `{"error": one line}`."""
    app = FastAPI(title="trunkline metrics", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.collector = collector
    exporter = Exporter(collector)

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
        return JSONResponse(collector.summary(*asked) if metric is None else collector.metric(metric, *asked))

    @app.get("/stages")
    async def stages(asked: LookBack) -> JSONResponse:
        return JSONResponse(collector.stages(*asked))

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

    app.include_router(create_page(collector))
    return app


async def serve(settings: Settings) -> None:
    """Runs the collector until SIGTERM or Ctrl-C.

    Raises:
        ConfigError: the port is taken, or the CSV's directory can't be written.
    """
    host, port = split_listen(settings.metrics_listen)
    tcp, udp = _listening(host, port)
    try:
        csv_log = CsvLog(settings.metrics_csv_dir) if settings.metrics_csv_dir is not None else None
        try:
            await _serve(Collector(settings.metrics_window_s, csv_log), tcp, udp)
        finally:
            if csv_log is not None:
                await asyncio.to_thread(csv_log.close)
    finally:
        tcp.close()
        udp.close()


async def _serve(collector: Collector, tcp: socket.socket, udp: socket.socket) -> None:
    config = uvicorn.Config(
        create_app(collector),
        log_config=None,
        log_level="warning",
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=GRACE_S,
        limit_concurrency=MAX_CONNECTIONS,
    )
    server = uvicorn.Server(config)
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn takes these over while it serves, and raises them again afterwards: then all is done already.
        signal.signal(number, server.handle_exit)
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: collector, sock=udp)
    log.info("metrics_started", port=tcp.getsockname()[1])
    try:
        await server.serve(sockets=[tcp])
    finally:
        transport.close()
        stats = {name: count for name, count in collector.stats().items() if name != "senders"}
        log.info("metrics_stopped", **stats)


def _listening(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    """A TCP and a UDP socket on the same address. Raises ConfigError."""
    sockets: list[socket.socket] = []
    try:
        family, *_, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            sockets.append(socket.socket(family, kind))
            if kind is socket.SOCK_STREAM:
                # After a restart, connections of before may linger; on UDP this would let two collectors share a port.
                sockets[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            else:
                sockets[-1].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
            sockets[-1].setblocking(False)
            sockets[-1].bind(address)
        sockets[0].listen(128)
    except OSError as error:
        for opened in sockets:
            opened.close()
        raise ConfigError(f"METRICS_LISTEN {host}:{port}: {error.strerror}", "does a collector run already?") from error
    return sockets[0], sockets[1]


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
    return {"call": history.call, "record": _record(history), "turns": len(history.turns), "heard": len(history.heard)}


def _record(history: CallHistory) -> dict[str, Any] | None:
    return None if history.record is None else dataclasses.asdict(history.record)


def _error(status: int, problem: str) -> JSONResponse:
    return JSONResponse({"error": problem}, status)
