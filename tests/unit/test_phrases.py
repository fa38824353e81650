"""The list of sentences: what is read, and what is refused with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from trunkline.agent.pipeline.phrases import MAX_FILE_BYTES, MAX_PHRASE_WORDS, MAX_PHRASES, load_phrases
from trunkline.core.errors import ConfigError


def written(folder: Path, text: str) -> Path:
    path = folder / "phrases.txt"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_bundled_dozen_is_complete() -> None:
    book = load_phrases()
    assert len(book.sentences) == 12
    known = {name.partition("(")[0] for name, _ in book.sounds}
    assert {word for sentence in book.sentences for word in sentence.split()} == known


def test_punctuation_and_case_are_for_people(tmp_path: Path) -> None:
    book = load_phrases(written(tmp_path, "# a comment\n\n  Hello, World!\nDon't wait - go.\n"))
    assert book.sentences == {"hello world": "Hello, World!", "don't wait go": "Don't wait - go."}


def test_words_with_two_sounds_keep_both(tmp_path: Path) -> None:
    names = [name for name, _ in load_phrases(written(tmp_path, "the\n")).sounds]
    assert names == ["the", "the(2)"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no sentence"),
        ("# only a comment\n", "no sentence"),
        ("hello\nHello!\n", ":2: .*twice"),
        ("hello\nxqzzy world\n", ":2: the word 'xqzzy'"),
        ("room 12\n", ":1: '12' is no word"),
        ("hello; <other> = {x}\n", ":1: .*is no word"),
        ("...\n", ":1: no word"),
        ("go " * (MAX_PHRASE_WORDS + 1), ":1: 21 words"),
        ("\n".join(f"{'go ' * (1 + n % 20)}{'home ' * (n // 20)}" for n in range(MAX_PHRASES + 1)), "20"),
        ("#" * (MAX_FILE_BYTES + 1), "larger than"),
    ],
)
def test_what_cannot_be_recognized_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        load_phrases(written(tmp_path, text))


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't read"):
        load_phrases(tmp_path / "missing.txt")
    binary = tmp_path / "binary.txt"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="can't read"):
        load_phrases(binary)
