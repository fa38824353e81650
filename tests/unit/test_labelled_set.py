"""The labelled set and its verdicts: what is made, what counts as right, and that the lane does well on a few of it."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from benchmarks.barge_in import Outcome, Scene, Silence, decision_is_right, pause_is_right, run, silent_line
from benchmarks.labelled_set import (
    CAST,
    CONDITIONS,
    HELD_OUT,
    NOISES,
    RATE_HZ,
    Clip,
    Label,
    banded,
    cough,
    levelled,
    make_set,
    mu_law,
)

pytestmark = [
    pytest.mark.unit,
    pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed"),
]


class Told(Scene):
    """A scene that is over already."""

    def __init__(self, label: Label, outcome: Outcome) -> None:
        self.clip = Clip("any", label, lambda: np.zeros(1), "", CONDITIONS[0])
        self.outcome = outcome


PAUSED_AND_STOPPED = Outcome(paused_at=0.1, decided_at=0.3, stopped_at=0.3)
PAUSED_AND_WENT_ON = Outcome(paused_at=0.1, decided_at=0.3, resumed=1)
STOPPED_LATE = Outcome(paused_at=0.1, decided_at=0.3, stopped_at=0.6, resumed=1)
TOOK_TOO_LONG = Outcome(paused_at=0.1, decided_at=0.5, stopped_at=0.5)
NOTHING = Outcome()


@pytest.mark.parametrize(
    ("label", "outcome", "pause", "decision"),
    [
        (Label.SPEECH, PAUSED_AND_STOPPED, True, True),
        (Label.SPEECH, PAUSED_AND_WENT_ON, True, False),
        (Label.SPEECH, STOPPED_LATE, True, False),
        (Label.SPEECH, TOOK_TOO_LONG, True, False),
        (Label.SPEECH, NOTHING, False, False),
        (Label.VOICE, PAUSED_AND_WENT_ON, None, True),
        (Label.VOICE, STOPPED_LATE, None, False),
        (Label.NOISE, PAUSED_AND_WENT_ON, False, True),
        (Label.NOISE, NOTHING, True, True),
        (Label.ECHO, PAUSED_AND_STOPPED, False, False),
        (Label.ECHO, NOTHING, True, True),
    ],
)
def test_what_is_right(label: Label, outcome: Outcome, pause: bool | None, decision: bool) -> None:
    scene = Told(label, outcome)
    assert pause_is_right(scene) is pause
    assert decision_is_right(scene) is decision


@pytest.mark.parametrize("kind", NOISES)
def test_noises_are_the_same_for_the_same_seed_and_have_the_level_they_should(kind: str) -> None:
    once, again, other = (NOISES[kind](seed, 1.0) for seed in (3, 3, 4))
    assert np.array_equal(once, again)
    assert not np.array_equal(once, other)
    loud = levelled(once, -30.0)
    loud = loud[np.abs(loud) > 0.05 * np.abs(loud).max()]
    assert 20 * np.log10(np.sqrt(np.mean(loud**2))) == pytest.approx(-30.0, abs=0.1)


def test_a_phone_passes_its_band_only_and_mu_law_little_noise() -> None:
    time_s = np.arange(RATE_HZ) / RATE_HZ
    for hz, gain in ((60.0, 0.0), (1000.0, 1.0), (7000.0, 0.0)):
        tone = np.sin(2 * np.pi * hz * time_s)
        assert np.std(banded(tone)) / np.std(tone) == pytest.approx(gain, abs=0.1)
    sound = cough(1)
    assert np.std(mu_law(sound) - sound) < 0.05 * np.std(sound)


def test_the_sets_share_no_voice_no_phrase_and_no_noise() -> None:
    assert not set(CAST.voices) & set(HELD_OUT.voices)
    assert not set(CAST.agent_voices) & set(HELD_OUT.agent_voices)
    assert not set(CAST.interruptions) & set(HELD_OUT.interruptions)
    assert abs(CAST.seed - HELD_OUT.seed) > 12
    assert len(CAST.voices) == len(HELD_OUT.voices) == 4


def test_a_clip_of_each_kind_is_told_apart() -> None:
    scenes = run(make_set(small=True)[::5], 0.25)
    assert len({scene.clip.kind for scene in scenes}) == len(scenes) == 11
    assert all(scene.outcome.answered for scene in scenes)
    assert [scene.clip.kind for scene in scenes if pause_is_right(scene) is False] == []
    assert [scene.clip.kind for scene in scenes if not decision_is_right(scene)] == []


def test_keys_and_hum_on_a_silent_line_start_no_turn() -> None:
    clips = [clip for clip in silent_line() if clip.kind in ("hum", "dtmf")][::50]
    assert [scene.outcome.starts for scene in run(clips, None, Silence)] == [0] * 2
