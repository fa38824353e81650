"""What is read out of a recognizer's frames."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from pipecat.frames.frames import InterimTranscriptionFrame

from trunkline.agent.pipeline.turn_taking import confidence_of

pytestmark = pytest.mark.unit

DEEPGRAM = SimpleNamespace(channel=SimpleNamespace(alternatives=[SimpleNamespace(confidence=0.8)]))
ASSEMBLYAI = SimpleNamespace(words=[SimpleNamespace(confidence=0.9), SimpleNamespace(confidence=0.4)])


@pytest.mark.parametrize(
    ("message", "confidence"),
    [
        (DEEPGRAM, 0.8),
        (ASSEMBLYAI, 0.4),
        (None, 1.0),
        (SimpleNamespace(words=[]), 1.0),
        (SimpleNamespace(channel=SimpleNamespace(alternatives=[])), 1.0),
        (SimpleNamespace(words=[SimpleNamespace(confidence=None)]), 1.0),
    ],
)
def test_a_partial_is_as_sure_as_its_recognizer_says(message: Any, confidence: float) -> None:
    assert confidence_of(InterimTranscriptionFrame("hello", "", "", result=message)) == confidence
