"""The answer's audio on its way to the media engine: sent as it comes, or kept back until its turn has ended."""

from __future__ import annotations

from trunkline.core.own_voice import OwnVoice
from trunkline.core.units import Pcm
from trunkline.media.engine import MediaLeg
from trunkline.media.playout import MAX_WAITING_SAMPLES


class Outgoing:
    """One call's answers, one at a time.

    Args:
        own_voice: Is told what is sent.
    """

    def __init__(self, own_voice: OwnVoice) -> None:
        self._own_voice = own_voice
        self._held = False
        self._waiting: list[Pcm] = []
        self._waiting_samples = 0
        self._ended = False

    def begin(self, held: bool) -> None:
        """A new answer comes; `held`: it is kept back until `release`."""
        self._held, self._ended = held, False
        self._waiting, self._waiting_samples = [], 0

    def audio(self, leg: MediaLeg, utterance: int, samples: Pcm, now: float) -> None:
        """Takes audio: int16, any length, mono, 16000 Hz. What is more than an engine would keep is dropped."""
        if not self._held:
            self._own_voice.queue(samples, now)
            leg.play(utterance, samples)
        elif self._waiting_samples + samples.size <= MAX_WAITING_SAMPLES:
            self._waiting.append(samples)
            self._waiting_samples += int(samples.size)

    def end(self, leg: MediaLeg, utterance: int) -> None:
        """The answer is complete."""
        if self._held:
            self._ended = True
        else:
            leg.end(utterance)

    def release(self, leg: MediaLeg, utterance: int, now: float) -> None:
        """Sends what was kept back; what comes from now on is sent as it comes."""
        waiting, ended = self._waiting, self._ended
        self.begin(held=False)
        for samples in waiting:
            self.audio(leg, utterance, samples, now)
        if ended:
            self.end(leg, utterance)
