"""Whether a sound over the answer is an interruption: by its words, by its voice, in time."""

from __future__ import annotations

import pytest

from trunkline.core.barge_in import BargeInParams, Meaning, OverAnswer, meaning_of

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    "words", ["mhm", "Mhm.", "uh-huh", "yeah okay", "Right, right", "I see.", "go on", "All right"]
)
def test_words_that_tell_the_agent_to_go_on(words: str) -> None:
    assert meaning_of(words) is Meaning.GO_ON


@pytest.mark.parametrize("words", ["stop", "yeah but", "I would", "go away", "okay, what about Sunday", "не надо"])
def test_words_that_tell_it_to_stop(words: str) -> None:
    assert meaning_of(words) is Meaning.STOP


@pytest.mark.parametrize("words", ["", "...", "I", "got"])
def test_words_that_tell_nothing_yet(words: str) -> None:
    assert meaning_of(words) is Meaning.NOTHING_YET


def over(voiced_s: float = 0.0, words: str = "", voiced_at: float = 10.3) -> OverAnswer:
    burst = OverAnswer(BargeInParams(), 10.0)
    if voiced_s:
        burst.voiced(voiced_s, voiced_at)
    burst.heard(words)
    return burst


def test_words_are_certain_at_once_and_a_voice_after_a_while() -> None:
    assert over(words="stop").certain
    assert not over(0.5).certain
    assert over(0.7).certain
    assert not over(1.0, "mhm").certain
    assert over(1.5, "mhm").certain


def test_a_voice_that_still_goes_on_is_likely_to_be_real() -> None:
    assert over(0.3).likely(10.35)
    assert over(0.3, "I").likely(10.35)
    assert not over(0.3).likely(10.45)
    assert not over(0.2).likely(10.35)
    assert not over(0.3, "mhm").likely(10.35)


def test_voice_that_does_not_grow_has_ended() -> None:
    burst = over(0.3, voiced_at=10.2)
    burst.voiced(0.3, 10.34)
    assert not burst.likely(10.35)


def test_an_empty_partial_takes_nothing_back() -> None:
    burst = over(words="stop")
    burst.heard("")
    assert burst.certain
