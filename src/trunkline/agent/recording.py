"""Keeps what was said in each call as a WAV file, the caller left and the agent right; RECORDINGS_DIR.

Sessions only append to a bounded queue; one thread does the rest, so that no disk holds up a call. When the queue is
full, sound is dropped and counted, and silence stands in its place. The agent is recorded as it is sent: what a
barge-in cut off is not in the file.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from pathlib import Path

import structlog

from trunkline.agent.recording_file import RecordingFile
from trunkline.core.errors import ConfigError
from trunkline.core.units import Pcm
from trunkline.media.engine import CallerFrame

log = structlog.get_logger()

QUEUE_SOUNDS = 30_000
"""100 calls with 50 frames a second each fill it in 6 s."""
GATHER_S = 0.25
CLOSE_S = 5.0
FORGET_EVERY_S = 3_600.0
DAY_S = timedelta(days=1).total_seconds()
REPORT_PAUSE_S = 10.0


class _Act(Enum):
    BEGIN = "begin"
    CALLER = "caller"
    AGENT = "agent"
    PAUSE = "pause"
    RESUME = "resume"
    FLUSH = "flush"
    CLOSE = "close"


@dataclass(frozen=True, slots=True)
class _Step:
    call: str
    act: _Act
    at: float
    samples: Pcm | None = None


class Recording:
    """One call. Its methods never block.

    Args:
        call: Its id.
        put: Takes each step.
        now: Monotonic seconds.
    """

    def __init__(self, call: str, put: Callable[[_Step], None], now: Callable[[], float]) -> None:
        self._call = call
        self._put = put
        self._now = now
        self._step(_Act.BEGIN)

    def caller(self, frame: CallerFrame) -> None:
        """Takes 20 ms of the caller."""
        self._put(_Step(self._call, _Act.CALLER, frame.ended_at, frame.samples))

    def agent(self, samples: Pcm) -> None:
        """Takes what the agent says next; int16, any length, mono, 16000 Hz."""
        self._step(_Act.AGENT, samples)

    def pause(self) -> None:
        """The agent is silent from now on."""
        self._step(_Act.PAUSE)

    def resume(self) -> None:
        """The agent goes on."""
        self._step(_Act.RESUME)

    def flush(self) -> None:
        """What the agent has not said yet it will not say."""
        self._step(_Act.FLUSH)

    def close(self) -> None:
        """The call is over."""
        self._step(_Act.CLOSE)

    def _step(self, act: _Act, samples: Pcm | None = None) -> None:
        self._put(_Step(self._call, act, self._now(), samples))


class Recorder:
    """All recordings of a worker; close it when done.

    Args:
        folder: Made if missing, for its owner alone.
        keep_days: Files that nobody wrote to for so long are deleted; 0: none.
        now: Monotonic seconds.

    Raises:
        ConfigError: the folder can't be written.
    """

    def __init__(self, folder: Path, keep_days: int = 0, now: Callable[[], float] = time.monotonic) -> None:
        self.dropped = 0
        self._folder = folder
        self._keep_days = keep_days
        self._now = now
        self._steps: deque[_Step] = deque()
        self._files: dict[str, RecordingFile] = {}
        self._closing = threading.Event()
        self._report_at = self._forget_at = now()
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            probe = folder / ".writable"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise ConfigError(f"RECORDINGS_DIR {folder}: {error.strerror}") from error
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    def begin(self, call: str) -> Recording:
        """Records a call from now on; one that was recorded before, by another worker, goes on in its file."""
        return Recording(call, self._put, self._now)

    def close(self) -> None:
        """Writes what is queued; blocks for `CLOSE_S` at most."""
        self._closing.set()
        self._thread.join(CLOSE_S)
        if self._thread.is_alive():
            log.error("recordings_not_closed", calls=len(self._files))

    def _put(self, step: _Step) -> None:
        if step.samples is not None and len(self._steps) >= QUEUE_SOUNDS:
            self.dropped += 1
            self._report("queue full")
            return
        self._steps.append(step)

    def _run(self) -> None:
        while not self._closing.wait(GATHER_S):
            self._write_all()
            if self._keep_days and self._now() >= self._forget_at:
                self._forget_at = self._now() + FORGET_EVERY_S
                self._forget()
        self._write_all()
        for call in list(self._files):
            self._attempt(call, _Act.CLOSE, self._now(), None)

    def _write_all(self) -> None:
        for _ in range(len(self._steps)):
            step = self._steps.popleft()
            self._attempt(step.call, step.act, step.at, step.samples)
        now = self._now()
        for call, file in list(self._files.items()):
            try:
                file.write_until(now)
            except OSError as error:
                self._give_up(call, error)

    def _attempt(self, call: str, act: _Act, at: float, samples: Pcm | None) -> None:
        try:
            self._perform(call, act, at, samples)
        except OSError as error:
            self._give_up(call, error)

    def _perform(self, call: str, act: _Act, at: float, samples: Pcm | None) -> None:
        if act is _Act.BEGIN:
            self._files[call] = RecordingFile(self._folder / f"{call}.wav", at)
            return
        file = self._files.get(call)
        if file is None:
            return  # It was given up.
        match act:
            case _Act.CALLER if samples is not None:
                file.caller(samples, at)
            case _Act.AGENT if samples is not None:
                file.agent(samples, at)
            case _Act.PAUSE | _Act.RESUME:
                file.hold(act is _Act.PAUSE, at)
            case _Act.FLUSH:
                file.flush(at)
            case _Act.CLOSE:
                del self._files[call]
                file.close(at)

    def _give_up(self, call: str, error: OSError) -> None:
        """The disk is full, or worse: this call is not recorded any further."""
        file = self._files.pop(call, None)
        if file is not None:
            file.abandon()
        self._report(f"{call}: {error.strerror}")

    def _report(self, problem: str) -> None:
        if self._now() >= self._report_at:
            self._report_at = self._now() + REPORT_PAUSE_S
            log.error("recording_lost", problem=problem, dropped=self.dropped)

    def _forget(self) -> None:
        before_wall = time.time() - self._keep_days * DAY_S
        for path in self._folder.glob("*.wav"):
            try:
                if path.stat().st_mtime < before_wall:
                    path.unlink()
            except OSError as error:
                self._report(f"{path.name}: {error.strerror}")
