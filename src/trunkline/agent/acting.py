"""Does what a brain asked for once its answer was heard: keys, transfer, hang-up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog

from trunkline.agent.brains.brain import Action, HangUp, SendDtmf, Transfer
from trunkline.core.errors import MediaError, Termination, UpstreamError
from trunkline.media.engine import MediaLeg

log = structlog.get_logger()

LAST_WORDS_S = 0.6
"""From the last packet handed to the network until the caller has heard it: jitter buffers and the bridge's mixer."""

DTMF_TIMEOUT_S = 5.0


class CallControl(Protocol):
    """What can be done to the call as a whole; the session has it."""

    def hang_up(self) -> None:
        """Ends the call."""
        ...

    def end(self, termination: Termination) -> None:
        """Ends the call in this way."""
        ...

    async def transfer(self, number: str) -> None:
        """Hands the caller over; returns when it is done, which ends the call here. Raises UpstreamError."""
        ...


class Acting:
    """The actions of one call, one after the other.

    Args:
        control: The call as a whole.
        on_transfer_failed: Takes the number that could not be reached.
        on_done: Told when nothing is under way any more.
    """

    def __init__(
        self, control: CallControl, on_transfer_failed: Callable[[str], None], on_done: Callable[[], None]
    ) -> None:
        self._control = control
        self._on_transfer_failed = on_transfer_failed
        self._on_done = on_done
        self._task: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        """True while something is being done: the caller is not waited for then."""
        return self._task is not None and not self._task.done()

    def perform(self, leg: MediaLeg, actions: list[Action]) -> None:
        """Begins with them; those that are still under way are given up for them."""
        if actions:
            self.cancel()
            self._task = asyncio.get_running_loop().create_task(self._perform(leg, actions))
            self._task.add_done_callback(lambda _: self._on_done())

    def cancel(self) -> None:
        """Nothing more is done."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _perform(self, leg: MediaLeg, actions: list[Action]) -> None:
        for action in actions:
            log.info("brain_acts", action=type(action).__name__)
            match action:
                case SendDtmf(digits):
                    await self._send_dtmf(leg, digits)
                case HangUp():
                    await asyncio.sleep(LAST_WORDS_S)
                    self._control.hang_up()
                    return
                case Transfer(number):
                    await asyncio.sleep(LAST_WORDS_S)
                    if not await self._transfer(number):
                        return

    async def _send_dtmf(self, leg: MediaLeg, digits: str) -> None:
        try:
            async with asyncio.timeout(DTMF_TIMEOUT_S):
                await leg.send_dtmf(digits)
        except (MediaError, TimeoutError) as error:
            log.warning("dtmf_not_sent", error=repr(error))

    async def _transfer(self, number: str) -> bool:
        try:
            await self._control.transfer(number)
        except UpstreamError as error:
            log.warning("transfer_failed", error=str(error))
            self._on_transfer_failed(number)
            return False
        return True
