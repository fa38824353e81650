"""Sends what Pipecat logs, through loguru, to the logs of the rest of the process.

Pipecat writes what was said into brackets: at debug where all goes well, but in a warning or an error where a frame or
a sentence is what the trouble is about. Above debug nothing in brackets gets through.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

from loguru import logger

if TYPE_CHECKING:
    from loguru import Message

_SAID = re.compile(r"\[.*\]|(?<=\btext: ).*|(?<=\btext=)(['\"]).*\1", re.DOTALL)
_HIDDEN = "[...]"


def route_loguru() -> None:
    """Replaces loguru's own output. Called once, after the process's logs are configured."""
    logger.remove()
    logger.add(_pass_on, level=max(logging.getLogger().getEffectiveLevel(), logging.DEBUG), format="{message}")


def without_speech(text: str) -> str:
    """A log line in which what might have been said is hidden."""
    return _SAID.sub(_HIDDEN, text)


def _pass_on(message: Message) -> None:
    record = message.record
    level = record["level"].no
    if record["name"] == "pipecat":  # it greets when it is imported
        return
    target = logging.getLogger(record["name"] or "loguru")
    error = record["exception"]
    if level <= logging.DEBUG:
        target.log(level, "%s", record["message"], exc_info=error.value if error is not None else None)
        return
    # A traceback may quote what was said, so only the kind of error is told.
    kind = f" ({error.type.__name__})" if error is not None and error.type is not None else ""
    target.log(level // 10 * 10, "%s%s", without_speech(record["message"]), kind)
