"""Text that streams in is cut into sentences, each as soon as it is sure to be whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.core.sentences import MAX_CHARS, SentenceSplitter

pytestmark = pytest.mark.unit


def cut(*pieces: str) -> list[str]:
    splitter = SentenceSplitter()
    return [sentence for piece in pieces for sentence in splitter.feed(piece)] + splitter.end()


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Hello there. How are you?", ["Hello there.", "How are you?"]),
        ("It costs 3.50 euros. Fine.", ["It costs 3.50 euros.", "Fine."]),
        ("Dr. Miller, e.g. at 9 a.m. today, says yes. Good.", ["Dr. Miller, e.g. at 9 a.m. today, says yes.", "Good."]),
        ("J. S. Bach and I. Then silence.", ["J. S. Bach and I.", "Then silence."]),
        ("Really?! Yes! “No.” Well…", ["Really?!", "Yes!", "“No.”", "Well…"]),
        ("Look at www.example.com. Then call.", ["Look at www.example.com.", "Then call."]),
        ("1. Open the box. 2. Close it.", ["1. Open the box.", "2. Close it."]),
        ("You have 3. Take one.", ["You have 3.", "Take one."]),
        ("Das kostet ca. 5 Euro, z.B. montags. Gut.", ["Das kostet ca. 5 Euro, z.B. montags.", "Gut."]),
        ("今日は晴れです。明日は？「はい。」そう", ["今日は晴れです。", "明日は？", "「はい。」", "そう"]),
        ("नमस्ते। आप कैसे हैं?", ["नमस्ते।", "आप कैसे हैं?"]),
        ("مرحبا؟ نعم.", ["مرحبا؟", "نعم."]),
        ("First line\nSecond line", ["First line", "Second line"]),
        ("   ", []),
        ("wait... what", ["wait... what"]),
    ],
)
def test_sentences(text: str, sentences: list[str]) -> None:
    assert cut(text) == sentences
    assert cut(*text) == sentences


def test_a_sentence_is_given_as_soon_as_the_next_one_begins() -> None:
    splitter = SentenceSplitter()
    assert splitter.feed("Hello the") == []
    assert splitter.feed("re.") == []
    assert splitter.feed(" How") == ["Hello there."]
    assert splitter.feed(" are you?") == []
    assert splitter.feed(" ") == ["How are you?"]
    assert splitter.feed("好。") == ["好。"]


def test_a_sentence_without_end_is_cut_at_a_comma_or_a_blank() -> None:
    long = "word " * 50 + "and so on, " + "word " * 50
    first, *rest = cut(long)
    assert first.endswith("and so on,")
    assert all(len(each) <= MAX_CHARS for each in (first, *rest))
    assert [len(each) for each in cut("x" * 700)] == [300, 300, 100]


@given(st.lists(st.text(alphabet='ab.!?, 3。\n"D', max_size=12), max_size=30))
def test_no_character_is_lost_however_the_text_is_cut_up(pieces: list[str]) -> None:
    whole = "".join(pieces)
    assert "".join("".join(cut(*pieces)).split()) == "".join(whole.split())
