"""One pocketsphinx decoder that knows a list of sentences. Runs in the recognizer's process, one burst at a time.

In: 16 kHz PCM of one burst of speech. Out: the words so far, and at the end one of the sentences, or nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from pocketsphinx import Decoder

SEARCH = "phrases"
FIRST_CMN = "40,3,-1"
"""The model's own guess of the mean of a caller's spectrum, for bursts of whom nothing was heard yet."""


class PhraseDecoder:
    """Listens for one of a few sentences. Made once, used for many bursts.

    Args:
        sentences: Words joined by blanks, as in `PhraseBook.sentences`.
        sounds: As in `PhraseBook.sounds`.
    """

    def __init__(self, sentences: Sequence[str], sounds: Sequence[tuple[str, str]]) -> None:
        self._sentences = frozenset(sentences)
        self._decoder = Decoder(lm=None, dict=None, loglevel="FATAL")
        for name, phones in sounds:
            self._decoder.add_word(name, phones, False)
        self._decoder.add_jsgf_string(SEARCH, grammar(sentences))
        self._decoder.activate_search(SEARCH)
        self._open = False
        self._heard = ""

    def begin(self) -> None:
        """Starts a burst; an unfinished one is forgotten."""
        self.drop()
        self._decoder.set_cmn(FIRST_CMN)
        self._decoder.start_stream()
        self._decoder.start_utt()
        self._open = True
        self._heard = ""

    def feed(self, audio: bytes) -> str | None:
        """Takes the next piece of the burst.

        Args:
            audio: PCM int16, mono, 16,000 Hz, any whole number of samples.

        Returns:
            The words heard so far where they changed and are some, else None.
        """
        self._decoder.process_raw(audio, False, False)
        words = self._words()
        if not words or words == self._heard:
            return None
        self._heard = words
        return words

    def finish(self) -> str:
        """Ends the burst.

        Returns:
            One of the sentences, or "" where none was said from its first to its last word.
        """
        if not self._open:
            return ""
        self._open = False
        self._decoder.end_utt()
        words = self._words()
        return words if words in self._sentences else ""

    def drop(self) -> None:
        """Forgets the burst."""
        if self._open:
            self._open = False
            self._decoder.end_utt()

    def _words(self) -> str:
        hypothesis = self._decoder.hyp()
        return hypothesis.hypstr if hypothesis is not None else ""


def grammar(sentences: Sequence[str]) -> str:
    """The sentences as a JSGF grammar."""
    return f"#JSGF V1.0; grammar {SEARCH}; public <sentence> = {' | '.join(sentences)};"
