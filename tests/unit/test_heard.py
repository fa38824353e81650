"""What the caller heard, to the word."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.core.heard import SpokenAnswer, word_ends
from trunkline.core.units import SAMPLE_RATE_HZ, Pcm
from trunkline.testing.speech import silence, tone

pytestmark = pytest.mark.unit


def answer(*sentences: tuple[str, Pcm], ended: bool = True) -> SpokenAnswer:
    """An answer whose sentences have this audio."""
    made = SpokenAnswer()
    for number, (text, sound) in enumerate(sentences):
        made.sentence(str(number), text)
        made.audio(str(number), sound)
    if ended:
        made.end()
    return made


def test_nothing_sent_is_nothing_heard_and_everything_sent_is_everything() -> None:
    made = answer(("Hello there.", tone(1.0)), ("How are you?", tone(1.0)))
    assert made.heard(0) == ""
    assert made.heard(SAMPLE_RATE_HZ) == "Hello there."
    assert made.heard(2 * SAMPLE_RATE_HZ) == made.text == "Hello there. How are you?"


def test_a_word_counts_once_it_was_sent_whole() -> None:
    # Ten characters a word and a blank: the first is over at 10/21 of the sentence.
    made = answer(("abcdefghij klmnopqrst", tone(2.1)))
    assert made.heard(round(0.99 * SAMPLE_RATE_HZ)) == ""
    assert made.heard(round(1.01 * SAMPLE_RATE_HZ)) == "abcdefghij"
    assert made.heard(round(2.05 * SAMPLE_RATE_HZ)) == "abcdefghij"


def test_pauses_weigh_nothing() -> None:
    sound = np.concatenate([silence(0.5), tone(1.0), silence(2.0), tone(1.0), silence(0.5)])
    made = answer(("abcde fghij", sound))
    assert made.heard(round(0.5 * SAMPLE_RATE_HZ)) == ""
    assert made.heard(round(2.0 * SAMPLE_RATE_HZ)) == "abcde"
    assert made.heard(round(4.4 * SAMPLE_RATE_HZ)) == "abcde"
    assert made.heard(round(4.6 * SAMPLE_RATE_HZ)) == "abcde fghij"


def test_the_voices_own_instants_win_over_the_length_of_words() -> None:
    made = SpokenAnswer()
    made.sentence("a", "I congratulate you")
    for at_s in (100.0, 101.5, 101.7):
        made.word("a", at_s)
    made.audio("a", np.concatenate([silence(0.2), tone(2.0), silence(0.3)]))
    made.end()
    assert made.heard(round(1.6 * SAMPLE_RATE_HZ)) == ""
    assert made.heard(round(1.75 * SAMPLE_RATE_HZ)) == "I"
    assert made.heard(round(1.95 * SAMPLE_RATE_HZ)) == "I congratulate"
    assert made.heard(round(2.25 * SAMPLE_RATE_HZ)) == "I congratulate you"


def test_a_sentence_that_is_still_being_made_is_measured_by_the_usual_pace() -> None:
    made = answer(("abcde fghij klmno", tone(0.5)), ended=False)
    assert made.heard(round(0.5 * SAMPLE_RATE_HZ)) == "abcde"


def test_scripts_without_blanks_are_cut_between_characters() -> None:
    text = "今日は良い天気です。"
    assert len(word_ends(text)) == 9
    assert answer((text, tone(1.0))).heard(SAMPLE_RATE_HZ // 2) == "今日は良い"


def test_audio_that_nobody_announced_belongs_to_the_last_sentence() -> None:
    made = SpokenAnswer()
    made.audio("?", tone(0.1))
    made.word("?", 0.0)
    made.sentence("a", "One two")
    made.audio("b", tone(1.0))
    made.end()
    assert made.heard(SAMPLE_RATE_HZ) == "One two"


@given(
    words=st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=8), max_size=8),
    seconds=st.lists(st.sampled_from([0.0, 0.1, 0.35, 1.0]), min_size=8, max_size=8),
    instants=st.lists(st.floats(0, 5), max_size=9),
    ended=st.booleans(),
    sent=st.lists(st.integers(0, 9 * SAMPLE_RATE_HZ), min_size=2, max_size=6),
)
def test_more_samples_never_say_less_and_never_more_than_was_said(
    words: list[str], seconds: list[float], instants: list[float], ended: bool, sent: list[int]
) -> None:
    made = SpokenAnswer()
    for number, word in enumerate(words):
        made.sentence(str(number), f"{word} and {word}")
        if number % 2:
            for at_s in instants:
                made.word(str(number), at_s)
        made.audio(str(number), np.concatenate([silence(0.05), tone(seconds[number])]))
    if ended:
        made.end()
    heard = [made.heard(samples) for samples in sorted(sent)]
    for less, more in itertools.pairwise(heard):
        assert more.startswith(less)
    assert all(made.text.startswith(each) for each in heard)
