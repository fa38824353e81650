"""Pipecat's Whisper on the worker's own processor or GPU, with one model for all its calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipecat.services.whisper.stt import WhisperSTTService

_models: dict[str, Any] = {}


class SharedWhisperSTTService(WhisperSTTService):
    """Pipecat's service, except that a model is loaded once: each takes hundreds of megabytes, and seconds.

    Args:
        model: Folder with a model of faster-whisper's.
    """

    def __init__(self, model: Path, **kwargs: Any) -> None:
        settings = WhisperSTTService.Settings(model=str(model))
        self._path = str(model)
        super().__init__(settings=settings, audio_passthrough=False, **kwargs)

    def _load(self) -> None:
        if self._path not in _models:
            super()._load()  # type: ignore[no-untyped-call]
            _models[self._path] = self._model
        self._model = _models[self._path]
