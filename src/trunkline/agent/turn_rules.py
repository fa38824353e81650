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


def endpointing_params(settings: Settings) -> EndpointingParams:
    """When speech starts and ends. Raises ConfigError where the hangover's bounds cross."""
    min_s, max_s = settings.hangover_min_ms / 1000, settings.hangover_max_ms / 1000
    if min_s > max_s:
        raise ConfigError("HANGOVER_MIN_MS is more than HANGOVER_MAX_MS", "see .env.example")
    start_s = min(max(HangoverParams().start_s, min_s), max_s)
    return EndpointingParams(hangover=HangoverParams(start_s=start_s, min_s=min_s, max_s=max_s))
