"""One call as a WAV file: PCM, 16 bit, 16,000 Hz, the caller left and the agent right, on one clock.

What is written is whole at every moment: a crash leaves a file that plays up to the last quarter of a second.
"""

from __future__ import annotations

import os
import struct
from collections import deque
from pathlib import Path

import numpy as np

from trunkline.core.units import FRAME_SAMPLES, SAMPLE_RATE_HZ, Pcm, s_to_samples

BEHIND_S = 0.3
"""So long after its time sound may still come; then silence is written."""
LEEWAY_SAMPLES = s_to_samples(0.06)
"""Frames that are off by less follow each other without a gap: their times are those of packets."""
MAX_SAMPLES = s_to_samples(3_600.0)
"""A longer call is recorded up to here."""
BYTES = 4
"""Of one sample of both."""

_HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")


class RecordingFile:
    """The file of one call. All methods raise OSError.

    Args:
        path: Goes on where it is there already.
        begun_at: Monotonic seconds of its first sample.
    """

    def __init__(self, path: Path, begun_at: float) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        before = max(0, os.fstat(self._file).st_size - _HEADER.size)
        self._written = before // BYTES
        self._begun_at = begun_at - self._written / SAMPLE_RATE_HZ
        self._caller = _Side(self._written)
        self._agent = _Side(self._written)
        self._said: deque[Pcm] = deque()
        self._held = False
        self._write_header()

    def caller(self, samples: Pcm, ended_at: float) -> None:
        """20 ms that had arrived at this instant."""
        self._caller.put(samples, self._place(ended_at) - FRAME_SAMPLES)

    def agent(self, samples: Pcm, at: float) -> None:
        """What is said after all that was to be said at this instant."""
        self._say_until(at)
        self._said.append(samples)

    def hold(self, held: bool, at: float) -> None:
        """The agent pauses, or goes on."""
        self._say_until(at)
        self._held = held

    def flush(self, at: float) -> None:
        """Nothing is to be said any more."""
        self._say_until(at)
        self._said.clear()
        self._held = False

    def write_until(self, now: float) -> None:
        """Writes what is old enough to be known."""
        self._write(now - BEHIND_S)

    def close(self, at: float) -> None:
        """Writes the rest, up to this instant."""
        try:
            self._write(at)
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Leaves the file as it is."""
        if self._file >= 0:
            file, self._file = self._file, -1
            os.close(file)

    def _place(self, at: float) -> int:
        return s_to_samples(at - self._begun_at)

    def _say_until(self, at: float) -> None:
        """Lays what the agent says up to this instant."""
        missing = min(self._place(at), MAX_SAMPLES) - self._agent.end
        while missing > 0 and self._said and not self._held:
            samples = self._said.popleft()
            if samples.size > missing:
                self._said.appendleft(samples[missing:])
                samples = samples[:missing]
            self._agent.lay(samples)
            missing -= samples.size
        if missing > 0:
            self._agent.lay(np.zeros(missing, np.int16))

    def _write(self, until: float) -> None:
        self._say_until(until)
        end = min(self._place(until), self._agent.end, MAX_SAMPLES)
        count = end - self._written
        if count <= 0:
            return
        both = np.column_stack([self._caller.take(count), self._agent.take(count)])
        data = both.astype("<i2").tobytes()
        at = _HEADER.size + self._written * BYTES
        while data:
            done = os.pwrite(self._file, data, at)
            data, at = data[done:], at + done
        self._written = end
        self._write_header()

    def _write_header(self) -> None:
        size = self._written * BYTES
        os.pwrite(
            self._file,
            _HEADER.pack(
                *(b"RIFF", 36 + size, b"WAVE", b"fmt ", 16, 1, 2),
                *(SAMPLE_RATE_HZ, SAMPLE_RATE_HZ * BYTES, BYTES, 16, b"data", size),
            ),
            0,
        )


class _Side:
    """One channel, from the first sample that is not written yet."""

    def __init__(self, start: int) -> None:
        self._start = start
        self._pieces: deque[Pcm] = deque()
        self.end = start

    def put(self, samples: Pcm, place: int) -> None:
        """Lays samples at their place; what comes too late for it is left out."""
        gap = place - self.end
        if gap > LEEWAY_SAMPLES:
            self.lay(np.zeros(gap, np.int16))
        elif gap < -LEEWAY_SAMPLES:
            return
        self.lay(samples)

    def lay(self, samples: Pcm) -> None:
        """Lays samples after the last."""
        self._pieces.append(samples)
        self.end += samples.size

    def take(self, count: int) -> Pcm:
        """The first so many samples; where there are fewer, silence follows, and counts as laid."""
        laid = np.concatenate([*self._pieces, np.zeros(max(0, self._start + count - self.end), np.int16)])
        self._pieces.clear()
        if laid.size > count:
            self._pieces.append(laid[count:])
        self._start += count
        self.end = max(self.end, self._start)
        return laid[:count]
