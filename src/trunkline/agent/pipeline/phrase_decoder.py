"""One pocketsphinx decoder that knows a list of sentences. Runs in the recognizer's process, one burst at a time.

In: 16 kHz PCM of one burst of speech. Out: the words so far, and at the end one of the sentences, or nothing.

The model was trained on speech of 8 kHz bandwidth, a telephone carries 3.4 kHz. Two things bridge that, and
`benchmarks/local_speech.py` shows what they are worth: the mean spectrum is assumed to be that of a telephone from the
first frame on, and faint noise fills the empty upper half of the band, where the model would otherwise see the
logarithm of next to nothing, moving with every rounding error.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np
from pocketsphinx import Decoder

SEARCH = "phrases"
TELEPHONE_CMN = "52.13,10.71,-13.43,17.98,-0.44,-14.66,4.44,-16.29,-9.55,6.67,-5.90,0.70,-0.39"
"""Mean cepstrum of recorded calls with the noise below; pocketsphinx adapts it within a burst."""
NOISE_DBFS = -60.0
MAX_COST_PER_FRAME = 0.0035
"""Natural logarithm of the score, negated, by frames of 10 ms: sentences of the list cost 0.0019 to 0.0033, other
sentences that the grammar was bent to mostly 0.0036 to 0.0052."""
MIN_PART_WORDS = 3


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
        self._noise = np.random.default_rng(0)

    def begin(self) -> None:
        """Starts a burst; an unfinished one is forgotten."""
        self.drop()
        self._decoder.set_cmn(TELEPHONE_CMN)
        self._decoder.start_utt()
        # The same noise for every burst, so that the same sound gives the same words.
        self._noise = np.random.default_rng(0)
        self._open = True
        self._heard = ""

    def feed(self, audio: bytes) -> str | None:
        """Takes the next piece of the burst.

        Args:
            audio: PCM int16, mono, 16,000 Hz, any whole number of samples.

        Returns:
            The words heard so far where they changed and are some, else None.
        """
        self._decoder.process_raw(self._with_noise(audio), False, False)
        words = self._words()
        if not words or words == self._heard:
            return None
        self._heard = words
        return words

    def finish(self) -> str:
        """Ends the burst.

        Returns:
            One of the sentences; "" where none was said, or none that is beyond doubt.
        """
        if not self._open:
            return ""
        self._open = False
        self._decoder.end_utt()
        hypothesis = self._decoder.hyp()
        if hypothesis is None or self._cost_per_frame(hypothesis.score) > MAX_COST_PER_FRAME:
            return ""
        return whole_sentence(hypothesis.hypstr, self._sentences)

    def drop(self) -> None:
        """Forgets the burst."""
        if self._open:
            self._open = False
            self._decoder.end_utt()

    def _with_noise(self, audio: bytes) -> bytes:
        samples = np.frombuffer(audio, dtype=np.int16)
        noise = self._noise.normal(0.0, 32768 * 10 ** (NOISE_DBFS / 20), samples.size)
        return np.clip(samples + noise, -32768, 32767).astype(np.int16).tobytes()

    def _cost_per_frame(self, score: float) -> float:
        frames = self._decoder.n_frames()
        return -math.log(score) / frames if score > 0.0 and frames else math.inf

    def _words(self) -> str:
        hypothesis = self._decoder.hyp()
        return hypothesis.hypstr if hypothesis is not None else ""


def whole_sentence(words: str, sentences: Collection[str]) -> str:
    """The sentence that was said, where at most its last word was lost.

    Args:
        words: The best path through the grammar; it may have ended within a sentence.
        sentences: All that can be said.

    Returns:
        The sentence; "" where the words end too early, or more than one sentence goes on like that.
    """
    if words in sentences:
        return words
    if len(words.split()) < MIN_PART_WORDS:
        return ""
    going_on = [sentence for sentence in sentences if sentence.startswith(words + " ")]
    return going_on[0] if len(going_on) == 1 and going_on[0].rpartition(" ")[0] == words else ""


def grammar(sentences: Sequence[str]) -> str:
    """The sentences as a JSGF grammar."""
    return f"#JSGF V1.0; grammar {SEARCH}; public <sentence> = {' | '.join(sentences)};"
