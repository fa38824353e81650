"""Voice activity for all calls of a worker, in one run of the Silero model that Pipecat bundles.

In go frames of 20 ms, one stream a call; out come speech probabilities of windows of 512 samples (32 ms). Windows of
several calls that are ready at about the same time share one run: a run of sixteen costs little more than one of four.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib import resources

import numpy as np
import numpy.typing as npt
import onnxruntime

from trunkline.core.units import SAMPLE_RATE_HZ, samples_to_s
from trunkline.media.engine import CallerFrame

WINDOW_SAMPLES = 512
WINDOW_S = samples_to_s(WINDOW_SAMPLES)
GATHER_S = 0.003
"""How long a window waits for those of other calls to share its run."""

_CONTEXT_SAMPLES = 64
_STATE_SIZE = 128

OnWindow = Callable[[float, float], None]
"""Takes the instant of a window's first sample (monotonic seconds) and its speech probability."""


class VoiceStream:
    """One call's audio on its way into the model.

    Args:
        activity: The model that it belongs to.
        on_window: Called for each window, in order.
    """

    def __init__(self, activity: VoiceActivity, on_window: OnWindow) -> None:
        self.on_window = on_window
        self.state = np.zeros((2, _STATE_SIZE), dtype=np.float32)
        self.context = np.zeros(_CONTEXT_SAMPLES, dtype=np.float32)
        self.closed = False
        self._activity = activity
        self._rest = np.zeros(0, dtype=np.int16)

    def feed(self, frame: CallerFrame) -> None:
        """Takes 20 ms; where a window is full, it is scheduled for the next run."""
        self._rest = np.concatenate([self._rest, frame.samples])
        while self._rest.size >= WINDOW_SAMPLES:
            window, self._rest = self._rest[:WINDOW_SAMPLES], self._rest[WINDOW_SAMPLES:]
            started_at = frame.ended_at - samples_to_s(self._rest.size + WINDOW_SAMPLES)
            self._activity.schedule(self, started_at, window.astype(np.float32) / 32768.0)

    def reset(self) -> None:
        """Forgets what was heard; for after a burst, since the model drifts over long streams."""
        self.state = np.zeros_like(self.state)
        self.context = np.zeros_like(self.context)

    def rest(self) -> None:
        """What comes next does not follow on what came last: there was silence between, which nobody listened to."""
        self.reset()
        self._rest = self._rest[:0]

    def close(self) -> None:
        """No window is reported any more."""
        self.closed = True


class VoiceActivity:
    """The model, shared by all calls of a worker. Runs on the event loop: 25 calls take about one millisecond."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.inter_op_num_threads = options.intra_op_num_threads = 1
        model = resources.files("pipecat.audio.vad.data").joinpath("silero_vad.onnx")
        with resources.as_file(model) as path:
            self._session = onnxruntime.InferenceSession(
                str(path), sess_options=options, providers=["CPUExecutionProvider"]
            )
        self._waiting: list[tuple[VoiceStream, float, npt.NDArray[np.float32]]] = []
        self._timer: asyncio.TimerHandle | None = None

    def open(self, on_window: OnWindow) -> VoiceStream:
        """A stream for one call."""
        return VoiceStream(self, on_window)

    def schedule(self, stream: VoiceStream, started_at: float, window: npt.NDArray[np.float32]) -> None:
        """Puts a window (float32, shape (512,), -1 to 1, 16000 Hz) into the next run."""
        self._waiting.append((stream, started_at, window))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GATHER_S, self._run)

    def _run(self) -> None:
        self._timer = None
        waiting, self._waiting = self._waiting, []
        while waiting:
            # Two windows of one call depend on each other, so the second waits for another round.
            batch: dict[VoiceStream, tuple[float, npt.NDArray[np.float32]]] = {}
            later = []
            for stream, started_at, window in waiting:
                if stream in batch:
                    later.append((stream, started_at, window))
                elif not stream.closed:
                    batch[stream] = (started_at, window)
            waiting = later
            if batch:
                self._run_batch(batch)

    def _run_batch(self, batch: dict[VoiceStream, tuple[float, npt.NDArray[np.float32]]]) -> None:
        streams = list(batch)
        windows = np.stack([np.concatenate([stream.context, batch[stream][1]]) for stream in streams])
        states = np.stack([stream.state for stream in streams], axis=1)
        probabilities, new_states = self._session.run(
            None, {"input": windows, "state": states, "sr": np.array(SAMPLE_RATE_HZ, dtype=np.int64)}
        )
        for index, stream in enumerate(streams):
            stream.state = new_states[:, index, :]
            stream.context = windows[index, -_CONTEXT_SAMPLES:]
            stream.on_window(batch[stream][0], float(probabilities[index, 0]))
