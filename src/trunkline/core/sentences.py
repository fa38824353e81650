"""Cuts a stream of text into sentences, each as soon as it is sure to be whole: speech can begin with the first.

A full stop ends a sentence where a blank and something that is no small letter follow, unless it ends an abbreviation,
an initial or a list's number; so decimals and addresses stay whole. Marks that mean nothing else, such as those of
Chinese and Hindi, end it at once. A sentence that goes on and on is cut at a comma or a blank.
"""

from __future__ import annotations

import re

MAX_CHARS = 300
"""Longer ones are cut: the voice should not wait for them."""

AT_ONCE = "。！？｡।॥؟۔\n"
CLOSING = "\"'”’»)]）】」』"

_END = re.compile(rf"[.!?…]+[{re.escape(CLOSING)}]*(?=\s)|[{AT_ONCE}]+[{re.escape(CLOSING)}]*")
_LAST_WORD = re.compile(r"[^\s(\[\"'„“«]+$")
_CLAUSE = re.compile(r"[,;:–—]\s")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ABBREVIATIONS = _words(
    """dr mr mrs ms prof st jr vs approx dept inc ltd gen capt rev hon ave blvd rd ext jan feb apr aug sept oct nov dec
    e.g i.e a.m p.m u.s u.k z.b d.h u.a bzw ca evtl ggf inkl nr hr fr tel vgl mme mlle sra ud uds pág núm"""
)
"""Words before a full stop that a sentence rarely ends with."""


class SentenceSplitter:
    """Collects text and gives whole sentences."""

    def __init__(self) -> None:
        self._text = ""

    def feed(self, piece: str) -> list[str]:
        """Takes more text; returns the sentences that are whole now, without the blanks around them."""
        self._text += piece
        found: list[str] = []
        while (end := self._end()) is not None:
            sentence, self._text = self._text[:end].strip(), self._text[end:].lstrip()
            if sentence:
                found.append(sentence)
        return found

    def end(self) -> list[str]:
        """No more text comes: what is left is the last sentence."""
        rest, self._text = self._text.strip(), ""
        return [rest] if rest else []

    def _end(self) -> int | None:
        for found in _END.finditer(self._text):
            verdict = self._ends(found)
            if verdict is None:
                break
            if verdict:
                return found.end()
        return self._cut() if len(self._text) > MAX_CHARS else None

    def _ends(self, found: re.Match[str]) -> bool | None:
        """Whether a mark ends a sentence; None: what follows must be known first."""
        if found[0][0] in AT_ONCE:
            said = self._text[: found.end()]
            quoted = sum(said.count(sign) for sign in "「『") > sum(said.count(sign) for sign in "」』")
            return None if quoted and len(said) == len(self._text) else True
        if not found[0].startswith("."):
            return True
        after = self._text[found.end() :].lstrip()
        if not after:
            return None
        before = self._text[: found.start()].rstrip()
        word = _LAST_WORD.search(before)
        name = word[0].lower() if word is not None else ""
        listed = name.isdigit() and before.strip() == name
        initial = len(name) == 1 and name.isalpha() and word is not None and word[0].isupper() and word[0] != "I"
        return not (after[0].islower() or name in ABBREVIATIONS or initial or listed)

    def _cut(self) -> int:
        clauses = [found.end() for found in _CLAUSE.finditer(self._text, 0, MAX_CHARS)]
        if clauses:
            return clauses[-1]
        blank = self._text.rfind(" ", 0, MAX_CHARS)
        return blank if blank > 0 else MAX_CHARS
