"""What the turn machine is told, what it asks for, and its settings: the data of `core/turn.py`.

Events come from endpointing, STT, the pipeline and the media engine; effects are performed by
`agent/conversation.py`. A turn is named by its number, which ascends from 1 within a call.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from trunkline.core.barge_in import BargeInParams
from trunkline.core.endpointing import SpeechContinues, SpeechEnded, SpeechPaused, SpeechStarted
from trunkline.core.wire import Mark, TurnOutcome


class ReplyPolicy(StrEnum):
    """When the agent answers."""

    FIRST_PARTIAL = "first_partial"
    STABLE_PARTIAL = "stable_partial"
    FINAL = "final"


@dataclass(frozen=True, slots=True)
class TurnParams:
    """How turns are taken.

    Args:
        policy: When the agent answers.
        confirm_barge_in: False: any speech over the answer ends it. True: it is paused, then decided.
        barge_in: What makes speech over the answer real.
        stable_partial_s: How long words must not change until they are believed before they are final, in seconds.
        stable_confidence: How sure the recognizer must be of them, from 0 to 1; one that does not tell is sure.
        speculate: With `final`: prepare the answer to words that stand still before the turn ends.
        most_prepared: So often in a turn at most; twice as often where the words are those of a whole burst.
        more_finals_s: Longest wait for more words after a final of which the recognizer does not say that it is the
            last, in seconds.
        final_timeout_s: Longest wait for the final transcript after the end of speech, in seconds.
        reply_timeout_s: Longest wait from the decision to answer until the answer is heard, in seconds.
    """

    policy: ReplyPolicy = ReplyPolicy.FINAL
    confirm_barge_in: bool = True
    barge_in: BargeInParams = field(default_factory=BargeInParams)
    stable_partial_s: float = 0.15
    stable_confidence: float = 0.6
    speculate: bool = False
    most_prepared: int = 3
    more_finals_s: float = 0.3
    final_timeout_s: float = 2.0
    reply_timeout_s: float = 8.0


@dataclass(frozen=True, slots=True)
class PartialHeard:
    """STT: the words of the burst so far, and how sure of them it is, from 0 to 1."""

    text: str
    confidence: float = 1.0


@dataclass(frozen=True, slots=True)
class FinalHeard:
    """STT: words that will not change any more; empty text where nothing was understood.

    Args:
        text: The words.
        last: False where the recognizer has not said that it heard the burst to its end.
    """

    text: str
    last: bool = True


@dataclass(frozen=True, slots=True)
class ReplyDecided:
    """Brain: the first words of the answer to `turn` are known."""

    turn: int
    text: str


@dataclass(frozen=True, slots=True)
class ReplyAudible:
    """TTS: the first audio of the answer to `turn` is ready."""

    turn: int


@dataclass(frozen=True, slots=True)
class ReplyFailed:
    """Brain or TTS: there will be no answer to `turn`."""

    turn: int


@dataclass(frozen=True, slots=True)
class PlaybackStarted:
    """Media: first packet of the answer handed to the network at `at`."""

    turn: int
    at: float


@dataclass(frozen=True, slots=True)
class PlaybackEnded:
    """Media: last packet of the answer handed to the network at `at`; all `samples` of it were sent."""

    turn: int
    at: float
    samples: int


@dataclass(frozen=True, slots=True)
class PlaybackHalted:
    """Media: paused or flushed; `samples` of the answer were sent until `at`."""

    turn: int
    at: float
    samples: int


@dataclass(frozen=True, slots=True)
class Prompted:
    """Conversation: the agent is to speak without having been spoken to, such as after keys, or into a long silence.

    Args:
        text: What stands for the caller's words in the record; empty where nothing does.
        interrupts: False: only if nobody speaks and nothing is awaited; otherwise the event is ignored.
    """

    text: str = ""
    interrupts: bool = False


@dataclass(frozen=True, slots=True)
class AnswerCut:
    """Conversation: the caller ends the answer by something else than speech, such as a key."""


@dataclass(frozen=True, slots=True)
class ReplyEmpty:
    """Brain: the answer to `turn` has no words.

    Args:
        turn: Its number.
        acted: True where it has actions instead, so that the turn is answered.
    """

    turn: int
    acted: bool = False


TurnEvent: TypeAlias = (
    SpeechStarted
    | SpeechContinues
    | SpeechPaused
    | SpeechEnded
    | PartialHeard
    | FinalHeard
    | ReplyDecided
    | ReplyAudible
    | ReplyFailed
    | PlaybackStarted
    | PlaybackEnded
    | PlaybackHalted
    | Prompted
    | AnswerCut
    | ReplyEmpty
)


@dataclass(frozen=True, slots=True)
class AskBrain:
    """Produce and speak the answer to `turn`; without text: the caller spoke and was not understood.

    Args:
        turn: Its number.
        text: The caller's words.
        held: Keep the audio back until `ReleaseReply`.
    """

    turn: int
    text: str
    held: bool = False


@dataclass(frozen=True, slots=True)
class ReleaseReply:
    """Let the caller hear the answer to `turn` that was held."""

    turn: int


@dataclass(frozen=True, slots=True)
class CancelReply:
    """Stop brain and TTS of `turn`, and drop what is left of its audio."""

    turn: int


@dataclass(frozen=True, slots=True)
class PausePlayout:
    """Silence the answer at once, keeping what is left of it."""

    turn: int


@dataclass(frozen=True, slots=True)
class ResumePlayout:
    """Go on with the answer at the sample where it paused."""

    turn: int


@dataclass(frozen=True, slots=True)
class CloseTurn:
    """The turn is over; its record can be written. Instants are monotonic seconds.

    The machine knows how many samples were heard; `heard`, which words, is filled in by who keeps the transcript.
    """

    turn: int
    outcome: TurnOutcome
    understood: str
    answer: str
    heard_samples: int
    marks: dict[Mark, float]
    heard: str = ""


TurnEffect: TypeAlias = AskBrain | ReleaseReply | CancelReply | PausePlayout | ResumePlayout | CloseTurn
