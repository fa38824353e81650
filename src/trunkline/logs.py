"""Structured logs, set up once by every process: one JSON object a line, or text for people.

A log line is a constant event name plus fields. The call's id is bound once per session; numbers of callers are masked
with `masked`; what was said is never logged above debug.
"""

from __future__ import annotations

import logging
import sys

import structlog

from trunkline.settings import Settings


def configure_logs(settings: Settings, service: str) -> None:
    """Sends all logs of this process, also those of libraries, to standard error.

    Args:
        settings: LOG_LEVEL and LOG_FORMAT are used.
        service: Bound to every line as `service`.
    """
    level = logging.getLevelNamesMapping()[settings.log_level]
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    renderer: list[structlog.types.Processor] = (
        [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()]
        if settings.log_format == "json"
        else [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in ("httpx", "httpcore", "uvicorn.access", "asyncio"):
        logging.getLogger(noisy).setLevel(max(level, logging.WARNING))
    structlog.contextvars.bind_contextvars(service=service)


def masked(number: str) -> str:
    """A phone number for logs: all but the last two digits hidden."""
    return "*" * max(0, len(number) - 2) + number[-2:]
