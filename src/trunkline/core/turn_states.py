"""The states of a turn, and which event is legal in which: the table of `core/turn.py`."""

from __future__ import annotations

from enum import Enum
from typing import get_args

from trunkline.core.endpointing import SpeechContinues, SpeechEnded, SpeechPaused, SpeechStarted
from trunkline.core.turn_events import (
    AnswerCut,
    FinalHeard,
    PartialHeard,
    PlaybackEnded,
    PlaybackHalted,
    PlaybackStarted,
    Prompted,
    ReplyAudible,
    ReplyDecided,
    ReplyEmpty,
    ReplyFailed,
    TurnEvent,
)


class State(Enum):
    """What the agent is doing."""

    LISTENING = "listening"
    DECIDING = "deciding"
    SPEAKING = "speaking"
    PAUSED = "paused"
    CLOSED = "closed"


L, D, S, P = State.LISTENING, State.DECIDING, State.SPEAKING, State.PAUSED
OPEN = (L, D, S, P)

# Which event is legal in which state, and the method that takes it. All other pairs are errors of ours: a burst that
# is open can't start again, so a pause, which an open burst made, sees no second start. An event of a burst must also
# be in its order; that is checked apart, since a burst may be open in any state.
TRANSITIONS: dict[tuple[State, type[TurnEvent]], str] = {
    (L, SpeechStarted): "_on_start_listening",
    (D, SpeechStarted): "_on_start_deciding",
    (S, SpeechStarted): "_on_start_speaking",
    (P, SpeechContinues): "_on_continue_paused",
    (P, SpeechEnded): "_on_end_paused",
    (L, PartialHeard): "_on_partial",
    (P, PartialHeard): "_on_words_paused",
    (L, FinalHeard): "_on_final",
    (P, FinalHeard): "_on_words_paused",
    **{(state, SpeechContinues): "_on_continue" for state in (L, D, S)},
    **{(state, SpeechPaused): "_on_paused" for state in OPEN},
    **{(state, SpeechEnded): "_on_end" for state in (L, D, S)},
    **{(state, PartialHeard): "_on_words_of_answered" for state in (D, S)},
    **{(state, FinalHeard): "_on_words_of_answered" for state in (D, S)},
    # What pipeline and engine report may arrive late, so it is legal everywhere and looked up by its turn.
    **{(state, ReplyDecided): "_on_decided" for state in OPEN},
    **{(state, ReplyAudible): "_on_audible" for state in OPEN},
    **{(state, ReplyFailed): "_on_failed" for state in OPEN},
    **{(state, PlaybackStarted): "_on_playing" for state in OPEN},
    **{(state, PlaybackEnded): "_on_played" for state in OPEN},
    **{(state, PlaybackHalted): "_on_halted" for state in OPEN},
    **{(state, ReplyEmpty): "_on_empty" for state in OPEN},
    **{(state, Prompted): "_on_prompted" for state in OPEN},
    **{(state, AnswerCut): "_on_cut" for state in OPEN},
    # The call is over: whatever still comes is late.
    **{(State.CLOSED, late): "_ignore" for late in get_args(TurnEvent)},
}
