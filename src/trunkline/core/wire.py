"""What services say to each other: the records and messages that cross a process border.

Written by one service and read by another, as JSON; unknown fields are ignored by readers, so that versions may
differ by one during an upgrade. Instants end in `_us` and are whole microseconds of `CLOCK_MONOTONIC` on the
machine that `host` names: subtract only instants of the same host.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

WIRE_VERSION = 1

MAX_DATAGRAM_BYTES = 8_192
"""The longest metrics event; a longer one is refused by the collector."""

CALL_TOKEN_HEADER = "x-call-token"  # noqa: S105 (the header's name, not a secret)
"""SIP header that carries the call token. Twilio only forwards names that start with x-."""

CALL_TOKEN_ATTRIBUTE = "call.token"  # noqa: S105
"""Participant attribute under which livekit-sip shows that header in the room."""

CALLER_ATTRIBUTE = "sip.phoneNumber"
"""Participant attribute under which livekit-sip shows the number that calls."""

CALL_TOKEN_AUDIENCE = "trunkline-call"  # noqa: S105

ROOM_PREFIX = "room-"

SHARED_ROOM_PREFIX = "room-shared-"
"""Of rooms in which several calls take place, each with an agent of its own; their calls' ids are not in the name."""


class Mark(StrEnum):
    """The instants of one turn, in the order of a usual turn."""

    SPEECH_START = "SpeechStart"
    """First frame of the caller's speech, not the moment a detector was sure of it."""
    STT_PARTIAL = "STTPartial"
    SPEECH_END = "SpeechEnd"
    """Last frame of the caller's speech."""
    STT_FINAL = "STTFinal"
    PREPARED = "Prepared"
    """The answer that was heard was begun before the turn had ended."""
    RELEASED = "Released"
    """The turn ended, and the answer that was prepared could be heard."""
    AGENT_DECISION = "AgentDecision"
    """The reply's first text is known."""
    TTS_FIRST_BYTE = "TTSFirstByte"
    PLAYBACK_START = "PlaybackStart"
    """First packet of the answer handed to the network."""
    REMOTE_PLAYOUT = "RemotePlayout"
    """First sound of the answer at the caller's ear; on the caller's clock."""
    BARGE_IN = "BargeIn"
    """First frame of the speech that interrupted the answer."""
    PLAYBACK_STOP = "PlaybackStop"
    """Last packet of the answer handed to the network."""


class TurnOutcome(StrEnum):
    """What became of the agent's answer to a turn."""

    ANSWERED = "answered"
    INTERRUPTED = "interrupted"
    UNANSWERED = "unanswered"


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnRecord:
    """One turn of a call, as the agent saw it. Sent to the collector when the turn is over."""

    sender: str
    seq: int
    host: str
    worker: str
    call: str
    turn: int
    policy: str
    outcome: TurnOutcome
    marks_us: dict[Mark, int]
    understood: str = ""
    answer: str = ""
    heard: str = ""
    """The words of the answer that the caller heard, up to the last whole one."""
    heard_samples: int = 0
    type: str = "turn"
    v: int = WIRE_VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRecord:
    """One call, as the agent saw it. Sent to the collector when the call is over."""

    sender: str
    seq: int
    host: str
    worker: str
    call: str
    room: str
    kind: str
    engine: str
    started_us: int
    answered_us: int | None
    ended_us: int
    result: str
    reason: str
    turns: int
    barge_ins: int
    type: str = "call"
    v: int = WIRE_VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class HeardRecord:
    """One turn at the caller's ear, measured by whoever plays the caller. Sent once the answer is heard.

    `heard_us` is the turn's RemotePlayout. All three instants are the caller's, whose machine `host` names.
    """

    sender: str
    seq: int
    host: str
    call: str
    turn: int
    speech_start_us: int
    speech_end_us: int
    heard_us: int
    type: str = "heard"
    v: int = WIRE_VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRecord:
    """How a worker fares. Sent to the collector once a second, with or without calls.

    The two counts run since the worker's start, so that a record that is lost hides nothing.
    """

    sender: str
    seq: int
    host: str
    worker: str
    calls: int
    capacity: int
    """Calls it takes; take-overs may bring more."""
    draining: bool
    loop_lag_us: int
    """By how much a timer of its event loop was late, at worst since the last record."""
    late_ticks: int
    """Ticks of 20 ms that came late to the media engine."""
    dropped_ticks: int
    """Ticks that the worker was too slow to take."""
    providers: dict[str, str] = field(default_factory=dict)
    """Each provider's breaker, by name: "stt:deepgram" -> "open"."""
    type: str = "worker"
    v: int = WIRE_VERSION


class Door(StrEnum):
    """Where somebody asked to be let in."""

    PHONE = "phone"
    """Twilio's webhooks."""
    BRIDGE = "bridge"
    """A room that a phone came into by livekit-sip, and LiveKit's webhook that tells of it."""
    API = "api"
    """Tokens and control, with an API key."""
    PAGE = "page"
    """The page /call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalRecord:
    """Somebody was not let in by the orchestrator. Sent to the collector at once.

    What a worker refuses (a call token that does not prove the caller) is in the end of its `CallRecord`.
    """

    sender: str
    seq: int
    host: str
    door: str
    reason: str
    """The word that whoever was refused was told."""
    call: str = ""
    """Where it is known, and known to be no invention."""
    type: str = "refusal"
    v: int = WIRE_VERSION


class CallKind(StrEnum):
    """The door a call came in by."""

    PHONE = "phone"
    WEBRTC = "webrtc"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A call is given to a worker, over the worker's socket. The worker signs its own token for the room."""

    call: str
    room: str
    v: int = WIRE_VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRefusal:
    """The worker's answer to a job that it does not take, over the same socket; one that it takes has no answer."""

    call: str
    room: str
    reason: str
    """draining or full."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldLease:
    """A call that a worker believes it holds."""

    call: str
    fence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """A worker's sign of life, once a second; extends the leases of all its calls."""

    soft_capacity: int
    hard_capacity: int
    calls: list[HeldLease] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatReply:
    """Which of the worker's calls are no longer its own: it leaves them without a word."""

    lost: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRequest:
    """A worker asks to hold a call for which it was given a job."""

    worker: str
    room: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The worker holds the call. Every later write about it carries `fence`."""

    call: str
    room: str
    kind: CallKind
    fence: int
    admitted: bool
    """True where an earlier worker already admitted this caller: no token is asked again."""
    participant: str = ""
    """Who the caller is, where that is known: others may be in the room."""
    reply_on: str = ""
    """When the agent answers in this call; empty: as the worker's settings say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmitRequest:
    """The session shows what the participant brought; asked once a call, before the track is published."""

    fence: int
    participant: str
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredNotice:
    """The caller hears the agent's track: the call is answered."""

    fence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EndNotice:
    """The session is over; the slot, the lease and the room are to be released."""

    fence: int
    result: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferRequest:
    """The session asks to hand the caller over by SIP REFER; the answer comes when that is done."""

    fence: int
    number: str
    """E.164."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Body of a 4xx answer: why, as a word of a closed list, and in a sentence."""

    reason: str
    detail: str


def encode(message: Any) -> bytes:
    """A record or message as compact JSON.

    Args:
        message: An instance of one of this module's dataclasses.
    """
    return json.dumps(dataclasses.asdict(message), separators=(",", ":"), ensure_ascii=False).encode()


def job_of(fields: Any) -> Job:
    """Reads a job. Raises ValueError."""
    return Job(call=_text(fields, "call"), room=_text(fields, "room"))


def refusal_of(fields: Any) -> JobRefusal:
    """Reads the refusal of a job. Raises ValueError."""
    return JobRefusal(call=_text(fields, "call"), room=_text(fields, "room"), reason=_text(fields, "reason"))


def _text(fields: Any, name: str) -> str:
    value = fields.get(name) if isinstance(fields, dict) else None
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name} is missing")
    return value


def room_of(call: str) -> str:
    """The room in which a call takes place."""
    return ROOM_PREFIX + call


def agent_prefix(call: str) -> str:
    """How the identities of a call's agents begin."""
    return f"agent-{call}-"


def call_of(room: str) -> str | None:
    """The call whose room this would be, or None where the name is not one of ours."""
    if not room.startswith(ROOM_PREFIX) or len(room) == len(ROOM_PREFIX):
        return None
    return room[len(ROOM_PREFIX) :]
