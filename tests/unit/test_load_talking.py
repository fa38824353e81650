"""What one caller does on its line: shares of talk, interruptions and durations, in made-up time."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from trunkline.core.errors import ConfigError
from trunkline.core.units import s_to_us
from trunkline.loadtest.conversation import CallerTurn
from trunkline.loadtest.load_test import place_orders
from trunkline.loadtest.options import LoadOptions, Rooms, Via
from trunkline.loadtest.phone import HeardStart, HeardStop, PhoneEvent, PlayEnd, PlayStart
from trunkline.loadtest.talking import Order, Script, Talker
from trunkline.testing.virtual_time import in_virtual_time, run_virtual

pytestmark = pytest.mark.unit

ORDER = Order(1, 0.0, (Path("one.wav"), Path("two.wav")))
SCRIPT = Script("hello", 1.0, 4)
ANSWER_S = 3.0


class Agent:
    """A line with an agent that answers each burst of 1 s with 3 s of sound, and falls silent when it is interrupted.

    Args:
        answers_after_s: From the burst's beginning.
        yields_after_s: From an interruption to silence; None: it goes on.
    """

    def __init__(self, answers_after_s: float = 1.3, yields_after_s: float | None = 0.2) -> None:
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[PhoneEvent] = asyncio.Queue(100)
        self._answers_after_s = answers_after_s
        self._yields_after_s = yields_after_s
        self._stopping: asyncio.TimerHandle | None = None
        self.spoken: list[tuple[str, Path, float]] = []

    async def play(self, name: str, wav: Path) -> None:
        self.spoken.append((name, wav, self._loop.time()))
        self._later(0.0, lambda at_us: PlayStart(name, at_us))
        self._later(1.0, lambda at_us: PlayEnd(name, at_us, at_us))
        if self._stopping is not None and self._yields_after_s is not None:
            self._stopping.cancel()
            self._later(self._yields_after_s, HeardStop)
        self._loop.call_later(self._answers_after_s, self._answer)

    async def event(self) -> PhoneEvent:
        return await self._events.get()

    def _answer(self) -> None:
        self._tell(lambda at_us: HeardStart(at_us, -20.0))
        self._stopping = self._loop.call_later(ANSWER_S, self._stop)

    def _stop(self) -> None:
        self._stopping = None
        self._tell(HeardStop)

    def _later(self, delay_s: float, make: Callable[[int], PhoneEvent]) -> None:
        self._loop.call_later(delay_s, self._tell, make)

    def _tell(self, make: Callable[[int], PhoneEvent]) -> None:
        self._events.put_nowait(make(s_to_us(self._loop.time())))


async def talk(agent: Agent, script: Script, ends_at: float = 0.0) -> Talker:
    told: list[int] = []
    talker = Talker(agent, ORDER, script, ends_at, lambda number, _turn: told.append(number))
    await talker.run()
    talker.tell_broken_off()
    assert told == list(range(1, len(talker.turns) + 1))
    return talker


def barge_ins_ms(turns: list[CallerTurn]) -> list[float | None]:
    return [
        None if turn.silenced_us is None else (turn.silenced_us - (turn.speech_start_us or 0)) / 1000
        for turn in turns
        if turn.interrupts
    ]


@in_virtual_time
async def test_caller_speaks_its_sounds_in_turn_and_takes_a_breath_after_each_answer() -> None:
    agent = Agent()
    talker = await talk(agent, SCRIPT)
    assert [(name, wav.stem) for name, wav, _ in agent.spoken] == [
        ("t1", "one"),
        ("t2", "two"),
        ("t3", "one"),
        ("t4", "two"),
    ]
    starts = [at for _, _, at in agent.spoken]
    # 1.3 s to the answer, 3 s of it, 0.9 s of quiet that ends it, a breath.
    assert all(5.2 + 0.4 <= after - before <= 5.2 + 1.1 for before, after in pairwise(starts))
    assert talker.heard_us == pytest.approx(4 * ANSWER_S * 1e6, abs=10)


@in_virtual_time
async def test_share_of_talk_decides_how_far_bursts_lie_apart() -> None:
    agent = Agent()
    await talk(agent, dataclasses.replace(SCRIPT, talk=0.1, turns=40))
    starts = [at for _, _, at in agent.spoken]
    gaps = [after - before for before, after in pairwise(starts)]
    assert all(8.0 <= gap <= 12.001 for gap in gaps)
    assert sum(gaps) / len(gaps) == pytest.approx(10.0, abs=0.5)


@in_virtual_time
async def test_interruption_is_timed_from_its_first_sound_to_silence_at_the_ear() -> None:
    talker = await talk(Agent(), dataclasses.replace(SCRIPT, interrupt=1.0))
    assert [turn.interrupts for turn in talker.turns] == [False, True, True, True]
    assert barge_ins_ms(talker.turns) == [pytest.approx(200.0, abs=0.01)] * 3
    assert all(turn.heard_start_us for turn in talker.turns)


@in_virtual_time
async def test_agent_that_speaks_on_was_not_silenced_while_the_caller_spoke() -> None:
    talker = await talk(
        Agent(yields_after_s=None, answers_after_s=4.0), dataclasses.replace(SCRIPT, interrupt=1.0, turns=2)
    )
    [barge_in_ms] = barge_ins_ms(talker.turns)
    assert barge_in_ms is not None
    assert barge_in_ms > 1_500


@in_virtual_time
async def test_answer_that_is_over_cannot_be_interrupted() -> None:
    talker = await talk(Agent(answers_after_s=-4.0), dataclasses.replace(SCRIPT, interrupt=1.0, early_answers=True))
    assert not any(turn.interrupts for turn in talker.turns)


@in_virtual_time
async def test_no_turn_is_begun_when_the_time_is_up() -> None:
    agent = Agent()
    await talk(agent, dataclasses.replace(SCRIPT, duration_s=20.0), asyncio.get_running_loop().time() + 20.0)
    assert len(agent.spoken) in (3, 4)
    assert agent.spoken[-1][2] - agent.spoken[0][2] < 21.2


def test_same_seed_makes_the_same_run() -> None:
    async def run(seed: int) -> list[float]:
        agent = Agent()
        await talk(agent, dataclasses.replace(SCRIPT, interrupt=0.5, turns=8, seed=seed))
        return [at for _, _, at in agent.spoken]

    first, again, other = (run_virtual(partial(run, seed)) for seed in (1, 1, 2))
    assert first == again != other


# Who calls when


def test_calls_are_placed_at_the_ramp_each_into_its_own_room() -> None:
    orders = place_orders(LoadOptions(concurrency=3, ramp=2.0), [(Path(f"{n}.wav"),) for n in range(3)])
    assert [(order.number, order.at_s, order.room) for order in orders] == [(1, 0.0, ""), (2, 0.5, ""), (3, 1.0, "")]


def test_shared_rooms_are_filled_in_turn_with_25_callers_at_most() -> None:
    options = LoadOptions(concurrency=60, ramp=100.0, rooms=Rooms.SHARED)
    orders = place_orders(options, [(Path("x.wav"),)] * 60)
    assert [order.at_s for order in orders] == [n / 100 for n in range(60)]
    rooms = [order.room for order in orders]
    assert len(set(rooms)) == 3
    assert rooms == rooms[:3] * 20


def test_only_webrtc_callers_share_a_room() -> None:
    with pytest.raises(ConfigError, match="--via sip"):
        LoadOptions(via=Via.SIP, rooms=Rooms.SHARED)
