"""The sentences that the local recognizer listens for, and how their words sound.

In: a text file with one sentence a line; blank lines and lines that start with # are left out. Out: a `PhraseBook`,
which holds all that a decoder needs. Read at start by the provider check, then by the recognizer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pocketsphinx import get_model_path

from trunkline.core.errors import ConfigError

DEFAULT_PHRASES = Path(__file__).with_name("phrases.txt")
MAX_PHRASES = 200
MAX_PHRASE_WORDS = 20
MAX_FILE_BYTES = 64_000

_WORD = re.compile(r"[a-z]+(?:'[a-z]+)*")
_PUNCTUATION = re.compile(r"[.,;:!?-]")


@dataclass(frozen=True, slots=True)
class PhraseBook:
    """Sentences and the sounds of their words.

    Attributes:
        sentences: The recognizer's words of each sentence, joined by one blank, and the line as it was written.
        sounds: Dictionary entries, (name, phones), where the second sound of a word is named "word(2)".
    """

    sentences: dict[str, str]
    sounds: tuple[tuple[str, str], ...]


def load_phrases(path: Path | None = None, script: Sequence[str] = ()) -> PhraseBook:
    """Reads and checks a list of sentences.

    Args:
        path: The file; None: what the brain's script listens for, and without one the bundled dozen.
        script: Those sentences.

    Raises:
        ConfigError: the file can't be read, is empty, or a line can't be recognized; names file and line.
    """
    if path is None and script:
        return _book(script, "BRAIN_SCRIPT, phrase ")
    path = path or DEFAULT_PHRASES
    return _book(_lines(path), f"{path}:")


def _book(lines: Iterable[str], place: str) -> PhraseBook:
    sentences: dict[str, str] = {}
    where: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        written = line.strip()
        if not written or written.startswith("#"):
            continue
        words = _words(written, f"{place}{number}")
        sentence = " ".join(words)
        if sentence in sentences:
            raise ConfigError(f"{place}{number}: the sentence {written!r} stands there twice")
        sentences[sentence] = written
        for word in words:
            where.setdefault(word, number)
    if not sentences:
        raise ConfigError(f"{place} no sentence in it", "write one sentence a line")
    if len(sentences) > MAX_PHRASES:
        raise ConfigError(f"{place} {len(sentences)} sentences; the recognizer takes {MAX_PHRASES}")
    sounds = _sounds(set(where))
    for word, number in where.items():
        if word not in sounds:
            raise ConfigError(
                f"{place}{number}: the word {word!r} is not in the recognizer's dictionary", "say it in other words"
            )
    return PhraseBook(sentences, tuple(entry for word in sorted(sounds) for entry in sounds[word]))


def _lines(path: Path) -> list[str]:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigError(f"STT_PHRASES: {path} is larger than {MAX_FILE_BYTES} bytes")
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        problem = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError(f"STT_PHRASES: can't read {path}: {problem}") from error


def _words(written: str, place: str) -> list[str]:
    words = _PUNCTUATION.sub(" ", written.lower()).split()
    if len(words) > MAX_PHRASE_WORDS:
        raise ConfigError(f"{place}: {len(words)} words; the recognizer takes {MAX_PHRASE_WORDS} a sentence")
    if not words:
        raise ConfigError(f"{place}: no word in {written!r}")
    for word in words:
        if not _WORD.fullmatch(word):
            raise ConfigError(f"{place}: {word!r} is no word", "spell numbers and signs out, in letters a to z")
    return words


def _sounds(wanted: Iterable[str]) -> dict[str, list[tuple[str, str]]]:
    """The dictionary's entries for these words; words that are not in it are left out."""
    keys = {word.encode() for word in wanted}
    found: dict[str, list[tuple[str, str]]] = {}
    with Path(get_model_path("en-us/cmudict-en-us.dict")).open("rb") as dictionary:
        for line in dictionary:
            name, _, phones = line.partition(b" ")
            word = name.partition(b"(")[0]
            if word in keys:
                found.setdefault(word.decode(), []).append((name.decode(), phones.decode().strip()))
    return found
