"""Decides whether what is heard is only the agent's own voice, coming back from the caller's side.

In come the answer's audio as it is handed to the media engine, what the engine tells of its playing, and the caller's
last quarter of a second; out comes the share of that sound's energy which a linear echo of the agent explains. An echo
is late (50 to 250 ms and the network), quieter, and coloured by the telephone, but it has the same waveform: a short
filter over what was played gives it back. Somebody who speaks over it is not explained by it.

Asked by `agent/pipeline/lane.py`, and only when the model takes a sound for speech while the agent can be heard.
"""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt

from trunkline.core.units import SAMPLE_RATE_HZ, Pcm, s_to_samples, samples_to_s

LATEST_S = 0.44
"""An echo comes back within so long: 250 ms of the telephone, and our own buffers both ways."""
COMPARED_S = 0.22
"""So much of what is heard is compared: enough for a verdict, short enough to hear soon that somebody speaks."""
ECHO_SHARE = 0.55
"""A sound of which so much is explained is an echo. Of echoes on a phone line, 98 % have a share above 0.6; of speech
over an echo, 98 % below 0.45."""

_STEP = 4
_RATE_HZ = SAMPLE_RATE_HZ // _STEP
"""Compared at 4 kHz, where the voice has its energy."""
_COMPARED = round(COMPARED_S * _RATE_HZ)
_LATEST = round(LATEST_S * _RATE_HZ)
_FFT = 1 << (_COMPARED + _LATEST - 1).bit_length()
_TAPS = 40
"""10 ms of reflections around the strongest one."""
_BEFORE = 8
_LOADING = 1e-3
LOUDEST_ECHO = 0.25
"""No line gives back more than this share of the power: whoever is louder is no echo, however alike it sounds."""
HELD_S = 0.15
"""A verdict holds for so long: the model, too, remembers what it heard, and a click in between is no speech."""
LOUDER = 4.0
"""But not where so much more power is heard: somebody speaks over the echo."""

Signal = npt.NDArray[np.float64]


class OwnVoice:
    """What the agent was heard to say lately, and what it is about to say, in one call."""

    def __init__(self) -> None:
        self._waiting: deque[Pcm] = deque()
        self._sent: deque[tuple[float, Pcm]] = deque()
        self._next_at: float | None = None
        self._audible_until = -1.0
        self._echo_at = -1.0
        self._echo_power = 0.0

    # --- what the agent plays ---

    def queue(self, samples: Pcm, now: float) -> None:
        """More of the answer was handed over: int16, any length, mono, 16000 Hz."""
        if not self._waiting and self._next_at is not None:
            # The engine may have run dry meanwhile; it goes on with this.
            self._next_at = max(self._next_at, now)
        self._waiting.append(samples)

    def started(self, at: float) -> None:
        """The answer plays from its next sample on, since `at` (monotonic seconds)."""
        self._next_at = at

    def halted(self, at: float) -> None:
        """Nothing is played from `at` on; what is left waits."""
        self._send(at)
        self._next_at = None
        if self._sent:
            began_at, samples = self._sent[-1]
            sent = max(0, s_to_samples(at - began_at))
            if sent < samples.size:
                self._sent[-1] = (began_at, samples[:sent])
                self._waiting.appendleft(samples[sent:])
        self._audible_until = min(self._audible_until, at)

    def dropped(self, at: float) -> None:
        """Nothing is played from `at` on, and nothing waits any more: the answer has ended, or was given up."""
        self.halted(at)
        self._waiting.clear()

    # --- what is heard ---

    def could_return(self, now: float) -> bool:
        """Whether the agent played within the time in which an echo comes back."""
        self._send(now)
        return now - min(self._audible_until, now) < LATEST_S + COMPARED_S

    def is_echo(self, heard: Pcm, ended_at: float) -> bool:
        """Whether this sound, or one a moment ago, was the agent's own. Arguments as for `share`."""
        if not self.could_return(ended_at):
            return False
        power = _power(heard)
        if self.share(heard, ended_at) >= ECHO_SHARE:
            self._echo_at, self._echo_power = ended_at, power
        return ended_at - self._echo_at <= HELD_S and power <= LOUDER * self._echo_power

    def share(self, heard: Pcm, ended_at: float) -> float:
        """How much of a sound's energy an echo of the agent explains, from 0 to 1.

        Args:
            heard: int16, the last 220 ms or more of the caller, mono, 16000 Hz.
            ended_at: Monotonic seconds of its end.
        """
        sound = _thinned(heard[-_COMPARED * _STEP :])
        energy = float(sound @ sound)
        played = _thinned(self._played(ended_at - LATEST_S - COMPARED_S, (_COMPARED + _LATEST) * _STEP))
        if sound.size < _COMPARED or energy == 0.0 or not played.any():
            return 0.0
        # Correlation with each delay, and the energy of what was played in the time that it would answer for.
        spectrum = np.fft.rfft(played, _FFT)
        likeness = np.fft.irfft(spectrum * np.fft.rfft(sound, _FFT).conj(), _FFT)[: _LATEST + 1]
        powers = np.concatenate([[0.0], np.cumsum(played * played)])
        power = powers[_COMPARED:] - powers[:-_COMPARED]
        floor = power.max() * 1e-3 + 1e-9
        best = int(np.argmax(likeness**2 / (power + floor)))
        if energy > LOUDEST_ECHO * power[best]:
            return 0.0
        return _explained(sound, energy, played, best)

    def _send(self, now: float) -> None:
        """Puts down what has begun to play by now, and forgets what can't come back any more."""
        while self._next_at is not None and self._waiting and self._next_at <= now:
            samples = self._waiting.popleft()
            self._sent.append((self._next_at, samples))
            self._next_at += samples_to_s(samples.size)
            self._audible_until = self._next_at
        oldest_at = now - 2 * (LATEST_S + COMPARED_S)
        while self._sent and self._sent[0][0] + samples_to_s(self._sent[0][1].size) < oldest_at:
            self._sent.popleft()

    def _played(self, from_at: float, size: int) -> Pcm:
        """What was played in a stretch of time, silence included."""
        played = np.zeros(size, dtype=np.int16)
        for at, samples in self._sent:
            start = s_to_samples(at - from_at)
            first, last = max(start, 0), min(start + samples.size, size)
            if first < last:
                played[first:last] = samples[first - start : last - start]
        return played


def _power(samples: Pcm) -> float:
    """Of the last 60 ms."""
    latest = samples[-960:].astype(np.float64)
    return float(latest @ latest)


def _thinned(samples: Pcm) -> Signal:
    """At 4 kHz; what is lost above does not matter, as it is lost from both."""
    whole = samples[: samples.size // _STEP * _STEP].astype(np.float64)
    thinned: Signal = whole.reshape(-1, _STEP).mean(axis=1)
    if thinned.size:
        # The low end of a voice, where hum is, too, would outweigh everything.
        thinned[1:] -= 0.9 * thinned[:-1]
    return thinned


def _explained(sound: Signal, energy: float, played: Signal, best: int) -> float:
    """The share of energy that the best filter of some taps around a place in what was played gives back."""
    first = min(max(0, best - (_TAPS - _BEFORE)), played.size - _COMPARED - _TAPS)
    # Column k: what was played k samples later than `first`.
    columns = np.lib.stride_tricks.sliding_window_view(played[first : first + _COMPARED + _TAPS - 1], _COMPARED)
    products = columns @ columns.T
    likeness = columns @ sound
    products[np.diag_indices(_TAPS)] += _LOADING * (products.trace() / _TAPS) + 1e-9
    return float(likeness @ np.linalg.solve(products, likeness)) / energy
