"""What all of a call's own Pipecat processors have in common: they cost little.

A frame goes straight on to the next processor, without a queue and a task in each, and no observer is told of it:
a call has none.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pipecat.processors.frame_processor import FrameProcessor, FrameProcessorSetup


class Stage(FrameProcessor):
    """A processor of ours."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(enable_direct_mode=True, **kwargs)

    async def setup(self, setup: FrameProcessorSetup) -> None:  # type: ignore[override]
        """Takes the pipeline's set-up, but for the observer."""
        await super().setup(replace(setup, observer=None))
