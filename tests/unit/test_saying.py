"""What of a sentence was said, what is left, and when its sound is overdue."""

from __future__ import annotations

import pytest

from trunkline.core.saying import LEAD_S, WORD_S_PER_CHAR, Saying

pytestmark = pytest.mark.unit

TEXT = "one two three four"
STARTS = (0.0, 0.3, 0.6, 1.0)


def saying(sound_s: float, words: int = 4) -> Saying:
    it = Saying(TEXT, asked_at=10.0)
    it.sound(sound_s, 10.2)
    for start_s in STARTS[:words]:
        it.word(start_s)
    return it


def test_without_sound_all_of_it_is_left() -> None:
    assert Saying("  one   two ", 0.0).rest() == "one two"


@pytest.mark.parametrize(
    ("sound_s", "rest"),
    [
        (0.1, "one two three four"),
        (0.2, "two three four"),
        (0.4, "two three four"),
        (0.46, "three four"),
        (0.9, "four"),
        (1.3, ""),
    ],
)
def test_a_word_of_which_less_than_half_was_heard_is_said_again(sound_s: float, rest: str) -> None:
    assert saying(sound_s).rest() == rest


def test_words_that_the_provider_did_not_come_to_are_left() -> None:
    assert saying(0.62, words=2).rest() == "three four"


def test_more_instants_than_words_leave_nothing() -> None:
    it = saying(2.0)
    it.word(1.4)
    assert it.rest() == ""


def test_without_instants_the_share_that_was_played_tells() -> None:
    it = Saying(TEXT, 0.0)
    it.sound(7.5 * WORD_S_PER_CHAR, 0.2)
    assert it.rest() == "three four"
    it.sound(20 * WORD_S_PER_CHAR, 0.3)
    assert it.rest() == ""


def test_the_first_sound_is_overdue_after_the_usual_time() -> None:
    assert Saying(TEXT, asked_at=10.0).due_at(0.4, 0.25) == 10.4


def test_more_sound_is_due_shortly_before_what_is_there_has_been_played() -> None:
    it = saying(1.0)
    assert it.due_at(0.4, 0.25) == pytest.approx(10.2 + 1.0 - LEAD_S)


def test_a_provider_that_sends_no_faster_than_it_is_spoken_is_given_a_gap() -> None:
    it = saying(0.1)
    it.sound(0.1, 10.3)
    assert it.due_at(0.4, 0.25) == pytest.approx(10.3 + 0.25)
