"""Numbered sentences: what the caller says, the recognizer writes and the answer repeats, so that each can be matched.

The number comes first, in digits, since an answer to the first partial knows no more than that.
"""

from __future__ import annotations

import re
import zlib
from typing import Final

from trunkline.testing.voice_code import MAX_SENTENCE_ID

_NUMBER: Final = re.compile(r"(?<!\d)\d{1,4}(?!\d)")


def sentence(sentence_id: int, phrase: str) -> str:
    """The words of a sentence: its number and the phrase."""
    return f"{sentence_id} {phrase}".strip()


def number_in(text: str) -> int | None:
    """The first number of a sentence in a text, or None."""
    return next((int(found) for found in _NUMBER.findall(text) if int(found) <= MAX_SENTENCE_ID), None)


def number_for(text: str) -> int:
    """The number in a text, or one made from its words, the same each time."""
    number = number_in(text)
    return zlib.crc32(" ".join(text.split()).encode()) & MAX_SENTENCE_ID if number is None else number
