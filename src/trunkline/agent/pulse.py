"""Tells the metrics collector once a second how a worker fares: its calls, its event loop, the frames it missed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

import structlog

from trunkline.core import wire
from trunkline.core.errors import MediaError
from trunkline.core.units import s_to_us
from trunkline.media.engine import MediaStats

log = structlog.get_logger()

BEAT_S = 0.05
"""The loop is looked at so often: what holds it for longer is seen, and 20 timers a second cost nothing."""
BEATS = 20


class Counting(Protocol):
    """The media engine, as seen from here."""

    async def stats(self) -> MediaStats:
        """What it counted. Raises MediaError."""
        ...


class RecordSink(Protocol):
    """Where records go."""

    def send(self, record: wire.WorkerRecord) -> None:
        """Takes a record; the sink numbers it."""
        ...


class Pulse:
    """One worker's.

    Args:
        worker: Its id.
        host: Name of this machine.
        engine: Counts ticks.
        marks: Takes the records.
        load: Calls now, calls it takes, and whether it drains.
        providers: Each provider's breaker, by name.
        now: Monotonic seconds; tests pass made-up time.
    """

    def __init__(
        self,
        worker: str,
        host: str,
        engine: Counting,
        marks: RecordSink,
        load: Callable[[], tuple[int, int, bool]],
        *,
        providers: Callable[[], dict[str, str]] = dict,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._worker = worker
        self._host = host
        self._engine = engine
        self._marks = marks
        self._load = load
        self._providers = providers
        self._now = now
        self._stats = MediaStats()

    async def run(self) -> None:
        """Goes on until it is cancelled."""
        while True:
            lag_s = 0.0
            for _ in range(BEATS):
                due = self._now() + BEAT_S
                await asyncio.sleep(BEAT_S)
                lag_s = max(lag_s, self._now() - due)
            try:
                self._stats = await self._engine.stats()
            except MediaError as error:
                # It is being started again: what it had counted stays told until then.
                log.debug("engine_stats_missing", error=str(error))
            self._tell(lag_s)

    def _tell(self, lag_s: float) -> None:
        calls, capacity, draining = self._load()
        self._marks.send(
            wire.WorkerRecord(
                sender=self._worker,
                seq=0,
                host=self._host,
                worker=self._worker,
                calls=calls,
                capacity=capacity,
                draining=draining,
                loop_lag_us=s_to_us(max(0.0, lag_s)),
                late_ticks=self._stats.late_ticks,
                dropped_ticks=self._stats.dropped_ticks,
                providers=self._providers(),
            )
        )
