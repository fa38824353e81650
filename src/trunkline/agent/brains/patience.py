"""Time limits for a brain: on its first word, and on each one after."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import structlog

from trunkline.agent.brains.brain import Action, Answer

log = structlog.get_logger()

STOP_S = 0.5
"""How long a brain may take to stop when its answer is not wanted any more."""

_stubborn: set[asyncio.Task[None]] = set()


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a brain may think.

    Args:
        first_s: Until the first sentence or action.
        next_s: Until each one after it.
    """

    first_s: float = 5.0
    next_s: float = 5.0


class BrainTimeoutError(Exception):
    """A brain yields nothing.

    Args:
        limit_s: After so many seconds it was given up.
        begun: True where a part of the answer had come before.
    """

    def __init__(self, limit_s: float, begun: bool) -> None:
        super().__init__(f"{'nothing more' if begun else 'no word'} within {limit_s:g} s")


async def patiently(answer: Answer, patience: Patience) -> AsyncIterator[str | Action]:
    """The same answer, within time limits. Raises BrainTimeoutError, and whatever the brain raises.

    A brain that does not stop when it is told to is left behind, and logged.
    """
    # One item of room: the brain is at work on the next sentence while this one is handed on.
    items: asyncio.Queue[str | Action | Exception | None] = asyncio.Queue(1)

    async def pump() -> None:
        try:
            async with contextlib.aclosing(answer):  # type: ignore[type-var]
                async for item in answer:
                    await items.put(item)
            await items.put(None)
        except Exception as error:  # noqa: BLE001 (handed on, and raised there)
            await items.put(error)

    pumping = asyncio.get_running_loop().create_task(pump())
    limit_s, begun = patience.first_s, False
    try:
        while True:
            try:
                async with asyncio.timeout(limit_s):
                    item = await items.get()
            except TimeoutError:
                raise BrainTimeoutError(limit_s, begun) from None
            if isinstance(item, Exception):
                raise item
            if item is None:
                return
            yield item
            limit_s, begun = patience.next_s, True
    finally:
        await _stop(pumping)


async def _stop(pumping: asyncio.Task[None]) -> None:
    pumping.cancel()
    await asyncio.wait({pumping}, timeout=STOP_S)
    if not pumping.done():
        log.error("brain_does_not_stop", limit_s=STOP_S)
        _stubborn.add(pumping)
        pumping.add_done_callback(_stubborn.discard)
