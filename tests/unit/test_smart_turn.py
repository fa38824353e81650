"""Asking a model whether the caller has finished: beside the loop, bounded, and never waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from tests.unit.test_lane import Door, Model
from trunkline.agent.pipeline.lane import CallerLane
from trunkline.agent.pipeline.smart_turn import HEARD_S, MAX_BATCH, MAX_WAITING, Question, SmartTurn
from trunkline.core.endpointing import EndpointEvent, EndpointingParams, SpeechEnded
from trunkline.core.units import FRAME_S, FRAME_SAMPLES, SAMPLE_RATE_HZ, Pcm
from trunkline.media.engine import CallerFrame
from trunkline.testing.speech import silence, tone
from trunkline.testing.virtual_time import in_virtual_time

pytestmark = pytest.mark.unit


@pytest.fixture
def smart_turn() -> Iterator[SmartTurn]:
    model = SmartTurn()
    yield model
    model.close()


async def verdict_on(model: SmartTurn, samples: Pcm) -> float:
    told: asyncio.Future[float] = asyncio.get_running_loop().create_future()
    model.ask(samples, told.set_result)
    return await asyncio.wait_for(told, 15)


async def test_bursts_of_several_calls_share_a_run_and_get_the_verdicts_they_would_get_alone(
    smart_turn: SmartTurn,
) -> None:
    bursts = [tone(0.5), np.concatenate([tone(1.0, hz=200.0), silence(0.2)]), tone(HEARD_S + 1.0, hz=90.0)]
    alone = [await verdict_on(smart_turn, burst) for burst in bursts]
    # The first keeps the thread busy, so that the others come together.
    together = await asyncio.gather(*(verdict_on(smart_turn, burst) for burst in [bursts[0], *bursts]))
    assert together[1:] == pytest.approx(alone, abs=0.02)
    assert all(0.0 <= probability <= 1.0 for probability in alone)
    assert max(alone) - min(alone) > 0.001


class Counted(SmartTurn):
    """Counts the bursts of each run instead of judging them."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[int] = []
        self.fails = False

    def _judge(self, bursts: list[Pcm]) -> np.ndarray:
        self.runs.append(len(bursts))
        if self.fails:
            raise RuntimeError("no such model")
        return np.full(len(bursts), 0.9, dtype=np.float32)


@in_virtual_time
async def test_too_many_questions_drop_the_oldest_and_a_run_takes_no_more_than_its_share() -> None:
    model = Counted()
    told: list[float] = []
    for _ in range(1 + MAX_WAITING + 3):
        model.ask(silence(0.1), told.append)
    await asyncio.sleep(1.0)
    assert model.dropped == 3
    assert len(told) == 1 + MAX_WAITING
    assert max(model.runs) == MAX_BATCH
    model.close()


@in_virtual_time
async def test_a_question_that_was_withdrawn_is_neither_run_nor_answered() -> None:
    model = Counted()
    told: list[float] = []
    model.ask(silence(0.1), told.append).withdrawn = True
    model.ask(silence(0.1), told.append).withdrawn = True
    await asyncio.sleep(1.0)
    assert (model.runs, told) == ([1], [])
    model.close()


@in_virtual_time
async def test_a_model_that_fails_answers_nobody_and_goes_on() -> None:
    model = Counted()
    told: list[float] = []
    model.fails = True
    model.ask(silence(0.1), told.append)
    await asyncio.sleep(1.0)
    model.fails = False
    model.ask(silence(0.1), told.append)
    await asyncio.sleep(1.0)
    assert told == [pytest.approx(0.9)]
    model.close()


@in_virtual_time
async def test_nothing_is_told_after_the_end() -> None:
    model = Counted()
    told: list[float] = []
    model.ask(silence(0.1), told.append)
    model.close()
    model.ask(silence(0.1), told.append)
    await asyncio.sleep(1.0)
    assert told == []


class Judge:
    """Answers at once, or never."""

    def __init__(self, probability: float | None) -> None:
        self.heard_s: list[float] = []
        self.questions: list[Question] = []
        self._probability = probability

    def ask(self, samples: Pcm, on_verdict: Callable[[float], None]) -> Question:
        self.heard_s.append(samples.size / SAMPLE_RATE_HZ)
        self.questions.append(Question(samples, on_verdict))
        if self._probability is not None:
            on_verdict(self._probability)
        return self.questions[-1]


def pauses(judge: Judge, *pieces: Pcm) -> list[float]:
    """When the bursts were told to be over."""
    ends: list[float] = []
    now = 0.0

    def on_event(event: EndpointEvent) -> None:
        if isinstance(event, SpeechEnded):
            ends.append(round(now, 2))

    lane = CallerLane(Model(), Door(), on_event, EndpointingParams(), smart_turn=judge)  # type: ignore[arg-type]
    samples = np.concatenate(pieces)
    for start in range(0, samples.size - FRAME_SAMPLES + 1, FRAME_SAMPLES):
        now = start / SAMPLE_RATE_HZ + FRAME_S
        lane.on_frame(CallerFrame(now, samples[start : start + FRAME_SAMPLES]))
    lane.close()
    return ends


@pytest.mark.parametrize(("probability", "end_s"), [(0.9, 1.66), (0.1, 2.3), (None, 1.7)])
def test_who_has_finished_is_answered_sooner_and_who_has_not_is_waited_for(
    probability: float | None, end_s: float
) -> None:
    judge = Judge(probability)
    [ended_at] = pauses(judge, silence(0.5), tone(1.0), silence(1.5))
    assert ended_at == pytest.approx(end_s, abs=0.021)
    assert len(judge.heard_s) == 1
    assert 1.0 <= judge.heard_s[0] <= 1.5


def test_each_pause_is_judged_for_itself_and_the_question_of_one_that_is_over_withdrawn() -> None:
    judge = Judge(None)
    pauses(judge, silence(0.5), tone(0.5), silence(0.14), tone(0.5), silence(0.14), tone(0.5), silence(1.0))
    assert len(judge.questions) == 3
    assert all(question.withdrawn for question in judge.questions)


def test_a_verdict_does_not_outlast_its_pause() -> None:
    judge = Judge(0.1)
    ends = pauses(judge, silence(0.5), tone(0.5), silence(0.5), tone(0.5), silence(1.5))
    assert ends == [pytest.approx(2.8, abs=0.021)]
