"""The ordered list of stages that one call's words pass through, and the Pipecat task that runs them.

    caller -> CallerInput -> STT -> TurnTaking -> TTS -> AgentOutput -> caller

`describe` prints the chain, so that an error log shows the whole of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from pipecat.frames.frames import ErrorFrame, Frame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.utils.asyncio.task_manager import TaskManager
from pipecat.workers.base_worker import WorkerParams

from trunkline.core.errors import AgentError, SpeechLostError
from trunkline.core.units import SAMPLE_RATE_HZ

log = structlog.get_logger()

CANCEL_TIMEOUT_S = 1.0
"""Longest way of the CancelFrame through all stages; one that holds it is cleaned up without it."""

STOP_TIMEOUT_S = 3.0
"""Longest wait for all stages to clean up."""


class CallPipeline:
    """Runs the stages of one call.

    Pipecat's own runner is not used: it brings a message bus with it, and swallows a cancellation.

    Args:
        stages: Processors in order.
        on_error: Takes a stage's name and its error in one line.
        on_lost: Takes the error of a stage that can't go on, and without which the call can't.
    """

    def __init__(
        self,
        stages: Sequence[FrameProcessor],
        on_error: Callable[[str, str], None],
        on_lost: Callable[[SpeechLostError], None] | None = None,
    ) -> None:
        self._stages = list(stages)
        self._on_error = on_error
        self._on_lost = on_lost
        self._tasks: TaskManager | None = None
        self._worker: PipelineWorker | None = None
        self._run: asyncio.Task[None] | None = None

    def describe(self) -> str:
        """The chain in one line."""
        return " -> ".join(stage.name for stage in self._stages)

    async def start(self, timeout_s: float) -> None:
        """Starts all stages. Raises TimeoutError where one does not come up, AgentError where the pipeline gives up.

        On failure or cancel, `stop` releases what was started.
        """
        started = asyncio.Event()
        worker = self._worker = PipelineWorker(
            Pipeline(self._stages),
            params=PipelineParams(
                audio_in_sample_rate=SAMPLE_RATE_HZ,
                audio_out_sample_rate=SAMPLE_RATE_HZ,
                send_initial_empty_metrics=False,
            ),
            enable_rtvi=False,
            enable_turn_tracking=False,
            idle_timeout_secs=None,
            cancel_on_idle_timeout=False,
            cancel_timeout_secs=CANCEL_TIMEOUT_S,
            check_dangling_tasks=False,
        )

        @worker.event_handler("on_pipeline_started")  # type: ignore[untyped-decorator]
        async def _on_started(_worker: Any, _frame: Any) -> None:
            started.set()

        @worker.event_handler("on_pipeline_error")  # type: ignore[untyped-decorator]
        async def _on_pipeline_error(_worker: Any, frame: ErrorFrame) -> None:
            stage = frame.processor.name if frame.processor is not None else "pipeline"
            self._on_error(stage, str(frame.error))
            if isinstance(frame.exception, SpeechLostError) and self._on_lost is not None:
                self._on_lost(frame.exception)

        loop = asyncio.get_running_loop()
        self._tasks = TaskManager()
        self._run = loop.create_task(worker.run(WorkerParams(task_manager=self._tasks)))
        starting = loop.create_task(started.wait())
        try:
            await asyncio.wait({starting, self._run}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            starting.cancel()
        if started.is_set():
            return
        if self._run.done():
            raise AgentError(f"the pipeline did not start: {self.describe()}")
        raise TimeoutError

    async def feed(self, frame: Frame) -> None:
        """Lets a frame in at the first stage."""
        assert self._worker is not None, "the pipeline was not started"
        await self._worker.queue_frame(frame)

    async def stop(self) -> None:
        """Cancels all stages; returns when they are gone, or with an error logged after the time limits."""
        if self._worker is None or self._run is None or self._tasks is None:
            return
        await self._worker.cancel()
        await asyncio.wait({self._run}, timeout=STOP_TIMEOUT_S)
        # Pipecat's tasks may swallow a cancellation, so nothing is awaited without a limit here.
        left = {task for task in (self._run, *self._tasks.current_tasks()) if not task.done()}
        if left:
            log.error("pipeline_stop_timed_out", chain=self.describe(), tasks=sorted(t.get_name() for t in left))
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=CANCEL_TIMEOUT_S)
        if self._run.done() and not self._run.cancelled() and (error := self._run.exception()) is not None:
            log.error("pipeline_failed", chain=self.describe(), error=repr(error))
