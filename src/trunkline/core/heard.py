"""Which words of an answer the caller heard: its text, measured against the audio that was made of it.

In: the sentences of one answer in order, the audio of each, and the instants of its words where the voice tells them.
Out: for any number of samples that were sent, the text up to the last word that was sent whole. Where the voice tells
no instants, a sentence's words are spread over its sounding samples by their length; pauses weigh nothing.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field

from trunkline.core.units import FRAME_SAMPLES, SAMPLE_RATE_HZ, Pcm, level_dbfs

QUIET_DBFS = -50.0
"""A frame of synthesized speech below this is a pause."""

SAMPLES_PER_CHARACTER = SAMPLE_RATE_HZ / 15
"""How fast people and voices speak; used only for a sentence whose audio is still being made."""

# A word is what stands between blanks; scripts that write none are cut at each character.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_UNSPACED}][^\w\s]*|[^\s{_UNSPACED}]+")


def word_ends(text: str) -> list[int]:
    """Where each word of a text ends, as offsets into it."""
    return [found.end() for found in _WORD.finditer(text)]


@dataclass(slots=True)
class _Sentence:
    """One sentence, its audio so far, and the instants of its words in seconds (from any origin)."""

    piece: str
    text: str
    samples: int = 0
    ends: list[int] = field(default_factory=lambda: [0])
    sounding: list[int] = field(default_factory=lambda: [0])
    word_at_s: list[float] = field(default_factory=list)
    whole: bool = False

    def add(self, samples: Pcm) -> None:
        for start in range(0, samples.size, FRAME_SAMPLES):
            frame = samples[start : start + FRAME_SAMPLES]
            self.samples += int(frame.size)
            self.ends.append(self.samples)
            self.sounding.append(self.sounding[-1] + (int(frame.size) if level_dbfs(frame) > QUIET_DBFS else 0))

    def heard(self, sent: int) -> str:
        ends = word_ends(self.text)
        if self.whole and sent >= self.samples:
            return self.text
        count = self._timed(sent, len(ends)) if self.word_at_s else self._spread(sent, ends)
        return self.text[: ends[count - 1]] if count > 0 else ""

    def _timed(self, sent: int, words: int) -> int:
        """Words whose successor has begun. The first one begins with the first sound."""
        onset = next((end - FRAME_SAMPLES for end, loud in zip(self.ends, self.sounding, strict=True) if loud), 0)
        sent_s = (sent - max(0, onset)) / SAMPLE_RATE_HZ + self.word_at_s[0]
        begun = bisect_right(self.word_at_s, sent_s)
        over = max(0, begun - 1)
        if begun == len(self.word_at_s) and self.whole and self._sounded(sent) >= self.sounding[-1]:
            over = begun
        if self.whole and len(self.word_at_s) != words:
            # The voice counts words in its own way ("12" may be "twelve"): the same share of ours.
            return over * words // len(self.word_at_s)
        return min(over, words)

    def _spread(self, sent: int, ends: list[int]) -> int:
        """Words that fit into the share of the sounding samples that was sent."""
        characters = ends[-1] if ends else 0
        total = self.sounding[-1] if self.whole else max(self.sounding[-1], characters * SAMPLES_PER_CHARACTER)
        share = self._sounded(sent) / total if total else 0.0
        return bisect_right(ends, share * characters + 1e-6)

    def _sounded(self, sent: int) -> float:
        at = bisect_right(self.ends, sent) - 1
        if at + 1 == len(self.ends):
            return self.sounding[-1]
        part = (sent - self.ends[at]) / (self.ends[at + 1] - self.ends[at])
        return self.sounding[at] + part * (self.sounding[at + 1] - self.sounding[at])


class SpokenAnswer:
    """One answer: what is said, and how far into it any sample is."""

    def __init__(self) -> None:
        self._sentences: list[_Sentence] = []

    @property
    def text(self) -> str:
        """All that was made into speech."""
        return " ".join(each.text for each in self._sentences)

    def sentence(self, piece: str, text: str) -> None:
        """The audio of `piece`, which comes next, says `text`; told again: it says that after all."""
        known = next((each for each in self._sentences if each.piece == piece), None)
        if known is None:
            self._sentences.append(_Sentence(piece, text.strip()))
        else:
            known.text = text.strip()

    def audio(self, piece: str, samples: Pcm) -> None:
        """More audio of a piece (int16, any length, mono, 16000 Hz). The sentences before it are complete."""
        sentence = self._of(piece)
        if sentence is None:
            return
        for earlier in self._sentences:
            if earlier is sentence:
                break
            earlier.whole = True
        sentence.add(samples)

    def word(self, piece: str, at_s: float) -> None:
        """The next word of a piece begins at `at_s`, by any clock that runs with the audio."""
        sentence = self._of(piece)
        if sentence is not None:
            sentence.word_at_s.append(max([at_s, *sentence.word_at_s[-1:]]))

    def end(self) -> None:
        """No more audio comes."""
        for sentence in self._sentences:
            sentence.whole = True

    def heard(self, samples: int) -> str:
        """The words that the first `samples` of the answer's audio say whole. More samples never say less."""
        heard: list[str] = []
        for sentence in self._sentences:
            part = sentence.heard(samples) if samples > 0 else ""
            if part:
                heard.append(part)
            if part != sentence.text:
                break
            samples -= sentence.samples
        return " ".join(heard)

    def _of(self, piece: str) -> _Sentence | None:
        """The sentence of a piece; audio that nobody announced belongs to the last one."""
        for sentence in reversed(self._sentences):
            if sentence.piece == piece:
                return sentence
        return self._sentences[-1] if self._sentences else None
