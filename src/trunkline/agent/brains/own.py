"""BRAIN=module:Class: somebody's own brain, in a thread of its own for each call.

Code that blocks, such as `requests.get` or `time.sleep`, then holds up its own call and no other; where it blocks for
too long, that is a brain that hangs like any other.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from trunkline.agent.brains.brain import Action, Answer, Brain, Call
from trunkline.core.errors import ConfigError

log = structlog.get_logger()


def import_brain(name: str) -> type[Brain]:
    """The class that MODULE:CLASS names; the working directory is looked in, too.

    Raises:
        ConfigError: it is not there, can't be imported, or is no brain.
    """
    module_name, _, class_name = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise ConfigError(f"BRAIN={name}: can't import {module_name}: {error!r}") from error
    found = getattr(module, class_name, None)
    if not (inspect.isclass(found) and issubclass(found, Brain)):
        raise ConfigError(f"BRAIN={name}: {module_name} has no Brain of that name", "see docs/brains.md")
    if inspect.isabstract(found):
        raise ConfigError(f"BRAIN={name}: {class_name} has no reply", "see docs/brains.md")
    return found


def _run(loop: asyncio.AbstractEventLoop) -> None:
    """The thread of one brain."""
    try:
        loop.run_forever()
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


class OwnBrain(Brain):
    """Somebody's own brain of one call; its thread starts when it is first asked.

    Args:
        make: Makes it, in that thread.
        listen: How it wants to listen at first.
    """

    def __init__(self, make: Callable[[], Brain], listen: Any = Brain.listen) -> None:
        self.listen = listen
        self._make = make
        self._brain: Brain | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def greet(self, call: Call) -> Answer:
        """Relayed."""
        return self._relay("greet", call)

    def reply(self, call: Call, words: str) -> Answer:
        """Relayed."""
        return self._relay("reply", call, words)

    def on_keys(self, call: Call, keys: str) -> Answer:
        """Relayed."""
        return self._relay("on_keys", call, keys)

    def on_silence(self, call: Call) -> Answer:
        """Relayed."""
        return self._relay("on_silence", call)

    def on_transfer_failed(self, call: Call, number: str) -> Answer:
        """Relayed."""
        return self._relay("on_transfer_failed", call, number)

    def close(self) -> None:
        """Ends the thread, once what it is doing lets it."""
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.call_soon_threadsafe(self._stop, loop)

    async def _relay(self, method: str, call: Call, *args: str) -> Answer:
        """The answer of the brain in its thread; one item at a time crosses over."""
        here = asyncio.get_running_loop()
        items: asyncio.Queue[str | Action | Exception | None] = asyncio.Queue(1)
        # The thread must not see the history change under its hands.
        seen = replace(call, history=list(call.history))

        async def hand_over(item: str | Action | Exception | None) -> None:
            # After blocking: we may have been cancelled meanwhile, and nobody be there any more.
            await asyncio.sleep(0)
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(items.put(item), here))

        async def answer() -> None:
            try:
                self._brain = self._brain or self._make()
                async for item in getattr(self._brain, method)(seen, *args):
                    await hand_over(item)
                await hand_over(None)
            except Exception as error:  # noqa: BLE001 (handed over, and raised there)
                await hand_over(error)

        answering = asyncio.run_coroutine_threadsafe(answer(), self._thread_loop())
        try:
            while (item := await items.get()) is not None:
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            answering.cancel()

    def _thread_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            # A daemon: a brain that blocks for ever must not keep the worker from its end.
            threading.Thread(target=_run, args=(self._loop,), name="brain", daemon=True).start()
        return self._loop

    def _stop(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            if self._brain is not None:
                self._brain.close()
        except Exception as error:  # noqa: BLE001 (somebody else's brain; the call is over anyway)
            log.error("brain_close_failed", error=repr(error))
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.call_soon(loop.stop)
