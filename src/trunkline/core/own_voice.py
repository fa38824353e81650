"""Decides whether what is heard is only the agent's own voice, coming back from the caller's side.

In come the answer's audio as it is handed to the media engine, what the engine tells of its playing, and the caller's
last quarter of a second; out comes the share of that sound's energy which a linear echo of the agent explains. An echo
is late (50 to 250 ms and the network), quieter, and coloured by the telephone, but it has the same waveform: a short
filter over what was played gives it back. Somebody who speaks over it is not explained by it.

Asked by `agent/pipeline/lane.py`, and only when the model takes a sound for speech while the agent can be heard.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from dataclasses import dataclass

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
_LONGEST = _COMPARED + _TAPS - 1
"""So much of what was played may explain what is heard."""
_BEFORE = 8
_BLOCK = _RATE_HZ // 50
_BLOCK_S = _BLOCK / _RATE_HZ
"""The energy of what was played is summed up by 20 ms."""
_LONGEST_S = _LONGEST / _RATE_HZ + _BLOCK_S + 1e-6
"""Blocks that begin within so long of each other are all that such a stretch can touch."""
_LOADING = 1e-3
LOUDEST_ECHO = 0.25
"""No line gives back more than this share of the power: whoever is louder is no echo, however alike it sounds."""
HELD_S = 0.15
"""A verdict holds for so long: the model, too, remembers what it heard, and a click in between is no speech."""
FRESH_S = 0.05
"""For so long it is not even asked again."""
LOUDER = 4.0
"""But not where so much more power is heard: somebody speaks over the echo. Nor, of somebody else, so much less."""

_DISTANCE = np.abs(np.subtract.outer(np.arange(_TAPS), np.arange(_TAPS)))
_SAME = np.diag_indices(_TAPS)
_ROW = np.arange(_TAPS - 1)[:, None]
_COLUMN = _ROW + _TAPS - 2 - np.arange(_TAPS - 1)

Signal = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Played:
    """Audio that plays from `at` on: as it was handed over, and at 4 kHz."""

    at: float
    samples: Pcm
    thinned: Signal


class OwnVoice:
    """What the agent was heard to say lately, and what it is about to say, in one call."""

    def __init__(self) -> None:
        self._waiting: deque[Pcm] = deque()
        self._sent: deque[_Played] = deque()
        self._block_at: list[float] = []
        self._block_energy: list[float] = []
        self._next_at: float | None = None
        self._audible_until = -1.0
        self._echo_at = -1.0
        self._echo_power = 0.0
        self._other_at = -1.0
        self._other_power = 0.0
        self._delay: int | None = None

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
            last = self._sent[-1]
            sent = max(0, s_to_samples(at - last.at))
            if sent < last.samples.size:
                self._sent[-1] = _Played(last.at, last.samples[:sent], last.thinned[: sent // _STEP])
                self._waiting.appendleft(last.samples[sent:])
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
        as_before = power <= LOUDER * self._echo_power
        if as_before and ended_at - self._echo_at <= FRESH_S:
            return True
        if ended_at - self._other_at <= FRESH_S and LOUDER * power >= self._other_power:
            return False
        if self.share(heard, ended_at) >= ECHO_SHARE:
            self._echo_at, self._echo_power = ended_at, power
            return True
        if as_before and ended_at - self._echo_at <= HELD_S:
            return True
        self._other_at, self._other_power = ended_at, power
        return False

    def share(self, heard: Pcm, ended_at: float) -> float:
        """How much of a sound's energy an echo of the agent explains, from 0 to 1.

        Args:
            heard: int16, the last 220 ms or more of the caller, mono, 16000 Hz.
            ended_at: Monotonic seconds of its end.
        """
        sound = _thinned(heard[-_COMPARED * _STEP :])
        energy = float(np.dot(sound, sound))
        if sound.size < _COMPARED or energy == 0.0:
            return 0.0
        since = ended_at - LATEST_S - COMPARED_S
        if energy > LOUDEST_ECHO * self._most_energy(since, ended_at):
            # Louder than an echo of whatever was played: mostly this spares everything below.
            return 0.0
        played = self._played(since, _COMPARED + _LATEST)
        powers = np.concatenate([[0.0], np.cumsum(played * played)])
        if energy > LOUDEST_ECHO * float((powers[_LONGEST:] - powers[:-_LONGEST]).max()):
            return 0.0
        if self._delay is not None:
            # A line's echo stays where it is: mostly this spares the search.
            share = _explained(sound, energy, played, self._delay)
            if share >= ECHO_SHARE:
                return share
        # Correlation with each delay, and the energy of what was played in the time that it would answer for.
        # Single precision is enough to find a peak, in half the time.
        spectrum = np.fft.rfft(played.astype(np.float32), _FFT)
        likeness = np.fft.irfft(spectrum * np.fft.rfft(sound.astype(np.float32), _FFT).conj(), _FFT)[: _LATEST + 1]
        power = powers[_COMPARED:] - powers[:-_COMPARED]
        floor = power.max() * 1e-3 + 1e-9
        best = int(np.argmax(likeness**2 / (power + floor)))
        if energy > LOUDEST_ECHO * power[best]:
            return 0.0
        first = min(max(0, best - (_TAPS - _BEFORE)), _LATEST + 1 - _TAPS)
        share = _explained(sound, energy, played, first)
        if share >= ECHO_SHARE:
            self._delay = first
        return share

    def _send(self, now: float) -> None:
        """Puts down what has begun to play by now, and forgets what can't come back any more."""
        while self._next_at is not None and self._waiting and self._next_at <= now:
            samples = self._waiting.popleft()
            played = _Played(self._next_at, samples, _thinned(samples))
            self._sent.append(played)
            self._add_blocks(self._next_at, _energies(played.thinned))
            self._next_at += samples_to_s(samples.size)
            self._audible_until = self._next_at
        oldest_at = now - 2 * (LATEST_S + COMPARED_S)
        dropped = False
        while self._sent and self._sent[0].at + samples_to_s(self._sent[0].samples.size) < oldest_at:
            self._sent.popleft()
            dropped = True
        if dropped:
            first = bisect_left(self._block_at, oldest_at)
            del self._block_at[:first], self._block_energy[:first]

    def _add_blocks(self, at: float, energies: list[float]) -> None:
        in_order = not self._block_at or self._block_at[-1] <= at
        self._block_at += [at + block * _BLOCK_S for block in range(len(energies))]
        self._block_energy += energies
        if not in_order:
            # It began before the piece before it could end: both count.
            pairs = sorted(zip(self._block_at, self._block_energy, strict=True))
            self._block_at, self._block_energy = [each for each, _ in pairs], [each for _, each in pairs]

    def _most_energy(self, since: float, until: float) -> float:
        """No stretch that could explain a sound heard in this time has more energy: quickly, and too high.

        What was halted before it was played counts, too.
        """
        at, energy = self._block_at, self._block_energy
        first = oldest = bisect_left(at, since - _BLOCK_S)
        most = within = 0.0
        for newest in range(first, bisect_left(at, until)):
            within += energy[newest]
            while at[newest] - at[oldest] > _LONGEST_S:
                within -= energy[oldest]
                oldest += 1
            most = max(most, within)
        # What was added and taken off again may leave a trace.
        return most * (1 + 1e-9)

    def _played(self, from_at: float, size: int) -> Signal:
        """What was played in a stretch of time, silence included, at 4 kHz."""
        played = np.zeros(size)
        for each in self._sent:
            start = round((each.at - from_at) * _RATE_HZ)
            first, last = max(start, 0), min(start + each.thinned.size, size)
            if first < last:
                played[first:last] = each.thinned[first - start : last - start]
        return played


def _power(samples: Pcm) -> float:
    """Of the last 60 ms."""
    latest = samples[-960:].astype(np.float32)
    return float(np.dot(latest, latest))


def _thinned(samples: Pcm) -> Signal:
    """At 4 kHz; what is lost above does not matter, as it is lost from both."""
    whole = samples[: samples.size // _STEP * _STEP].reshape(-1, _STEP)
    thinned: Signal = np.add.reduce(whole, axis=1, dtype=np.float64)
    thinned *= 1 / _STEP
    if thinned.size:
        # The low end of a voice, where hum is, too, would outweigh everything.
        thinned[1:] -= 0.9 * thinned[:-1]
    return thinned


def _energies(thinned: Signal) -> list[float]:
    """Of each 20 ms, the last one shorter."""
    squares = np.zeros(-(-thinned.size // _BLOCK) * _BLOCK)
    np.multiply(thinned, thinned, out=squares[: thinned.size])
    energies: list[float] = squares.reshape(-1, _BLOCK).sum(axis=1).tolist()
    return energies


def _explained(sound: Signal, energy: float, played: Signal, first: int) -> float:
    """The share of a sound's energy that the best filter over what was played from there on gives back."""
    part = played[first : first + _LONGEST]
    if float((part * part).sum()) * LOUDEST_ECHO < energy:
        return 0.0
    alike = np.correlate(part, sound, "valid")
    return float((alike * np.linalg.solve(_products(part), alike)).sum()) / energy


def _products(played: Signal) -> Signal:
    """What each delay of a signal shares with each other one, over the time that is compared: shape (taps, taps).

    The element below and to the right of another one covers a time that is one sample later, so only the first row is
    summed up; the others follow along the diagonals. No matrix product: that would wake threads for so little.
    """
    row = np.correlate(played, played[:_COMPARED], "valid")
    gone, come = played[: _TAPS - 1], played[_COMPARED : _COMPARED + _TAPS - 1]
    steps = come[:, None] * come - gone[:, None] * gone
    # Each row is shifted by one against the row above, so that a diagonal becomes a column.
    skewed = np.zeros((_TAPS - 1, 2 * (_TAPS - 1)))
    skewed[:, : _TAPS - 1] = steps[:, ::-1]
    columns = skewed.ravel()[: (_TAPS - 1) * (2 * _TAPS - 3)].reshape(_TAPS - 1, -1).cumsum(axis=0)
    products = row[_DISTANCE]
    products[1:, 1:] += columns[_ROW, _COLUMN]
    products[_SAME] += _LOADING * row[0] + 1e-9
    return products
