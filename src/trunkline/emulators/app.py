"""One HTTP server for all emulated providers: their own paths, and two of ours.

`GET /emulated` tells what was served and how it behaves; `POST /emulated/faults` with JSON such as {"stall": 0.1}
changes what goes wrong with connections opened from now on.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

from aiohttp import web

from trunkline.core.errors import ConfigError
from trunkline.emulators import assemblyai, cartesia, deepgram, elevenlabs, openai
from trunkline.emulators.bed import bed
from trunkline.emulators.behaviour import Behaviour, Luck, parse_faults
from trunkline.emulators.connection import LABEL

STOP_TIMEOUT_S = 2.0

Serve = Callable[[web.Request, Luck], Awaitable[web.StreamResponse]]


class Emulators:
    """The state that all connections share.

    Args:
        behaviour: How they behave at first.
    """

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.served: Counter[str] = Counter()
        self.open: Counter[str] = Counter()
        self._connections: defaultdict[str, itertools.count[int]] = defaultdict(itertools.count)
        self._tasks: set[asyncio.Task[object]] = set()

    def app(self) -> web.Application:
        """The routes."""
        app = web.Application()
        app.router.add_get("/v1/listen", self._provider("deepgram", deepgram.listen))
        app.router.add_get("/v3/ws", self._provider("assemblyai", assemblyai.v3_ws))
        app.router.add_get("/tts/websocket", self._provider("cartesia", cartesia.tts_websocket))
        app.router.add_post("/v1/chat/completions", self._provider("openai", openai.chat_completions))
        app.router.add_get(
            "/v1/text-to-speech/{voice}/multi-stream-input",
            self._provider("elevenlabs", elevenlabs.multi_stream_input),
        )
        app.router.add_get("/emulated", self._tell)
        app.router.add_post("/emulated/faults", self._set_faults)
        app.on_shutdown.append(self._end_connections)
        return app

    def _provider(self, name: str, serve: Serve) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            self.served[name] += 1
            self.open[name] += 1
            try:
                return await serve(request, self.behaviour.luck(name, next(self._connections[name])))
            finally:
                self.open[name] -= 1
                self._tasks.discard(task)

        return handle

    async def _tell(self, _request: web.Request) -> web.Response:
        faults = {fault.value: chance for fault, chance in self.behaviour.faults.items()}
        body = {"emulated": True, "served": self.served, "open": self.open, "faults": faults}
        return web.json_response(body | {"seed": self.behaviour.seed}, headers=LABEL)

    async def _set_faults(self, request: web.Request) -> web.Response:
        try:
            wanted = await request.json()
            faults = parse_faults([f"{name}={chance}" for name, chance in wanted.items()])
        except (ValueError, AttributeError):
            return web.json_response({"error": "the body is no JSON object"}, status=400, headers=LABEL)
        except ConfigError as error:
            return web.json_response({"error": str(error)}, status=400, headers=LABEL)
        self.behaviour = replace(self.behaviour, faults=faults)
        return await self._tell(request)

    async def _end_connections(self, _app: web.Application) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=STOP_TIMEOUT_S)


@asynccontextmanager
async def serving(behaviour: Behaviour, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Serves for as long as the context lasts; yields ws://HOST:PORT, for STT_URL and TTS_URL.

    The chat model is at http://HOST:PORT/v1.

    Raises:
        ConfigError: the address is taken, or espeak-ng is missing.
    """
    await asyncio.to_thread(bed, 1.0)
    runner = web.AppRunner(Emulators(behaviour).app(), access_log=None, shutdown_timeout=STOP_TIMEOUT_S)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise ConfigError(f"can't listen on {host}:{port}: {error.strerror}", "choose another --listen") from error
        bound = runner.addresses[0]
        yield f"ws://{host}:{bound[1]}"
    finally:
        await runner.cleanup()
