"""Tells the metrics collector who was not let in, and why. Never waited for; the doors call `tell`."""

from __future__ import annotations

import socket

from trunkline.core import wire
from trunkline.core.events import is_call_id
from trunkline.marks import MarkSender
from trunkline.settings import Settings

_DOORS = {"twilio": wire.Door.PHONE, "livekit": wire.Door.BRIDGE, "call": wire.Door.PAGE, "workers": None}
NO_REFUSALS = frozenset({404, 409})
"""Answers to a question about something that is not there, or not any more."""


class Refusals:
    """Those of one orchestrator.

    Raises:
        ConfigError: METRICS_ENDPOINT is no address.
    """

    def __init__(self, settings: Settings) -> None:
        self._host = socket.gethostname()
        self._sender = MarkSender(
            settings.metrics_endpoint, settings.metrics_transport, f"orchestrator-{self._host}"[:100]
        )

    def tell(self, door: wire.Door, reason: str, call: str | None = None) -> None:
        """Somebody was not let in.

        Args:
            reason: The word that they were told.
            call: Where it is known.
        """
        known = call if call and is_call_id(call) else ""
        self._sender.send(wire.RefusalRecord(sender="", seq=0, host=self._host, door=door, reason=reason, call=known))

    def tell_answer(self, path: str, status: int, reason: str, call: str = "") -> None:
        """A request was answered with an error: told where that kept somebody out.

        Workers are not callers: what they refuse and are refused is in the calls' own records.
        """
        door = _DOORS.get(path.strip("/").split("/")[0], wire.Door.API)
        if door is not None and status not in NO_REFUSALS:
            self.tell(door, reason, call)

    def close(self) -> None:
        """Tells nothing any more."""
        self._sender.close()
