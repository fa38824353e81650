"""What of the settings reaches the turns."""

from __future__ import annotations

import pytest

from trunkline.agent.turn_rules import endpointing_params, turn_params
from trunkline.core.errors import ConfigError
from trunkline.core.turn_events import ReplyPolicy
from trunkline.settings import load_settings

pytestmark = pytest.mark.unit


def test_turns_are_taken_as_the_settings_say() -> None:
    settings = load_settings(reply_on="final", speculate=True)
    assert turn_params(settings).policy is ReplyPolicy.FINAL
    assert turn_params(settings).speculate
    assert turn_params(load_settings(reply_on="first_partial")).policy is ReplyPolicy.FIRST_PARTIAL


def test_the_hangover_starts_at_200_ms_or_at_the_nearest_bound() -> None:
    assert endpointing_params(load_settings()).hangover.start_s == pytest.approx(0.2)
    slow = endpointing_params(load_settings(hangover_min_ms=400, hangover_max_ms=900)).hangover
    assert (slow.start_s, slow.min_s, slow.max_s) == pytest.approx((0.4, 0.4, 0.9))


def test_bounds_that_cross_are_a_mistake() -> None:
    with pytest.raises(ConfigError, match="HANGOVER_MIN_MS"):
        endpointing_params(load_settings(hangover_min_ms=900, hangover_max_ms=300))
