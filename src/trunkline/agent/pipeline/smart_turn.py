"""Whether the caller has finished, by the sound of the sentence: Pipecat's bundled smart-turn model, for all calls.

In goes the sound of one burst at the moment at which it falls silent; out comes the probability that it is finished,
by a callback on the event loop. A verdict takes 60 to 80 ms of one core, so it is made on a thread beside the loop:
all that wait share its next run. Who can't be judged in time is not waited for: the hangover decides as without it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import resources

import numpy as np
import numpy.typing as npt
import onnxruntime
import structlog
from pipecat.audio.turn.smart_turn._whisper_features import compute_whisper_log_mel_features

from trunkline.core.units import SAMPLE_RATE_HZ, Pcm

log = structlog.get_logger()

HEARD_S = 8.0
"""The model hears so much, the end of it where there is more."""
MAX_WAITING = 16
"""Questions that wait; with one more, the oldest is dropped: its caller has been silent longest."""
MAX_BATCH = 4
"""Questions of one run; more in one would keep the first waiting for the last."""
FINISHED = 0.5
"""From this probability on the caller has finished."""

_SAMPLES = round(HEARD_S * SAMPLE_RATE_HZ)

OnVerdict = Callable[[float], None]
"""Takes the probability that the caller has finished."""


@dataclass(slots=True, eq=False)
class Question:
    """One burst that fell silent.

    Args:
        samples: int16, mono, 16000 Hz.
        on_verdict: Called once, unless it is withdrawn or dropped.
        withdrawn: True where the answer is not wanted any more.
    """

    samples: Pcm
    on_verdict: OnVerdict
    withdrawn: bool = False


class SmartTurn:
    """The model, shared by all calls of a worker."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.inter_op_num_threads = options.intra_op_num_threads = 1
        model = resources.files("pipecat.audio.turn.smart_turn.data").joinpath("smart-turn-v3.2-cpu.onnx")
        with resources.as_file(model) as path:
            self._session = onnxruntime.InferenceSession(
                str(path), sess_options=options, providers=["CPUExecutionProvider"]
            )
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="smart-turn")
        self._waiting: deque[Question] = deque()
        self._running: asyncio.Future[npt.NDArray[np.float32]] | None = None
        self._closed = False
        self.dropped = 0

    def ask(self, samples: Pcm, on_verdict: OnVerdict) -> Question:
        """Asks about a burst: int16, any length, mono, 16000 Hz. To withdraw the question, set `withdrawn`."""
        question = Question(samples[-_SAMPLES:], on_verdict)
        if not self._closed:
            if len(self._waiting) == MAX_WAITING:
                self._waiting.popleft()
                self.dropped += 1
            self._waiting.append(question)
            self._run_next()
        return question

    def close(self) -> None:
        """No verdict comes any more; the thread ends with what it is doing."""
        self._closed = True
        self._waiting.clear()
        self._thread.shutdown(wait=False)

    def _run_next(self) -> None:
        if self._running is not None:
            return
        batch: list[Question] = []
        while self._waiting and len(batch) < MAX_BATCH:
            question = self._waiting.popleft()
            if not question.withdrawn:
                batch.append(question)
        if batch:
            loop = asyncio.get_running_loop()
            self._running = loop.run_in_executor(self._thread, self._judge, [each.samples for each in batch])
            self._running.add_done_callback(lambda done: self._tell(batch, done))

    def _tell(self, batch: list[Question], done: asyncio.Future[npt.NDArray[np.float32]]) -> None:
        self._running = None
        if self._closed or done.cancelled():
            return
        if (error := done.exception()) is not None:
            log.error("smart_turn_failed", error=repr(error))
        else:
            for question, probability in zip(batch, done.result(), strict=True):
                if not question.withdrawn:
                    question.on_verdict(float(probability))
        self._run_next()

    def _judge(self, bursts: list[Pcm]) -> npt.NDArray[np.float32]:
        """Runs on the thread. Returns a probability for each burst."""
        features = [compute_whisper_log_mel_features(_padded(samples)) for samples in bursts]
        verdicts = self._session.run(None, {"input_features": np.stack(features)})[0]
        probabilities: npt.NDArray[np.float32] = np.asarray(verdicts, dtype=np.float32)[:, 0]
        return probabilities


def _padded(samples: Pcm) -> npt.NDArray[np.float32]:
    """The burst at the end of 8 s, silence before it."""
    padded = np.zeros(_SAMPLES, dtype=np.float32)
    if samples.size:
        padded[-samples.size :] = samples.astype(np.float32) / 32768.0
    return padded
