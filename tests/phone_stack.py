"""Real SIP without our services: Redis, livekit-server, livekit-sip, and agents that send back what they hear.

For what is between a phone and an agent's media engine; `tests/world.py` has the whole stack.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from tests.sfu import access_token
from trunkline.loadtest.phone import Phone, PhoneLine
from trunkline.media.engine import CallerFrame, MediaEvent, MediaLeg, ParticipantJoined, ParticipantKind, TrackHeard
from trunkline.media.native import NativeEngine
from trunkline.orchestrator.livekit_admin import LiveKitAdmin
from trunkline.settings import load_settings
from trunkline.stack.plan import Plan, Programs, make_plan
from trunkline.stack.ports import free_ports
from trunkline.stack.stack import Stack

HOST = "127.0.0.1"
LOUD = 400
QUIET_S = 0.3
TRUNK_TIMEOUT_S = 20.0


@dataclass
class EchoAgent:
    """Answers the phone that comes into its room, and sends back what it hears, sound by sound.

    Args:
        utterance: The sound it is sending back, counted from 1.
        heard: Set once the phone's end has subscribed: what is said before is lost.
    """

    leg: MediaLeg | None = None
    phone: asyncio.Future[str] = field(default_factory=asyncio.Future)
    utterance: int = 0
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    loud_until: float = 0.0
    frames: int = 0

    def on_frame(self, frame: CallerFrame) -> None:
        assert self.leg is not None
        self.frames += 1
        if int(np.abs(frame.samples).max()) > LOUD:
            if not self.loud_until:
                self.utterance += 1
            self.loud_until = frame.ended_at + QUIET_S
        elif self.loud_until and frame.ended_at > self.loud_until:
            self.leg.end(self.utterance)
            self.loud_until = 0.0
        if self.loud_until:
            self.leg.play(self.utterance, frame.samples)

    def on_event(self, event: MediaEvent) -> None:
        if isinstance(event, ParticipantJoined) and event.kind is ParticipantKind.PHONE and not self.phone.done():
            self.phone.set_result(event.identity)
        elif isinstance(event, TrackHeard):
            self.heard.set()

    async def answer(self) -> None:
        """Waits for the phone; it is answered once our track is there."""
        assert self.leg is not None
        await self.leg.listen_to(await self.phone)
        await self.leg.publish()


@dataclass
class PhoneStack:
    """Running servers, one phone, one media engine."""

    plan: Plan
    stack: Stack
    phone: Phone
    engine: NativeEngine
    _answering: list[asyncio.Task[None]] = field(default_factory=list)

    async def agent(self, room: str) -> EchoAgent:
        """An agent in a room of its own, waiting for its phone."""
        env, agent = self.plan.env, EchoAgent()
        token = access_token(env["LIVEKIT_API_KEY"], env["LIVEKIT_API_SECRET"], room, f"agent-{room}", agent=True)
        agent.leg = await self.engine.join(env["LIVEKIT_HOST"], token, agent)
        self._answering.append(asyncio.create_task(agent.answer()))
        return agent

    async def dial(self, room: str, **options: Any) -> PhoneLine:
        """Calls a room; options as for `Phone.dial`."""
        env = self.plan.env
        credentials = (env["SIP_TRUNK_USERNAME"], env["SIP_TRUNK_PASSWORD"])
        return await self.phone.dial(room, f"sip:{room}@{env['TWILIO_SIP_INGRESS_HOST']}", credentials, **options)

    def processes(self) -> dict[str, int]:
        """Process ids by name, of all that carries calls."""
        found = {name: process.pid for name, process in self.stack.processes.items()}
        found |= {"media engine": self.engine.pid, "simulated phone": self.phone.pid}
        return {name: pid for name, pid in found.items() if pid is not None}

    async def close(self) -> None:
        for task in self._answering:
            task.cancel()
        await asyncio.gather(*self._answering, return_exceptions=True)


@contextlib.asynccontextmanager
async def open_phone_stack(
    programs: Programs, phone: Path, media_engine: Path, folder: Path
) -> AsyncIterator[PhoneStack]:
    """Starts all of it, with G.722 allowed, and a trunk."""
    plan = make_plan(programs, free_ports(HOST), load_settings(), folder, host=HOST, services=False)
    plan = replace(plan, files={path: _changed(path.name, text) for path, text in plan.files.items()})
    engine = NativeEngine(media_engine)
    async with Stack(plan) as stack, Phone(phone, HOST) as telephone:
        await _make_trunk(plan.env)
        await engine.start()
        opened = PhoneStack(plan, stack, telephone, engine)
        try:
            yield opened
        finally:
            await opened.close()
            await engine.close()


def _changed(name: str, text: str) -> str:
    """No webhooks, as there is nobody to take them; G.722."""
    if name == "livekit.yaml":
        return re.sub(r"^webhook:\n(?:[ #].*\n)*", "", text, flags=re.MULTILINE)
    return text.replace("G722/8000: false", "G722/8000: true")


async def _make_trunk(env: Mapping[str, str]) -> None:
    admin = LiveKitAdmin(load_settings(**{name.lower(): value for name, value in env.items()}))
    try:
        async with asyncio.timeout(TRUNK_TIMEOUT_S):
            await admin.ensure_trunk()
    finally:
        await admin.close()
