"""What the settings say of turns: when the agent answers, what ends a turn, what interrupts."""

from __future__ import annotations

from trunkline.core.endpointing import EndpointingParams
from trunkline.core.errors import ConfigError
from trunkline.core.hangover import HangoverParams
from trunkline.core.turn_events import ReplyPolicy, TurnParams
from trunkline.settings import BargeIn, Settings


def turn_params(settings: Settings) -> TurnParams:
    """How turns are taken, in calls that have no policy of their own."""
    return TurnParams(
        policy=ReplyPolicy(settings.reply_on),
        confirm_barge_in=settings.barge_in is BargeIn.CONFIRM,
        speculate=settings.speculate,
    )


ASK_AHEAD_S = 0.12
"""About as long as a recognizer takes from the finalize to its final (98 ms of Deepgram at p95, the way there and back
included). So the last words are known when the hangover is over, and few are asked for in vain."""


def endpointing_params(settings: Settings, asks_ahead: bool = False) -> EndpointingParams:
    """When speech starts and ends.

    Args:
        settings: Bounds of the hangover.
        asks_ahead: The recognizers give what they have as final also in a pause.

    Raises:
        ConfigError: the hangover's bounds cross.
    """
    min_s, max_s = settings.hangover_min_ms / 1000, settings.hangover_max_ms / 1000
    if min_s > max_s:
        raise ConfigError("HANGOVER_MIN_MS is more than HANGOVER_MAX_MS", "see .env.example")
    start_s = min(max(HangoverParams().start_s, min_s), max_s)
    hangover = HangoverParams(start_s=start_s, min_s=min_s, max_s=max_s)
    return EndpointingParams(hangover=hangover, ask_ahead_s=ASK_AHEAD_S if asks_ahead else 0.0)
