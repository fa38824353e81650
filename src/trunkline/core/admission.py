"""Who may come in: the words and times of admission. No I/O, no clock.

Slots are counted inside one Redis script of `orchestrator/registry.py`, so that two callers can't take the last one;
here is what everybody else needs to know of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from trunkline.core.errors import Reason

CALL_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""What a call's id may look like: Twilio's CallSid, or one of ours."""

WORKER_ALIVE_S = 3.0
"""A worker that gave no sign for so long does not count."""

LEASE_S = 5.0
"""How long a worker holds a call without a sign of life."""


@dataclass(frozen=True, slots=True)
class CallTokenClaims:
    """What a verified call token says.

    Args:
        token_id: Its own id; a token opens one call once.
        expires_at: Wall-clock seconds.
    """

    token_id: str
    expires_at: float


class AdmissionRefusedError(Exception):
    """A caller is not let in.

    Args:
        reason: The word that the call ends with.
        detail: In a sentence, for the log; never the token itself.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def is_call_id(text: str) -> bool:
    """True where the text may be a call's id."""
    return CALL_ID.fullmatch(text) is not None
