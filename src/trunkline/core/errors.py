"""The errors of trunkline and how a call ends because of them.

TrunklineError
├── ConfigError                a setting is missing or wrong; nothing was started
├── CapacityError              there is no room for one more call
├── ProtocolError
│   ├── LocalProtocolError     our bug: an event that is illegal in this state
│   └── RemoteProtocolError    their fault: a message that breaks the protocol
├── UpstreamError              a provider or server we depend on (retryable)
│   ├── UpstreamTimeoutError
│   ├── UpstreamRejectedError
│   ├── UpstreamUnavailableError
│   └── SpeechLostError        no provider is left to hear or to speak with
└── CallError                  one call can't go on
    ├── SetupError             it never became a conversation
    ├── MediaError             its audio failed
    └── AgentError             our pipeline failed

Every call ends in one `Termination`; an error knows its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Result(StrEnum):
    """Whose doing the end of a call was."""

    SUCCESS = "success"
    CALLER_ERROR = "caller_error"
    UPSTREAM_ERROR = "upstream_error"
    SERVER_ERROR = "server_error"
    INDETERMINATE = "indeterminate"


class Reason(StrEnum):
    """Why a call ended: a closed list, also used as a metric label."""

    CALLER_HUNG_UP = "caller_hung_up"
    AGENT_HUNG_UP = "agent_hung_up"
    TRANSFERRED = "transferred"
    OPERATOR_ENDED = "operator_ended"
    CALLER_ABANDONED = "caller_abandoned"
    NO_CALLER = "no_caller"
    REFUSED_TOKEN = "refused_token"  # noqa: S105 (a reason, no secret)
    REFUSED_UNKNOWN_ROOM = "refused_unknown_room"
    REFUSED_FULL = "refused_full"
    NO_AGENT = "no_agent"
    LEASE_LOST = "lease_lost"
    DRAINED = "drained"
    PROVIDER_TIMEOUT = "provider_timeout"
    PROVIDER_REJECTED = "provider_rejected"
    PROVIDER_UNAVAILABLE = "provider_unavailable"
    SPEECH_LOST = "speech_lost"
    ORCHESTRATOR_UNAVAILABLE = "orchestrator_unavailable"
    SETUP_FAILED = "setup_failed"
    MEDIA_FAILED = "media_failed"
    AGENT_FAILED = "agent_failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Termination:
    """How one call ended: whose doing, and why."""

    result: Result
    reason: Reason


class TrunklineError(Exception):
    """Root of all errors raised on purpose."""

    termination = Termination(Result.SERVER_ERROR, Reason.UNKNOWN)


class ConfigError(TrunklineError):
    """A setting is missing or wrong.

    Args:
        problem: What is wrong, in one line.
        fix: What to do about it, in one line; may be empty.
    """

    def __init__(self, problem: str, fix: str = "") -> None:
        super().__init__(f"{problem} ({fix})" if fix else problem)
        self.problem = problem
        self.fix = fix


class CapacityError(TrunklineError):
    """There is no room for one more call.

    Args:
        used: Calls that hold a slot now.
        capacity: Slots there are.

    Attributes:
        call: Which call, where it had a name already.
    """

    termination = Termination(Result.SERVER_ERROR, Reason.REFUSED_FULL)

    def __init__(self, used: int, capacity: int) -> None:
        super().__init__(f"{used} of {capacity} slots are taken")
        self.used = used
        self.capacity = capacity
        self.call = ""


class ProtocolError(TrunklineError):
    """A message or event that has no place here."""


class LocalProtocolError(ProtocolError):
    """Our bug: an event that is illegal in the machine's state. The machine is unchanged."""


class RemoteProtocolError(ProtocolError):
    """Their fault: a peer's message breaks the protocol."""

    termination = Termination(Result.UPSTREAM_ERROR, Reason.UNKNOWN)


class UpstreamError(TrunklineError):
    """A provider or server we depend on failed; a retry may help.

    Args:
        upstream: Name of the other party, such as "livekit", "redis" or "deepgram".
        problem: What it did, in one line.
    """

    termination = Termination(Result.UPSTREAM_ERROR, Reason.PROVIDER_UNAVAILABLE)

    def __init__(self, upstream: str, problem: str) -> None:
        super().__init__(f"{upstream}: {problem}")
        self.upstream = upstream
        self.problem = problem


class UpstreamTimeoutError(UpstreamError):
    """It did not answer in time."""

    termination = Termination(Result.UPSTREAM_ERROR, Reason.PROVIDER_TIMEOUT)


class UpstreamRejectedError(UpstreamError):
    """It answered no: a wrong key, a quota, a bad request."""

    termination = Termination(Result.UPSTREAM_ERROR, Reason.PROVIDER_REJECTED)


class UpstreamUnavailableError(UpstreamError):
    """It can't be reached."""


class SpeechLostError(UpstreamError):
    """No provider is left to hear a call with, or to speak in it."""

    termination = Termination(Result.UPSTREAM_ERROR, Reason.SPEECH_LOST)


class CallError(TrunklineError):
    """One call can't go on.

    Args:
        problem: What happened, in one line.
        termination: How the call ends because of it; the class's own if not given.
    """

    def __init__(self, problem: str, termination: Termination | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        if termination is not None:
            self.termination = termination


class SetupError(CallError):
    """The call never became a conversation."""

    termination = Termination(Result.SERVER_ERROR, Reason.SETUP_FAILED)


class MediaError(CallError):
    """The call's audio failed."""

    termination = Termination(Result.SERVER_ERROR, Reason.MEDIA_FAILED)


class AgentError(CallError):
    """Our pipeline failed."""

    termination = Termination(Result.SERVER_ERROR, Reason.AGENT_FAILED)
