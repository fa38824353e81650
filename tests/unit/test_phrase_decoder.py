"""One decoder: sentences of the list are understood, other sounds are not."""

from __future__ import annotations

import numpy as np
import pytest

from tests.conftest import need
from tests.telephone import telephoned
from trunkline.agent.pipeline.phrase_decoder import PhraseDecoder, whole_sentence
from trunkline.agent.pipeline.phrases import load_phrases
from trunkline.core.units import FRAME_SAMPLES, Pcm
from trunkline.loadtest.voice import speak
from trunkline.testing.speech import silence, tone

SENTENCE = "what are your opening hours"


@pytest.fixture(scope="module")
def decoder() -> PhraseDecoder:
    book = load_phrases()
    return PhraseDecoder(list(book.sentences), book.sounds)


def told(decoder: PhraseDecoder, samples: Pcm) -> tuple[list[str], str]:
    """Partials and the end of one burst."""
    decoder.begin()
    pieces = [samples[start : start + FRAME_SAMPLES] for start in range(0, samples.size, FRAME_SAMPLES)]
    partials = [words for piece in pieces if (words := decoder.feed(piece.tobytes())) is not None]
    return partials, decoder.finish()


async def test_a_sentence_is_understood_word_by_word(decoder: PhraseDecoder) -> None:
    need("espeak-ng")
    speech = telephoned(await speak(SENTENCE))
    partials, final = told(decoder, speech)
    assert final == SENTENCE
    assert "what are your" in partials
    assert told(decoder, speech)[1] == SENTENCE, "a decoder that was used before hears it, too"


async def test_a_sentence_that_is_not_in_the_list_is_not_bent_into_one(decoder: PhraseDecoder) -> None:
    need("espeak-ng")
    assert told(decoder, telephoned(await speak("the train leaves at seven in the morning")))[1] == ""


@pytest.mark.parametrize("sound", [silence(1.0), tone(1.0), silence(0.01), np.zeros(0, dtype=np.int16)])
def test_sounds_without_words_say_nothing(decoder: PhraseDecoder, sound: Pcm) -> None:
    assert told(decoder, sound)[1] == ""


def test_a_burst_may_be_dropped_or_finished_at_any_time(decoder: PhraseDecoder) -> None:
    decoder.drop()
    assert decoder.finish() == ""
    decoder.begin()
    decoder.begin()
    decoder.drop()
    assert decoder.finish() == ""


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("how much is it", "how much is it"),
        ("where is my", "where is my order"),
        ("where is", ""),
        ("i want to talk", ""),
        ("i want to", ""),
        ("", ""),
    ],
)
def test_only_a_lost_last_word_is_made_up_for(words: str, sentence: str) -> None:
    sentences = ["how much is it", "where is my order", "i want to go", "i want to eat", "i want to talk to you"]
    assert whole_sentence(words, sentences) == sentence
