"""Voice activity for many calls at once says what it would say of each alone."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from trunkline.agent.pipeline.vad import GATHER_S, WINDOW_S, VoiceActivity
from trunkline.core.units import FRAME_S, FRAME_SAMPLES, Pcm
from trunkline.media.engine import CallerFrame

pytestmark = pytest.mark.unit

Windows = list[tuple[float, float]]


def sound(seed: int, frames: int) -> Pcm:
    return np.random.default_rng(seed).normal(0, 3_000, frames * FRAME_SAMPLES).astype(np.int16)


async def hear(activity: VoiceActivity, sounds: list[Pcm], frames: int) -> list[Windows]:
    """Feeds all at once, frame by frame, and lets each run happen."""
    heard: list[Windows] = [[] for _ in sounds]
    streams = [activity.open(lambda at, probability, to=to: to.append((at, probability))) for to in heard]  # type: ignore[misc]
    for number in range(frames):
        for stream, samples in zip(streams, sounds, strict=True):
            piece = samples[number * FRAME_SAMPLES : (number + 1) * FRAME_SAMPLES]
            stream.feed(CallerFrame((number + 1) * FRAME_S, piece))
        await asyncio.sleep(2 * GATHER_S)
    for stream in streams:
        stream.close()
    return heard


async def test_a_call_among_others_is_heard_as_it_is_alone() -> None:
    activity, frames = VoiceActivity(), 24
    sounds = [sound(seed, frames) for seed in range(5)]
    together = await hear(activity, sounds, frames)
    for samples, windows in zip(sounds, together, strict=True):
        (alone,) = await hear(activity, [samples], frames)
        assert [at for at, _ in windows] == [at for at, _ in alone]
        assert [p for _, p in windows] == pytest.approx([p for _, p in alone], abs=1e-3)


async def test_windows_follow_on_each_other_without_a_hole() -> None:
    (windows,) = await hear(VoiceActivity(), [sound(1, 16)], 16)
    assert [at for at, _ in windows] == pytest.approx([number * WINDOW_S for number in range(10)])


async def test_who_takes_the_place_of_a_call_that_ended_remembers_nothing_of_it() -> None:
    activity = VoiceActivity()
    (first,) = await hear(activity, [sound(1, 16)], 16)
    await hear(activity, [sound(seed, 16) for seed in range(2, 40)], 16)
    (again,) = await hear(activity, [sound(1, 16)], 16)
    assert [p for _, p in again] == pytest.approx([p for _, p in first])


async def test_nothing_is_told_of_a_call_that_ended_while_its_window_waited() -> None:
    activity = VoiceActivity()
    told: Windows = []
    stream = activity.open(lambda at, probability: told.append((at, probability)))
    for number in range(2):
        stream.feed(CallerFrame((number + 1) * FRAME_S, sound(1, 1)))
    stream.close()
    await asyncio.sleep(2 * GATHER_S)
    assert told == []


async def test_windows_without_hurry_wait_for_those_of_the_next_tick() -> None:
    activity = VoiceActivity()
    told: list[str] = []
    patient = activity.open(lambda _at, _probability: told.append("patient"))
    hasty = activity.open(lambda _at, _probability: told.append("hasty"))
    for number in range(2):
        patient.feed(CallerFrame((number + 1) * FRAME_S, sound(1, 1)), hurry=False)
    assert activity._timer is not None
    due_at = activity._due_at
    patient.feed(CallerFrame(3 * FRAME_S, sound(2, 1)), hurry=False)
    assert activity._due_at == due_at
    for number in range(2):
        hasty.feed(CallerFrame((number + 1) * FRAME_S, sound(3, 1)))
    assert activity._due_at < due_at
    while not told:
        await asyncio.sleep(GATHER_S)
    assert told == ["patient", "hasty"]
