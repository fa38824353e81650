"""Decides what happens to one call on the agent's side, from the job to the end.

In come what the orchestrator and the media engine report; out come the effects that `agent/session.py` performs. The
agent's track is published only when the call is admitted, because publishing is what answers the phone.

    LEASING -> JOINING -> WAITING -> ADMITTING -> PUBLISHING -> BRIDGED -> ENDED
                             |                        ^
                             +-- needs no asking -----+

Nobody is asked for a caller whom an earlier worker let in, nor for one whose identity only a room token of ours gives.

Every state but BRIDGED and ENDED has a time limit, so that no caller is left in silence.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from trunkline.core.errors import LocalProtocolError, Reason, Result, Termination
from trunkline.core.machine import Deadline


class CallState(Enum):
    """How far a call has come."""

    LEASING = "leasing"
    JOINING = "joining"
    WAITING = "waiting"
    ADMITTING = "admitting"
    PUBLISHING = "publishing"
    BRIDGED = "bridged"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class CallTimes:
    """Longest stay in each state, in seconds.

    Args:
        leasing_s: For the orchestrator to give the lease.
        joining_s: For the room to be joined.
        waiting_s: For the caller to come; as long as the call token is valid.
        admitting_s: For the orchestrator to check what the caller brought.
        publishing_s: For the caller's side to hear the agent's track.
    """

    leasing_s: float = 2.0
    joining_s: float = 3.0
    waiting_s: float = 60.0
    admitting_s: float = 3.0
    publishing_s: float = 5.0


@dataclass(frozen=True, slots=True)
class LeaseGranted:
    """The orchestrator gave this worker the call.

    Args:
        admitted: An earlier worker had let the caller in.
        expected: The caller's identity, where a room token of ours proves it; empty: a call token does.
    """

    admitted: bool
    expected: str = ""


@dataclass(frozen=True, slots=True)
class RoomJoined:
    """The media engine is in the room."""


@dataclass(frozen=True, slots=True)
class CallerJoined:
    """The caller is in the room.

    Args:
        identity: The participant.
        token: The call token it brought; empty if none.
    """

    identity: str
    token: str


@dataclass(frozen=True, slots=True)
class CallerAdmitted:
    """The orchestrator let the caller in."""


@dataclass(frozen=True, slots=True)
class TrackHeard:
    """The caller's side subscribed to the agent's track: the phone is answered."""


@dataclass(frozen=True, slots=True)
class CallerLeft:
    """The caller's participant left the room."""

    identity: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The call can't go on, or somebody ended it."""

    termination: Termination


CallEvent: TypeAlias = LeaseGranted | RoomJoined | CallerJoined | CallerAdmitted | TrackHeard | CallerLeft | Failed


@dataclass(frozen=True, slots=True)
class JoinRoom:
    """Have the media engine join the call's room."""


@dataclass(frozen=True, slots=True)
class AskAdmission:
    """Have the orchestrator check what the caller brought."""

    identity: str
    token: str


@dataclass(frozen=True, slots=True)
class PublishTrack:
    """Publish the agent's track and listen to this caller."""

    identity: str


@dataclass(frozen=True, slots=True)
class StartConversation:
    """The caller hears us: tell the orchestrator, start the turns."""


@dataclass(frozen=True, slots=True)
class EndCall:
    """Release everything; the last effect of every call."""

    termination: Termination


CallEffect: TypeAlias = JoinRoom | AskAdmission | PublishTrack | StartConversation | EndCall

TRANSITIONS: dict[tuple[CallState, type[CallEvent]], str] = {
    (CallState.LEASING, LeaseGranted): "_on_lease",
    (CallState.JOINING, RoomJoined): "_on_joined",
    (CallState.JOINING, CallerJoined): "_on_early_caller",
    (CallState.WAITING, CallerJoined): "_on_caller",
    (CallState.ADMITTING, CallerAdmitted): "_on_admitted",
    (CallState.PUBLISHING, TrackHeard): "_on_heard",
    # A second participant is nobody's caller; a track heard again is a resubscription.
    **{
        (state, CallerJoined): "_ignore"
        for state in (CallState.ADMITTING, CallState.PUBLISHING, CallState.BRIDGED, CallState.ENDED)
    },
    **{(state, TrackHeard): "_ignore" for state in (CallState.BRIDGED, CallState.ENDED)},
    **{(state, CallerLeft): "_on_left" for state in CallState},
    **{(state, Failed): "_on_failed" for state in CallState},
    # Answers that arrive after the end.
    **{(CallState.ENDED, late): "_ignore" for late in (LeaseGranted, RoomJoined, CallerAdmitted)},
}

_ABANDONED = Termination(Result.CALLER_ERROR, Reason.CALLER_ABANDONED)

TIMED_OUT = {
    CallState.LEASING: Termination(Result.SERVER_ERROR, Reason.ORCHESTRATOR_UNAVAILABLE),
    CallState.JOINING: Termination(Result.SERVER_ERROR, Reason.SETUP_FAILED),
    CallState.WAITING: Termination(Result.CALLER_ERROR, Reason.NO_CALLER),
    CallState.ADMITTING: Termination(Result.SERVER_ERROR, Reason.ORCHESTRATOR_UNAVAILABLE),
    CallState.PUBLISHING: Termination(Result.SERVER_ERROR, Reason.MEDIA_FAILED),
}


class CallMachine:
    """Decides what happens to one call.

    Args:
        now: Monotonic seconds at creation; the lease is being asked for.
        times: Time limits.
    """

    def __init__(self, now: float, times: CallTimes | None = None) -> None:
        self.times = times or CallTimes()
        self.state = CallState.LEASING
        self.termination: Termination | None = None
        self._admitted = False
        self._expected = ""
        self._early: CallerJoined | None = None
        self._caller = ""
        self._caller_left = False
        self._deadline: Deadline | None = None
        self._enter(CallState.LEASING, now)

    def handle(self, event: CallEvent, now: float) -> list[CallEffect]:
        """Takes one event. Raises LocalProtocolError, and changes nothing, where it is illegal."""
        handler = TRANSITIONS.get((self.state, type(event)))
        if handler is None:
            raise LocalProtocolError(f"{type(event).__name__} while {self.state.value}")
        effects: list[CallEffect] = getattr(self, handler)(event, now)
        return effects

    def deadline(self) -> Deadline | None:
        """When the state's time limit ends."""
        return self._deadline

    def on_deadline(self, now: float) -> list[CallEffect]:
        """The state's time limit is over: the call ends."""
        if self._deadline is None:
            return []
        return self._end(_ABANDONED if self._caller_left else TIMED_OUT[self.state], now)

    def _on_lease(self, event: LeaseGranted, now: float) -> list[CallEffect]:
        self._admitted, self._expected = event.admitted, event.expected
        self._enter(CallState.JOINING, now)
        return [JoinRoom()]

    def _on_early_caller(self, event: CallerJoined, now: float) -> list[CallEffect]:
        """Participants that were there first are reported while we join."""
        self._early = self._early or event
        return []

    def _on_joined(self, event: RoomJoined, now: float) -> list[CallEffect]:
        self._enter(CallState.WAITING, now)
        return [] if self._early is None else self._on_caller(self._early, now)

    def _on_caller(self, event: CallerJoined, now: float) -> list[CallEffect]:
        self._caller = event.identity
        if self._admitted or (self._expected and event.identity == self._expected):
            self._enter(CallState.PUBLISHING, now)
            return [PublishTrack(event.identity)]
        self._enter(CallState.ADMITTING, now)
        return [AskAdmission(event.identity, event.token)]

    def _on_admitted(self, event: CallerAdmitted, now: float) -> list[CallEffect]:
        if self._caller_left:
            return self._end(_ABANDONED, now)
        self._admitted = True
        self._enter(CallState.PUBLISHING, now)
        return [PublishTrack(self._caller)]

    def _on_heard(self, event: TrackHeard, now: float) -> list[CallEffect]:
        self._enter(CallState.BRIDGED, now)
        return [StartConversation()]

    def _on_left(self, event: CallerLeft, now: float) -> list[CallEffect]:
        if self._early is not None and event.identity == self._early.identity and not self._caller:
            self._early = None
            return []
        if not self._caller or event.identity != self._caller:
            return []
        if self.state is CallState.BRIDGED:
            return self._end(Termination(Result.SUCCESS, Reason.CALLER_HUNG_UP), now)
        if self.state is CallState.ADMITTING:
            # A caller that is refused is removed from the room as well: the orchestrator's answer, which is on its way,
            # tells which it was.
            self._caller_left = True
            return []
        return self._end(_ABANDONED, now)

    def _on_failed(self, event: Failed, now: float) -> list[CallEffect]:
        return self._end(event.termination, now)

    def _ignore(self, event: CallEvent, now: float) -> list[CallEffect]:
        return []

    def _end(self, termination: Termination, now: float) -> list[CallEffect]:
        if self.state is CallState.ENDED:
            return []
        self.termination = termination
        self._enter(CallState.ENDED, now)
        return [EndCall(termination)]

    def _enter(self, state: CallState, now: float) -> None:
        self.state = state
        limit_s = {
            CallState.LEASING: self.times.leasing_s,
            CallState.JOINING: self.times.joining_s,
            CallState.WAITING: self.times.waiting_s,
            CallState.ADMITTING: self.times.admitting_s,
            CallState.PUBLISHING: self.times.publishing_s,
        }.get(state)
        self._deadline = None if limit_s is None else Deadline(now + limit_s, state.value)
