"""The ordered list of stages that one call's words pass through, and the Pipecat task that runs them.

    caller -> CallerInput -> STT -> TurnTaking -> TTS -> AgentOutput -> caller

`describe` prints the chain, so that an error log shows the whole of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from pipecat.frames.frames import ErrorFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.workers.runner import WorkerRunner

from trunkline.core.units import SAMPLE_RATE_HZ

log = structlog.get_logger()

STOP_TIMEOUT_S = 3.0


class CallPipeline:
    """Runs the stages of one call.

    Args:
        stages: Processors in order.
        on_error: Takes a stage's name and its error in one line.
    """

    def __init__(self, stages: Sequence[FrameProcessor], on_error: Callable[[str, str], None]) -> None:
        self._stages = list(stages)
        self._on_error = on_error
        self._task: asyncio.Task[None] | None = None
        self._runner: WorkerRunner | None = None

    def describe(self) -> str:
        """The chain in one line."""
        return " -> ".join(stage.name for stage in self._stages)

    async def start(self, timeout_s: float) -> None:
        """Starts all stages. Raises TimeoutError where one of them does not come up."""
        started = asyncio.Event()
        worker = PipelineWorker(
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
            check_dangling_tasks=False,
        )

        @worker.event_handler("on_pipeline_started")  # type: ignore[untyped-decorator]
        async def _on_started(_worker: Any, _frame: Any) -> None:
            started.set()

        @worker.event_handler("on_pipeline_error")  # type: ignore[untyped-decorator]
        async def _on_pipeline_error(_worker: Any, frame: ErrorFrame) -> None:
            stage = frame.processor.name if frame.processor is not None else "pipeline"
            self._on_error(stage, str(frame.error))

        self._runner = WorkerRunner(handle_sigint=False, check_dangling_tasks=False)
        await self._runner.add_workers(worker)
        self._task = asyncio.get_running_loop().create_task(self._runner.run())
        async with asyncio.timeout(timeout_s):
            await started.wait()

    async def stop(self) -> None:
        """Cancels all stages; returns when they are gone, or after 3 s with an error logged."""
        if self._runner is None or self._task is None:
            return
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await self._runner.cancel()
                await self._task
        except TimeoutError:
            log.error("pipeline_stop_timed_out", chain=self.describe())
            self._task.cancel()
