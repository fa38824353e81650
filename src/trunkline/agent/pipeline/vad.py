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

from trunkline.core.units import FRAME_S, FRAME_SAMPLES, SAMPLE_RATE_HZ, samples_to_s
from trunkline.media.engine import CallerFrame

WINDOW_SAMPLES = 512
WINDOW_S = samples_to_s(WINDOW_SAMPLES)
GATHER_S = 0.003
"""How long a window waits for those of other calls to share its run, where speech may begin with it."""
PATIENCE_S = FRAME_S + GATHER_S
"""And where none can: a tick longer. Each run reads the whole model from memory, so half as many cost much less."""

_CONTEXT_SAMPLES = 64
_STATE_SIZE = 128
_MORE_PLACES = 32
_SCALE = np.float32(1 / 32768)
_RATE = np.array(SAMPLE_RATE_HZ, dtype=np.int64)

OnWindow = Callable[[float, float], None]
"""Takes the instant of a window's first sample (monotonic seconds) and its speech probability."""


class VoiceStream:
    """One call's audio on its way into the model.

    Args:
        activity: The model that it belongs to.
        place: Its place in the model's memory.
        on_window: Called for each window, in order.
    """

    def __init__(self, activity: VoiceActivity, place: int, on_window: OnWindow) -> None:
        self.on_window = on_window
        self.place = place
        self.closed = False
        self._activity = activity
        self._rest = np.zeros(WINDOW_SAMPLES + FRAME_SAMPLES, dtype=np.float32)
        self._held = 0

    def feed(self, frame: CallerFrame, hurry: bool = True) -> None:
        """Takes 20 ms; where a window is full, it is scheduled for the next run, and that soon where there is hurry."""
        rest, held = self._rest, self._held + frame.samples.size
        np.multiply(frame.samples, _SCALE, out=rest[self._held : held])
        if held >= WINDOW_SAMPLES:
            started_at = frame.ended_at - samples_to_s(held)
            self._activity.schedule(self, started_at, rest[:WINDOW_SAMPLES].copy(), hurry)
            held -= WINDOW_SAMPLES
            rest[:held] = rest[WINDOW_SAMPLES : WINDOW_SAMPLES + held]
        self._held = held

    def reset(self) -> None:
        """Forgets what was heard; for after a burst, since the model drifts over long streams."""
        self._activity.forget(self)

    def rest(self) -> None:
        """What comes next does not follow on what came last: there was silence between, which nobody listened to."""
        self.reset()
        self._held = 0

    def close(self) -> None:
        """No window is reported any more."""
        if not self.closed:
            self.closed = True
            self._activity.release(self)


class VoiceActivity:
    """The model, shared by all calls of a worker. Runs on the event loop: 25 calls take about one millisecond.

    What it remembers of all streams lies in one array, so that a run takes out and puts back what it needs at once.
    """

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.inter_op_num_threads = options.intra_op_num_threads = 1
        model = resources.files("pipecat.audio.vad.data").joinpath("silero_vad.onnx")
        with resources.as_file(model) as path:
            self._session = onnxruntime.InferenceSession(
                str(path), sess_options=options, providers=["CPUExecutionProvider"]
            )
        self._states = np.zeros((2, 0, _STATE_SIZE), dtype=np.float32)
        self._contexts = np.zeros((0, _CONTEXT_SAMPLES), dtype=np.float32)
        self._free: list[int] = []
        self._waiting: list[tuple[VoiceStream, float, npt.NDArray[np.float32]]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._due_at = 0.0

    def open(self, on_window: OnWindow) -> VoiceStream:
        """A stream for one call."""
        if not self._free:
            place = len(self._contexts)
            self._states = np.pad(self._states, ((0, 0), (0, _MORE_PLACES), (0, 0)))
            self._contexts = np.pad(self._contexts, ((0, _MORE_PLACES), (0, 0)))
            self._free = list(range(place, place + _MORE_PLACES))
        stream = VoiceStream(self, self._free.pop(), on_window)
        self.forget(stream)
        return stream

    def forget(self, stream: VoiceStream) -> None:
        """The stream's next window is heard as the first one."""
        self._states[:, stream.place] = 0.0
        self._contexts[stream.place] = 0.0

    def release(self, stream: VoiceStream) -> None:
        """The stream's place is another one's."""
        self._free.append(stream.place)

    def schedule(self, stream: VoiceStream, started_at: float, window: npt.NDArray[np.float32], hurry: bool) -> None:
        """Puts a window (float32, shape (512,), -1 to 1, 16000 Hz) into the next run."""
        self._waiting.append((stream, started_at, window))
        loop = asyncio.get_running_loop()
        due_at = loop.time() + (GATHER_S if hurry else PATIENCE_S)
        if self._timer is not None:
            if due_at >= self._due_at:
                return
            self._timer.cancel()
        self._timer, self._due_at = loop.call_at(due_at, self._run), due_at

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
        places = [stream.place for stream in batch]
        windows = np.empty((len(batch), _CONTEXT_SAMPLES + WINDOW_SAMPLES), dtype=np.float32)
        windows[:, :_CONTEXT_SAMPLES] = self._contexts[places]
        for row, (_, window) in enumerate(batch.values()):
            windows[row, _CONTEXT_SAMPLES:] = window
        inputs = {"input": windows, "state": self._states[:, places], "sr": _RATE}
        probabilities, states = self._session.run(None, inputs)
        self._states[:, places] = states
        self._contexts[places] = windows[:, -_CONTEXT_SAMPLES:]
        # Told when all is put back: who is told may have its stream forget.
        for (stream, (started_at, _)), probability in zip(batch.items(), probabilities[:, 0].tolist(), strict=True):
            stream.on_window(started_at, probability)
