"""How long a silence ends a turn: at first, learned, and after words that want more."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.core.hangover import KEPT_PAUSES, Hangover, HangoverParams

pytestmark = pytest.mark.unit


def test_at_first_it_is_200_ms() -> None:
    assert Hangover().seconds == pytest.approx(0.2)


def test_a_cut_that_came_too_early_makes_it_longer_at_once_and_a_second_one_longer_than_that_pause() -> None:
    hangover = Hangover()
    hangover.went_on_after(0.4)
    assert 0.25 < hangover.seconds < 0.4
    hangover.went_on_after(0.4)
    assert hangover.seconds > 0.4


def test_a_caller_who_pauses_briefly_is_waited_for_no_longer_than_needed() -> None:
    hangover = Hangover()
    for _ in range(KEPT_PAUSES):
        hangover.went_on_after(0.09)
    assert hangover.seconds == HangoverParams().min_s


def test_one_long_pause_is_forgotten_after_enough_short_ones() -> None:
    hangover = Hangover()
    hangover.went_on_after(0.7)
    for _ in range(KEPT_PAUSES):
        hangover.went_on_after(0.15)
    assert hangover.seconds == pytest.approx(0.15 + HangoverParams().margin_s)


@pytest.mark.parametrize(
    "words",
    ["my number is 0 1", "zero one seven", "I would like a", "from Berlin to", "Uh", "because", "my email is anna at"],
)
def test_a_number_or_an_unfinished_phrase_is_waited_for(words: str) -> None:
    hangover = Hangover()
    hangover.hear(words)
    assert hangover.seconds == pytest.approx(0.5)


@pytest.mark.parametrize("words", ["", "...", "what are your opening hours", "What is that?", "a pizza please"])
def test_a_finished_phrase_is_not(words: str) -> None:
    hangover = Hangover()
    hangover.hear("my number is")
    hangover.hear(words)
    assert hangover.seconds == pytest.approx(0.2)


def test_both_together_stay_within_the_bound() -> None:
    hangover = Hangover()
    for _ in range(3):
        hangover.went_on_after(0.7)
    hangover.hear("it is 4")
    assert hangover.seconds == HangoverParams().max_s


@given(st.lists(st.floats(0, 10), max_size=40), st.text(max_size=20))
def test_whatever_is_paused_and_said_it_stays_between_its_bounds(pauses: list[float], words: str) -> None:
    hangover = Hangover(HangoverParams(min_s=0.1, max_s=0.6))
    for pause_s in pauses:
        hangover.went_on_after(pause_s)
    hangover.hear(words)
    assert 0.1 <= hangover.seconds <= 0.6
