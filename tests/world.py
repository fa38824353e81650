"""A whole stack of real servers for system and chaos tests, and callers for it."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from trunkline.cli.placing import Exchange
from trunkline.core.errors import TrunklineError
from trunkline.emulators.twilio import DialSip, TwilioEmulator, new_call_sid
from trunkline.loadtest.conversation import Utterance
from trunkline.loadtest.phone import Phone
from trunkline.loadtest.voice import speak_to_wav
from trunkline.settings import load_settings
from trunkline.stack.binaries import LIVEKIT_SERVER, LIVEKIT_SIP, REDIS, find, find_phone
from trunkline.stack.plan import Plan, Programs, make_plan
from trunkline.stack.ports import free_ports
from trunkline.stack.stack import Stack

HOST = "127.0.0.1"


def missing(what: str) -> None:
    """Skips the test, or fails it where servers are required."""
    if os.environ.get("TRUNKLINE_REQUIRE_SERVERS") == "1":
        pytest.fail(what)
    pytest.skip(what)


async def make_real_plan(folder: Path, workers: int = 2, *, services: bool = True, **changes: Any) -> Plan:
    """A plan of real servers on free ports; without them the test is skipped, or fails where servers are required."""
    found: dict[str, tuple[str, ...]] = {}
    for wanted in (REDIS, LIVEKIT_SERVER, LIVEKIT_SIP):
        path = await find(wanted, os.environ, lambda *_: None)
        if path is None:
            missing(f"{wanted.name} is missing; make servers")
        found[wanted.name] = (str(path),)
    if shutil.which("espeak-ng") is None:
        missing("espeak-ng is missing")
    programs = Programs(found["redis-server"], found["livekit-server"], found["livekit-sip"])
    settings = load_settings(**changes)
    return make_plan(programs, free_ports(HOST), settings, folder, workers=workers, host=HOST, services=services)


async def phone_program() -> Path:
    try:
        return await find_phone(lambda *_: None)
    except TrunklineError as error:
        missing(str(error))
        raise


@dataclass
class World:
    """A running stack and those who call it."""

    stack: Stack
    plan: Plan
    phone: Phone
    http: httpx.AsyncClient
    exchange: Exchange
    twilio: TwilioEmulator
    folder: Path

    async def utterances(self, *texts: str, interrupts: str = "") -> list[Utterance]:
        """Sentences as sound; the last may interrupt."""
        script = []
        for text in (*texts, *([interrupts] if interrupts else [])):
            wav = self.folder / f"{text.replace(' ', '-')}.wav"
            if not wav.exists():
                await speak_to_wav(text, wav)
            script.append(Utterance(text, wav, interrupts=bool(interrupts) and text == interrupts))
        return script

    async def announced(self) -> tuple[str, DialSip]:
        """A call that the webhook took: its id and what Twilio is to dial."""
        call = new_call_sid()
        dial = await self.twilio.incoming_call(call, f"+1555{int(call[2:9], 16):09d}", "+15550199")
        assert isinstance(dial, DialSip)
        return call, dial

    async def api(self, path: str, method: str = "GET") -> Any:
        """What the orchestrator's API says."""
        headers = {"Authorization": f"Bearer {self.plan.env['ORCH_API_KEY']}"}
        response = await self.http.request(method, f"{self.plan.env['ORCH_URL']}{path}", headers=headers)
        response.raise_for_status()
        return response.json()

    def log(self, process: str) -> str:
        """What a process has logged so far."""
        return (self.plan.log_dir / f"{process}.log").read_text()


async def open_world(folder: Path, workers: int, **changes: Any) -> AsyncIterator[World]:
    plan = await make_real_plan(folder, workers, **changes)
    program = await phone_program()
    async with Stack(plan) as stack, Phone(program, HOST) as phone, httpx.AsyncClient(timeout=10) as http:
        exchange = Exchange.of(plan.env)
        yield World(stack, plan, phone, http, exchange, exchange.twilio(http), folder)
