"""What the agent asks of a media engine, and what the engine tells it.

An engine carries the audio of all calls of one worker. It knows nothing of turns or text. Per call there is one
`MediaLeg`: the agent's participant in the call's room. Frames come in by `MediaListener.on_frame`, everything else by
`on_event`; both are called on the event loop and must not block. Instants are seconds of `CLOCK_MONOTONIC`.

An utterance is one answer: a growing piece of PCM with an id that ascends within a call. `play` appends to it, `end`
says that nothing more comes; `pause`, `resume` and `flush` act on what is being played.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import NamedTuple, Protocol, TypeAlias

from trunkline.core.errors import MediaError
from trunkline.core.units import Pcm

MAX_DATA_BYTES = 15_000
MAX_TOPIC_BYTES = 256

RenewToken: TypeAlias = Callable[[], str]
"""Mints a new token for the same participant of the same room; raises a TrunklineError where it can't."""


class ParticipantKind(Enum):
    """What joined the room."""

    PHONE = "phone"
    WEBRTC = "webrtc"
    AGENT = "agent"


class CallerFrame(NamedTuple):
    """20 ms of the caller's audio. A tuple, because it is made 50 times a second for each call.

    Args:
        ended_at: Monotonic seconds at which the last sample had arrived.
        samples: int16, shape (320,), mono, 16000 Hz; `SILENT_FRAME` where nothing was heard.
    """

    ended_at: float
    samples: Pcm


@dataclass(frozen=True, slots=True)
class ParticipantJoined:
    """Somebody else is in the room; also told for those who were there first."""

    identity: str
    kind: ParticipantKind
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ParticipantLeft:
    """Somebody left the room for good: not because our own connection broke."""

    identity: str


@dataclass(frozen=True, slots=True)
class TrackHeard:
    """The other side subscribed to our track."""


@dataclass(frozen=True, slots=True)
class Listening:
    """We are subscribed to the audio of the one we listen to; also told again after a connection that broke."""


@dataclass(frozen=True, slots=True)
class DtmfReceived:
    """The caller pressed a key."""

    digit: str


@dataclass(frozen=True, slots=True)
class DataReceived:
    """The caller sent a message: at most 15,000 bytes, and 50 a second; others are counted and dropped."""

    payload: bytes
    topic: str


@dataclass(frozen=True, slots=True)
class CallerMuted:
    """The caller muted the microphone, and is silent from now on; or unmuted it."""

    muted: bool


@dataclass(frozen=True, slots=True)
class FirstPacket:
    """The first packet of an utterance was handed to the network at `at`."""

    utterance: int
    at: float


@dataclass(frozen=True, slots=True)
class LastPacket:
    """The last packet of an utterance was handed to the network at `at`; `samples` of it were sent."""

    utterance: int
    at: float
    samples: int


@dataclass(frozen=True, slots=True)
class Halted:
    """Paused or flushed at `at`, after `samples` of the utterance were sent."""

    utterance: int
    at: float
    samples: int


@dataclass(frozen=True, slots=True)
class RanDry:
    """Nothing was there to play in the middle of an utterance."""

    utterance: int
    at: float


@dataclass(frozen=True, slots=True)
class Reconnecting:
    """Our connection to the SFU broke; the engine is trying again."""


@dataclass(frozen=True, slots=True)
class Reconnected:
    """The connection is back."""


@dataclass(frozen=True, slots=True)
class Disconnected:
    """Our participant is out of the room for good.

    Args:
        reason: LiveKit's word for it, in lower case, such as "room_deleted".
        by_server: True where it was told to leave, so that no other try is due.
    """

    reason: str
    by_server: bool


MediaEvent: TypeAlias = (
    ParticipantJoined
    | ParticipantLeft
    | TrackHeard
    | Listening
    | DtmfReceived
    | DataReceived
    | CallerMuted
    | FirstPacket
    | LastPacket
    | Halted
    | RanDry
    | Reconnecting
    | Reconnected
    | Disconnected
)


@dataclass(frozen=True, slots=True)
class MediaStats:
    """What an engine counted, of one leg or of all; what it does not count is 0.

    Args:
        received: Packets of the caller.
        lost: Never came.
        late: Came after their turn.
        duplicate: Came twice.
        concealed: Frames that the decoder made up.
        fec_used: Frames got back from the packet after them.
        malformed: Packets and messages that were none, came too fast, or could not be decoded.
        sent: Packets of ours.
        ran_dry: Times that nothing was there to play within an utterance.
        refused: Commands that could not be done.
        late_ticks: Of the whole engine: ticks of 20 ms that came late.
        dropped_ticks: Of the whole engine: ticks that the worker was too slow to take.
        target_ms: Delay of the jitter buffer now; of all legs the longest.
        legs: Calls that the engine carries now.
    """

    received: int = 0
    lost: int = 0
    late: int = 0
    duplicate: int = 0
    concealed: int = 0
    fec_used: int = 0
    malformed: int = 0
    sent: int = 0
    ran_dry: int = 0
    refused: int = 0
    late_ticks: int = 0
    dropped_ticks: int = 0
    target_ms: int = 0
    legs: int = 0

    def told(self) -> dict[str, int]:
        """Those that are not 0, for a log."""
        return {name: value for name, value in asdict(self).items() if value}


def check_data(payload: bytes, topic: str) -> None:
    """Raises MediaError where a message is longer than may be sent."""
    if len(payload) > MAX_DATA_BYTES or len(topic.encode()) > MAX_TOPIC_BYTES:
        raise MediaError(f"data has at most {MAX_DATA_BYTES} bytes, its topic {MAX_TOPIC_BYTES}")


class MediaListener(Protocol):
    """The session, as the engine sees it."""

    def on_frame(self, frame: CallerFrame) -> None:
        """Takes 20 ms of the caller it listens to."""
        ...

    def on_event(self, event: MediaEvent) -> None:
        """Takes everything else."""
        ...


class MediaLeg(Protocol):
    """The agent's participant in one call."""

    async def listen_to(self, identity: str) -> None:
        """Subscribes to this participant's audio, now or when it is published."""
        ...

    async def publish(self) -> None:
        """Publishes the agent's track, which answers the phone; only the one we listen to may hear it.

        Raises MediaError.
        """
        ...

    def hide(self) -> None:
        """Nobody may hear us any more, from now on: who comes into the room later finds no agent that answers."""
        ...

    def play(self, utterance: int, samples: Pcm) -> None:
        """Appends to an utterance; a flushed or ended one ignores it.

        Args:
            utterance: Its id; a higher one than before waits for the earlier to end.
            samples: int16, any length, mono, 16000 Hz.
        """
        ...

    def end(self, utterance: int) -> None:
        """Nothing more comes of this utterance: `LastPacket` follows once it was sent."""
        ...

    def pause(self) -> None:
        """Fades out within 10 ms and keeps what is left; `Halted` follows."""
        ...

    def resume(self) -> None:
        """Goes on at the sample where it paused, with a fade in."""
        ...

    def flush(self) -> None:
        """Fades out within 10 ms and drops what is left of all utterances; `Halted` follows if one was begun."""
        ...

    async def send_dtmf(self, digits: str) -> None:
        """Sends keys to the caller's side."""
        ...

    async def send_data(self, payload: bytes, topic: str = "") -> None:
        """Sends a message to the one we listen to, or to all where there is none.

        Args:
            payload: At most 15,000 bytes.
            topic: At most 256 bytes of UTF-8.

        Raises:
            MediaError: it is longer.
        """
        ...

    async def stats(self) -> MediaStats:
        """What was counted so far; also when it has left. Raises MediaError where the engine does not answer."""
        ...

    async def leave(self) -> None:
        """Leaves the room; no event follows. May be called twice."""
        ...


class MediaEngine(Protocol):
    """All audio of one worker."""

    @property
    def name(self) -> str:
        """Which engine this is: "native" or "sdk"."""
        ...

    async def start(self) -> None:
        """Comes up, once, before the first join. Raises MediaError."""
        ...

    async def join(
        self, url: str, token: str, listener: MediaListener, *, renew: RenewToken | None = None, shared: bool = False
    ) -> MediaLeg:
        """Joins a room within 5 s.

        Shared legs with the same URL, room and identity are one participant, with a track for each, which only the
        caller that the leg listens to may hear; no two of them listen to the same caller. Each is told of everybody in
        the room, and of keys, data and mute only of its own caller. The participant leaves with the last of them.

        Args:
            url: The SFU, ws or wss.
            token: A LiveKit token that names room and identity.
            listener: Is told of participants that are there already before this returns.
            renew: Asked for a new token before the engine joins from nothing, since the first may be too old by then.
            shared: Be one participant with other legs. Only the native engine can.

        Raises:
            MediaError: with the reason, also where legs can't be shared; nothing is left in the room.
        """
        ...

    async def stats(self) -> MediaStats:
        """What was counted since it came up, over all legs. Raises MediaError where the engine does not answer."""
        ...

    async def close(self) -> None:
        """Leaves all rooms."""
        ...
