"""What the recognizer is given before the detector is sure: when, for how long, and how much of it in vain."""

from __future__ import annotations

import pytest

from trunkline.core.early_ear import EarlyEar, EarlyEarParams
from trunkline.core.units import FRAME_S

pytestmark = pytest.mark.unit

PARAMS = EarlyEarParams(patience_s=0.24, quiet_s=0.1, rest_s=0.5, most_rest_s=2.0)


def run(ear: EarlyEar, begin_s: float, length_s: float, stands_out: bool) -> list[tuple[float, bool]]:
    """Instants at which it opened or shut."""
    changes = []
    for number in range(1, round(length_s / FRAME_S) + 1):
        now = begin_s + number * FRAME_S
        if ear.frame(now, stands_out):
            changes.append((round(now, 2), ear.open))
    return changes


def test_the_first_frame_that_stands_out_opens_it() -> None:
    ear = EarlyEar(PARAMS)
    assert run(ear, 0.0, 1.0, stands_out=False) == []
    assert run(ear, 1.0, 0.1, stands_out=True) == [(1.02, True)]


def test_speech_ends_its_part_and_leaves_no_rest() -> None:
    ear = EarlyEar(PARAMS)
    run(ear, 0.0, 0.08, stands_out=True)
    ear.speech()
    assert (ear.open, ear.in_vain) == (False, 0)
    assert run(ear, 1.0, 0.04, stands_out=True) == [(1.02, True)]


def test_a_sound_that_is_no_speech_in_time_is_taken_back() -> None:
    ear = EarlyEar(PARAMS)
    assert run(ear, 0.0, 0.4, stands_out=True) == [(0.02, True), (0.26, False)]
    assert ear.in_vain == 1


def test_a_click_is_taken_back_when_it_is_quiet_again() -> None:
    ear = EarlyEar(PARAMS)
    run(ear, 0.0, 0.02, stands_out=True)
    assert run(ear, 0.02, 0.3, stands_out=False) == [(0.12, False)]


def test_each_sound_in_vain_is_followed_by_a_longer_rest() -> None:
    ear = EarlyEar(PARAMS)
    changes = run(ear, 0.0, 12.0, stands_out=True)
    opened = [at for at, is_open in changes if is_open]
    shut = [at for at, is_open in changes if not is_open]
    rests = [round(later - at, 2) for at, later in zip(shut, opened[1:], strict=False)]
    assert rests[:2] == pytest.approx([0.5, 1.0], abs=FRAME_S)
    assert all(rest == pytest.approx(2.0, abs=FRAME_S) for rest in rests[2:])
    given_s = sum(end - begin for begin, end in zip(opened, shut, strict=False))
    assert given_s < 0.15 * 12.0


def test_speech_that_was_not_heard_ahead_ends_the_rest_too() -> None:
    ear = EarlyEar(PARAMS)
    run(ear, 0.0, 0.4, stands_out=True)
    ear.speech()
    assert run(ear, 0.4, 0.04, stands_out=True) == [(0.42, True)]
