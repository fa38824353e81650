"""Speech after a pause of any length comes without added delay, at every kind of receiver, though nothing is sent in
the pause.

Receivers buffer against delay of the network. A sender whose RTP time stands still while it is silent looks to them as
if the network had become slow: then every answer from that pause on is played late by the pause's length, for good.
"""

from __future__ import annotations

import asyncio
import math
import random
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from tests.browser import open_browser
from tests.sfu import access_token
from tests.system.receivers import (
    COMES_WITHIN_S,
    BrowserReceiver,
    EngineReceiver,
    PhoneReceiver,
    Receiver,
    SdkReceiver,
)
from tests.world import HOST, make_real_plan, missing, phone_program
from trunkline.core.units import FRAME_S, SAMPLE_RATE_HZ, Pcm, s_to_us
from trunkline.loadtest.phone import Phone
from trunkline.media.engine import (
    CallerFrame,
    FirstPacket,
    LastPacket,
    MediaEvent,
    MediaLeg,
    ParticipantJoined,
    TrackHeard,
)
from trunkline.media.native import NativeEngine
from trunkline.orchestrator.livekit_admin import LiveKitAdmin
from trunkline.settings import load_settings
from trunkline.stack.binaries import find_media_engine
from trunkline.stack.plan import Plan
from trunkline.stack.stack import Stack

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

TURNS = 20
SHORTEST_S, LONGEST_S = 0.3, 10.0
SPEECH_S = (2.0, 0.5)
"""Long and short answers in turn: where RTP time stands still, a short one is too soon over to be delayed."""
GREETING_FRAMES = 6
"""Silence for who has just subscribed."""
HUSH_FRAMES = 2
"""Frames of silence with which the engine ends what it says, so that no receiver guesses on."""
ADDED_MS = 200
"""Over a receiver's own delay, which is its least. More than a busy machine adds as a rule, and far less than what is
lost where RTP time stands still: 650 to 950 ms."""
STALLS = 4
"""So many turns may come late because the machine stood still: they must be in time when they are tried again."""


def pauses() -> list[float]:
    """Seconds between one turn and the next, from the shortest to the longest, most of them short as in a call."""
    chance = random.Random(290)
    drawn = [math.exp(chance.uniform(math.log(SHORTEST_S), math.log(LONGEST_S))) for _ in range(TURNS - 2)]
    return [*drawn[:8], LONGEST_S, *drawn[8:], SHORTEST_S]


def speech(length_s: float) -> Pcm:
    """A tone that ends as speech does, quietly: where packets stop in the middle of a loud one, receivers go on with it
    for a while, and the shortest pause could not be heard."""
    time_s = np.arange(round(length_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    loudness = np.interp(time_s, [0, length_s - 0.15, length_s - 0.05], [9000, 9000, 0])
    samples: Pcm = (loudness * np.sin(2 * np.pi * 500 * time_s)).astype(np.int16)
    return samples


@dataclass
class Agent:
    """The agent's leg in a receiver's room."""

    leg: MediaLeg | None = None
    listener: asyncio.Future[str] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    sent_us: list[int] = field(default_factory=list)

    def on_frame(self, frame: CallerFrame) -> None:
        pass

    def on_event(self, event: MediaEvent) -> None:
        match event:
            case ParticipantJoined(identity) if not self.listener.done():
                self.listener.set_result(identity)
            case TrackHeard():
                self.heard.set()
            case FirstPacket(_, at):
                self.sent_us.append(s_to_us(at))
            case LastPacket():
                self.over.set()

    async def enter(self, engine: NativeEngine, url: str, token: str) -> None:
        self.leg = await engine.join(url, token, self)

    async def answer(self) -> None:
        """Publishes for whoever came, and waits until it is heard."""
        assert self.leg is not None
        async with asyncio.timeout(COMES_WITHIN_S):
            await self.leg.listen_to(await self.listener)
            await self.leg.publish()
            await self.heard.wait()

    @staticmethod
    def length_s(turn: int) -> float:
        return SPEECH_S[turn % len(SPEECH_S)]

    async def say(self) -> None:
        assert self.leg is not None
        self.over.clear()
        number = len(self.sent_us) + 1
        length_s = self.length_s(number)
        self.leg.play(number, speech(length_s))
        self.leg.end(number)
        async with asyncio.timeout(length_s + 5):
            await self.over.wait()


@dataclass
class Line:
    """An agent and its receiver."""

    name: str
    agent: Agent
    receiver: Receiver

    async def talk(self, breaks_s: list[float]) -> list[float]:
        """Speaks after each pause; for each, the ms from its first packet to its first sound at the ear."""
        for pause_s in breaks_s:
            await asyncio.sleep(pause_s)
            await self.agent.say()
        # The last one is still on its way.
        await asyncio.sleep(1.5)
        heard = await self.receiver.heard_us()
        return delays_ms(self.agent.sent_us, heard)[-len(breaks_s) :]


def delays_ms(sent_us: list[int], heard_us: list[int]) -> list[float]:
    """From each turn's first packet to the first sound before the next turn's; infinite where there is none."""
    # The ears hear in blocks of 20 ms.
    begins = [at - 20_000 for at in sent_us]
    found = [
        next((heard for heard in heard_us if begin <= heard < end), math.inf)
        for begin, end in zip(begins, [*begins[1:], math.inf], strict=True)
    ]
    return [(heard - sent) / 1000 for sent, heard in zip(sent_us, found, strict=True)]


@pytest.fixture
async def plan(tmp_path: Path) -> Plan:
    return await make_real_plan(tmp_path, services=False)


@pytest.fixture
async def engines() -> AsyncIterator[tuple[NativeEngine, NativeEngine]]:
    """One for the agents, one for those who listen."""
    program = await find_media_engine(lambda *_: None)
    if program is None:
        missing("trunkline-media is missing; make servers")
    async with AsyncExitStack() as open_ones:
        pair = NativeEngine(program), NativeEngine(program)
        for engine in pair:
            await engine.start()
            open_ones.push_async_callback(engine.close)
        yield pair


@pytest.fixture
async def lines(plan: Plan, engines: tuple[NativeEngine, NativeEngine], tmp_path: Path) -> AsyncIterator[list[Line]]:
    """Four rooms, each with an agent that a receiver hears."""
    settings = load_settings(**{name.lower(): value for name, value in plan.env.items()})
    url, key, secret = plan.env["LIVEKIT_HOST"], plan.secrets.livekit_api_key, plan.secrets.livekit_api_secret
    rooms = [f"room-{kind}-{uuid.uuid4().hex[:8]}" for kind in ("phone", "engine", "sdk", "browser")]
    tokens = [access_token(key, secret, room, "ear") for room in rooms]
    credentials = (plan.secrets.sip_trunk_username, plan.secrets.sip_trunk_password)
    async with AsyncExitStack() as open_ones:
        await open_ones.enter_async_context(Stack(plan))
        livekit = LiveKitAdmin(settings)
        open_ones.push_async_callback(livekit.close)
        await livekit.ensure_trunk()
        phone = await open_ones.enter_async_context(Phone(await phone_program(), HOST))
        flags = ("--autoplay-policy=no-user-gesture-required",)
        browser = await open_ones.enter_async_context(open_browser(tmp_path / "profile", *flags))
        receivers: list[Receiver] = [
            PhoneReceiver(phone, f"sip:{rooms[0]}@{HOST}:{plan.ports.sip}", credentials),
            EngineReceiver(engines[1], url, tokens[1]),
            SdkReceiver(url, tokens[2]),
            BrowserReceiver(browser, url, tokens[3]),
        ]
        names = ("SIP phone", "Go engine", "Python SDK", "Chromium")
        made = [Line(name, Agent(), receiver) for name, receiver in zip(names, receivers, strict=True)]
        for line, room in zip(made, rooms, strict=True):
            await line.agent.enter(engines[0], url, access_token(key, secret, room, "agent", agent=True))
            open_ones.push_async_callback(line.receiver.leave)
            await line.receiver.enter()
            await line.agent.answer()
        yield made


async def test_speech_after_any_pause_comes_without_added_delay(
    lines: list[Line], capsys: pytest.CaptureFixture[str]
) -> None:
    # The first sound wakes them.
    await asyncio.gather(*(line.talk([0.0]) for line in lines))
    breaks_s = pauses()
    delays = await asyncio.gather(*(line.talk(breaks_s) for line in lines))
    for line in lines:
        if isinstance(line.receiver, SdkReceiver):
            spoken = sum(line.agent.length_s(turn) for turn in range(1, TURNS + 2))
            most = GREETING_FRAMES + spoken / FRAME_S + HUSH_FRAMES * (TURNS + 1)
            assert 0 < await line.receiver.packets_received() <= most, "something was sent in the pauses"
    with capsys.disabled():
        print_table(breaks_s, dict(zip([line.name for line in lines], delays, strict=True)))
    for line, row in zip(lines, delays, strict=True):
        limit_ms = min(row) + ADDED_MS
        late = [n for n, delay_ms in enumerate(row) if delay_ms > limit_ms]
        assert len(late) <= STALLS, f"{line.name}: {len(late)} turns came later than {limit_ms:.0f} ms"
        # Was it the pause, or the machine? The same pauses tell.
        again = await line.talk([breaks_s[n] for n in late]) if late else []
        assert all(delay_ms <= limit_ms for delay_ms in again), (
            f"{line.name}: late again after the same pauses: {again}"
        )


def print_table(breaks_s: list[float], delays: dict[str, list[float]]) -> None:
    """What to look at when it fails."""
    print("\n\nms from the first packet to the ear")
    print("  pause  " + "".join(f"{name:>12}" for name in delays))
    for n, pause_s in enumerate(breaks_s):
        print(f"{pause_s:5.2f} s  " + "".join(f"{row[n]:12.0f}" for row in delays.values()))
