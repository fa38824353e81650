"""Finds the recordings that the workers keep in RECORDINGS_DIR."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from trunkline.core.events import is_call_id


class Recordings:
    """The recordings of one folder.

    Args:
        folder: None: nothing is recorded.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def find(self, call: str) -> Path | None:
        """A call's recording, or None where there is none. A call's id has no slash and does not begin with a dot."""
        if self._folder is None or not is_call_id(call):
            return None
        path = self._folder / f"{call}.wav"
        try:
            # A link may lead anywhere.
            return path if stat.S_ISREG(os.lstat(path).st_mode) else None
        except OSError:
            return None
