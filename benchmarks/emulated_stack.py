"""A whole stack of its own with emulated speech providers, and load tests against it: for the benches of conversations.

    async with emulated_stack(folder, {"REPLY_ON": "final"}, profile="vendors") as stack:
        result = await stack.load(LoadOptions(concurrency=1, turns=30))

Everything else is real: Redis, livekit-server, livekit-sip, orchestrator, worker, media engine, collector. The callers
are processes of their own.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.ending import ended

from trunkline.cli.phone_door import phone_placer
from trunkline.cli.placing import Exchange
from trunkline.loadtest.load_test import new_folder, run_load_test
from trunkline.loadtest.options import EMULATED, LoadOptions, Target, Via
from trunkline.loadtest.result import LoadResult
from trunkline.settings import Settings, load_settings
from trunkline.stack.binaries import find_media_engine, find_phone, find_servers
from trunkline.stack.plan import make_plan
from trunkline.stack.ports import free_ports
from trunkline.stack.stack import Stack

HOST = "127.0.0.1"
START_S = 30.0
KEPT = ("PATH", "LD_LIBRARY_PATH", "HOME", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "VIRTUAL_ENV")
"""All that a bench's stack gets of the environment: else a developer's own settings would be measured."""


def quiet(_name: str, _state: str, _seconds: float) -> None:
    """Tells nothing of what is found or built."""


@dataclass(frozen=True, slots=True)
class EmulatedProviders:
    """A process that emulates them.

    Args:
        url: Its address.
        pid: Its id.
    """

    url: str
    pid: int


@asynccontextmanager
async def emulators(profile: str = "", seed: int = 0) -> AsyncIterator[EmulatedProviders]:
    """Emulated providers in a process of their own.

    Args:
        profile: Delays, of `src/trunkline/emulators/profiles.toml`; empty: those of the brief, 150 ms each.
        seed: Decides what is drawn.
    """
    command = [sys.executable, "-m", "trunkline.emulators", "--profile", profile, "--seed", str(seed)]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    async with ended(process):
        assert process.stdout is not None
        ready = await asyncio.wait_for(process.stdout.readline(), START_S)
        if not ready:
            raise SystemExit("the emulators did not start")
        yield EmulatedProviders(json.loads(ready)["url"], process.pid)


@dataclass(frozen=True)
class EmulatedStack:
    """A stack that is up.

    Args:
        settings: Those of its processes.
        folder: For what the load tests leave, and for logs.
        log_dir: The processes' logs.
    """

    settings: Settings
    folder: Path
    log_dir: Path

    async def load(self, options: LoadOptions) -> LoadResult:
        """Places calls, and returns what both sides recorded."""
        settings = self.settings
        place, engine = None, ""
        if options.via is Via.SIP:
            token = settings.twilio_auth_token.get_secret_value()
            metrics = settings.metrics_endpoint.removesuffix("/ingest")
            exchange = Exchange(settings.orch_url, settings.public_url, token, metrics)
            place = phone_placer(exchange, await find_phone(quiet))
        else:
            engine = str(await find_media_engine(quiet) or "")
            if not engine:
                raise SystemExit("trunkline-media can't be had: no silent fallback in a bench")
        return await run_load_test(
            options,
            Target.of(settings),
            new_folder(self.folder, "load-"),
            speech=EMULATED,
            early_answers=settings.reply_on != "final",
            stop=asyncio.Event(),
            place=place,
            engine=engine,
        )

    def logged(self, event: str) -> list[dict[str, Any]]:
        """What the workers logged under this name."""
        found = []
        for path in sorted(self.log_dir.glob("agent-*.log")):
            for line in path.read_text(errors="replace").splitlines():
                if f'"{event}"' in line:
                    found.append(json.loads(line))
        return found


@asynccontextmanager
async def emulated_stack(
    folder: Path, environment: Mapping[str, str], *, profile: str = "brief"
) -> AsyncIterator[EmulatedStack]:
    """A stack with one worker.

    Args:
        folder: For its files and logs.
        environment: Settings; where they name no provider, one process emulates both.
        profile: Delays of that process.
    """
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    async with AsyncExitStack() as parts:
        wanted = {"LOG_LEVEL": "WARNING", "LOG_FORMAT": "json", **environment}
        if "STT_URL" not in wanted:
            url = (await parts.enter_async_context(emulators(profile))).url
            wanted |= {"STT_PROVIDER": "emulated", "TTS_PROVIDER": "emulated", "STT_URL": url, "TTS_URL": url}
        base = {name: os.environ[name] for name in KEPT if name in os.environ} | wanted
        programs = await find_servers(folder, quiet)
        settings = _settings(wanted)
        plan = make_plan(programs, free_ports(HOST), settings, folder, workers=1, environment=base)
        await parts.enter_async_context(Stack(plan))
        yield EmulatedStack(_settings(plan.env), folder, plan.log_dir)


def _settings(env: Mapping[str, str]) -> Settings:
    """The settings in this environment alone."""
    known = Settings.model_fields
    return load_settings(_env_file=None, **{n.lower(): v for n, v in env.items() if n.lower() in known})
