"""What the simulated phone tells about a call, as read from its lines of JSON; whoever talks on a line gets these.

Instants are microseconds of `CLOCK_MONOTONIC`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True)
class Ringing:
    """The other side rings."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The call is up.

    Args:
        at_us: When.
        codec: PCMU, PCMA or G722.
        recording_us: Instant of the recording's first sample.
    """

    at_us: int
    codec: str
    recording_us: int


@dataclass(frozen=True, slots=True)
class EarlyMedia:
    """The other side can be heard before it answers; arguments as for `Answered`."""

    at_us: int
    codec: str
    recording_us: int


@dataclass(frozen=True, slots=True)
class MediaChanged:
    """The other side moved, changed the codec, or held or resumed the call.

    Args:
        at_us: When.
        codec: The one in use from now on.
        direction: As we see it: sendrecv, sendonly, recvonly or inactive. What is played waits where we don't send.
    """

    at_us: int
    codec: str
    direction: str


@dataclass(frozen=True, slots=True)
class KeyHeard:
    """The other side pressed a key."""

    at_us: int
    digit: str


@dataclass(frozen=True, slots=True)
class PlayStart:
    """The first sound of a WAV left the phone."""

    id: str
    at_us: int


@dataclass(frozen=True, slots=True)
class PlayEnd:
    """A WAV is over; its last sound left the phone at `speech_end_us`."""

    id: str
    at_us: int
    speech_end_us: int


@dataclass(frozen=True, slots=True)
class HeardStart:
    """A sound reached the ear, after 200 ms of quiet."""

    at_us: int
    level_dbfs: float


@dataclass(frozen=True, slots=True)
class HeardStop:
    """The last sound reached the ear at `at_us`; it has been quiet for 200 ms."""

    at_us: int


@dataclass(frozen=True, slots=True)
class Referred:
    """The other side transferred us to this address, and was told that we reached it."""

    to: str


@dataclass(frozen=True, slots=True)
class CallEnded:
    """The call is over.

    Args:
        by: caller, agent or error.
        reason: In a few words.
        status: SIP status where the call was refused before it was answered, else 0.
        stats: Packets sent, received, lost and so on; `gaps` between arrivals, and `speech_gaps`, those while the agent
            was heard, each with count, long (60 ms or more), p50_ms, p99_ms and max_ms.
    """

    by: str
    reason: str
    status: int = 0
    stats: dict[str, Any] = field(default_factory=dict)


PhoneEvent: TypeAlias = (
    Ringing
    | EarlyMedia
    | Answered
    | MediaChanged
    | PlayStart
    | PlayEnd
    | HeardStart
    | HeardStop
    | KeyHeard
    | Referred
    | CallEnded
)


def read_event(message: dict[str, Any]) -> PhoneEvent | None:
    """An event of the program's; None for those that tell nothing about a call's course."""
    reader = _READERS.get(str(message.get("ev")))
    return reader(message) if reader is not None else None


_READERS: dict[str, Callable[[dict[str, Any]], PhoneEvent]] = {
    "ringing": lambda _: Ringing(),
    "early_media": lambda m: EarlyMedia(_at(m), str(m.get("codec", "")), int(m.get("recording_us", _at(m)))),
    "answered": lambda m: Answered(_at(m), str(m.get("codec", "")), int(m.get("recording_us", _at(m)))),
    "media_changed": lambda m: MediaChanged(_at(m), str(m.get("codec", "")), str(m.get("direction", ""))),
    "dtmf": lambda m: KeyHeard(_at(m), str(m.get("digit", ""))),
    "play_start": lambda m: PlayStart(str(m.get("id", "")), _at(m)),
    "play_end": lambda m: PlayEnd(str(m.get("id", "")), _at(m), int(m.get("speech_end_us", _at(m)))),
    "heard_start": lambda m: HeardStart(_at(m), float(m.get("level_dbfs", 0.0))),
    "heard_stop": lambda m: HeardStop(_at(m)),
    "refer": lambda m: Referred(str(m.get("to", ""))),
    "ended": lambda m: CallEnded(str(m.get("by", "")), str(m.get("reason", "")), stats=dict(m.get("stats") or {})),
    "refused": lambda m: CallEnded("agent", str(m.get("reason", "")), status=int(m.get("status", 0))),
    "failed": lambda m: CallEnded("error", str(m.get("reason", ""))),
}


def _at(message: dict[str, Any]) -> int:
    return int(message.get("at_us", 0))
