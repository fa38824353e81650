"""The orchestrator: builds its parts, its routes and its background work.

twilio.py           webhooks of phone calls
livekit_webhook.py  who came into which room
workers_api.py      leases and admission, for workers
worker_socket.py    the socket by which a worker gets its jobs; jobs.py brings them there
control.py          tokens, calls, workers, health
browser.py          the page /call and its one-time links
calls.py            what can be done to a call; registry.py remembers it, livekit_admin.py carries it
failover.py         the watchdog
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError

from trunkline.core.errors import ConfigError, UpstreamError, UpstreamRejectedError
from trunkline.orchestrator import browser, control, livekit_webhook, twilio, worker_socket, workers_api
from trunkline.orchestrator.body_limit import BodyLimit
from trunkline.orchestrator.calls import Calls
from trunkline.orchestrator.context import Context, RefusedError
from trunkline.orchestrator.failover import Watchdog
from trunkline.orchestrator.limits import RateLimits
from trunkline.orchestrator.livekit_admin import LiveKitAdmin
from trunkline.orchestrator.registry import Registry
from trunkline.settings import Settings

log = structlog.get_logger()

UPSTREAMS_WAIT_S = 15.0
"""How long a new orchestrator waits for Redis and LiveKit, which may be starting beside it."""
RETRY_S = 0.5
TRUNK_RETRY_S = 0.5
TRUNK_LOOK_S = 2.0


def make_context(settings: Settings) -> Context:
    """The parts of an orchestrator; connects to nothing yet. Raises ConfigError for settings that can't work."""
    settings.require("livekit_api_key", "livekit_api_secret", "twilio_sip_ingress_host")
    limits = RateLimits(settings)
    registry = Registry.at(settings.redis_url)
    livekit = LiveKitAdmin(settings)
    calls = Calls(registry, livekit, settings.max_calls)
    return Context(settings, registry, livekit, calls, limits)


def create_app(context: Context) -> FastAPI:
    """The orchestrator's HTTP side. Its watchdog runs as long as the app does."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        work = [
            asyncio.create_task(_keep_trunk(context), name="trunk"),
            asyncio.create_task(context.registry.jobs.run(), name="jobs"),
            asyncio.create_task(Watchdog(context.registry, context.calls, context.livekit).run(), name="watchdog"),
        ]
        for task in work:
            task.add_done_callback(_must_go_on)
        try:
            yield
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)
            await context.spoken.close()
            context.refusals.close()
            await context.livekit.close()
            await context.registry.close()

    app = FastAPI(title="trunkline orchestrator", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(BodyLimit)
    app.state.context = context
    for module in (twilio, livekit_webhook, workers_api, worker_socket, control, browser):
        app.include_router(module.router)
    app.add_exception_handler(RefusedError, _on_refused)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(UpstreamError, _on_upstream)
    return app


async def wait_for_upstreams(context: Context, wait_s: float = UPSTREAMS_WAIT_S) -> None:
    """Returns when Redis and LiveKit answer. Raises ConfigError with the fix where they don't within `wait_s`."""
    deadline = time.monotonic() + wait_s
    await _wait_for(context.registry.ping, deadline, f"is Redis running at REDIS_URL={_no_password(context)}?")
    await _wait_for(
        context.livekit.ping,
        deadline,
        f"is livekit-server running at LIVEKIT_HOST={context.settings.livekit_host}, and does it know our key?",
    )


async def _wait_for(ping: Callable[[], Awaitable[None]], deadline: float, fix: str) -> None:
    while True:
        try:
            await ping()
            return
        except UpstreamError as error:
            if isinstance(error, UpstreamRejectedError) or time.monotonic() >= deadline:
                raise ConfigError(str(error), fix) from error
            log.info("waiting_for", upstream=error.upstream)
        await asyncio.sleep(RETRY_S)


async def _keep_trunk(context: Context) -> None:
    """Makes the SIP trunk, and makes it again where it is gone: LiveKit keeps it in Redis, which may lose it."""
    told = ""
    while True:
        try:
            await context.livekit.ensure_trunk()
            context.trunk_ready, told = True, ""
        except ConfigError as error:
            log.error("trunk_not_made", error=str(error))
            return
        except UpstreamError as error:
            context.trunk_ready = False
            if told != str(error):
                told = str(error)
                log.warning("trunk_not_made", error=told)
        await asyncio.sleep(TRUNK_LOOK_S if context.trunk_ready else TRUNK_RETRY_S)


def _must_go_on(task: asyncio.Task[None]) -> None:
    """Without its watchdog an orchestrator looks well and rescues nobody: it ends, and is started again."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("background_work_broke", work=task.get_name(), error=repr(error), exc_info=error)
        signal.raise_signal(signal.SIGTERM)


def _no_password(context: Context) -> str:
    scheme, separator, rest = context.settings.redis_url.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


async def _on_refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    refusals = request.app.state.context.refusals
    refusals.tell_answer(request.url.path, error.status, error.reason, error.call)
    return error.response()


async def _on_invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return RefusedError(400, "bad_request", f"{where}: {first['msg']}").response()


async def _on_upstream(request: Request, error: Exception) -> Response:
    # For Twilio a 5xx means: ask the fallback address.
    log.error("upstream_failed", path=request.url.path, error=str(error))
    response = RefusedError(503, "upstream_unavailable", str(error)).response()
    response.headers["Retry-After"] = "1"
    return response
