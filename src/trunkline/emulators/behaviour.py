"""How the emulated providers behave: delays drawn from distributions, and faults, all by a seed.

Distributions of named profiles, and where their numbers come from, are in `profiles.toml`.
"""

from __future__ import annotations

import math
import random
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache
from importlib.resources import files
from typing import Any

from trunkline.core.errors import ConfigError


class Fault(StrEnum):
    """What may go wrong: the first six with a connection, the others with a sentence."""

    REFUSE = "refuse"
    UNAUTHORIZED = "401"
    PAYMENT = "402"
    TOO_MANY = "429"
    SLOW_START = "slow_start"
    STALL = "stall"
    CUT = "cut"
    GARBAGE = "garbage"
    LATE_FINALS = "late_finals"


CONNECTION_FAULTS = (Fault.REFUSE, Fault.UNAUTHORIZED, Fault.PAYMENT, Fault.TOO_MANY, Fault.SLOW_START)
SENTENCE_FAULTS = (Fault.STALL, Fault.CUT, Fault.GARBAGE, Fault.LATE_FINALS)
FAULT_NAMES = ", ".join(fault.value for fault in Fault)


P95_DEVIATIONS = 1.645
"""So many standard deviations above the median of a normal distribution lies its p95."""
ANY = "*"


@dataclass(frozen=True, slots=True)
class Delay:
    """A log-normal distribution, since providers are seldom early and sometimes late.

    Args:
        median_s: Half of all delays are shorter.
        spread: Standard deviation of the logarithm; 0 is always the median, 0.3 has its p95 at 1.6 times the median.
    """

    median_s: float
    spread: float = 0.0

    def draw(self, rng: random.Random) -> float:
        """One delay, in seconds."""
        return self.median_s * math.exp(rng.gauss(0.0, self.spread)) if self.spread else self.median_s

    @classmethod
    def of(cls, median_s: float, p95_s: float) -> Delay:
        """The distribution with this median, of which one in twenty is longer than `p95_s`."""
        return cls(median_s, math.log(p95_s / median_s) / P95_DEVIATIONS)


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Everything that can be set.

    Attributes:
        phrase: What every caller says after their number.
        stt_partial: From the arrival of the first sample of speech to the first partial.
        stt_word_s: From one partial to the next, which has a word more.
        stt_final: From Finalize, or the end of the endpointing silence, to the final.
        tts_first: From the text to its first audio.
        tts_speed: How many times faster than it is spoken the rest comes.
        tts_s_per_char: Length of the speech.
        llm_first: From the request to the first word.
        llm_token_s: From one word to the next.
        slow_start_s: Time to the handshake with this fault.
        late_final_s: More time to the final with this fault.
        faults: Probabilities, 0 to 1.
        profile: Values of the above by provider, which win; "*" is for those that are not named.
        seed: Decides all that is drawn.
    """

    phrase: str = "test phrase"
    stt_partial: Delay = Delay(0.15)
    stt_word_s: float = 0.2
    stt_final: Delay = Delay(0.1)
    tts_first: Delay = Delay(0.15)
    tts_speed: float = 8.0
    tts_s_per_char: float = 0.06
    llm_first: Delay = Delay(0.2)
    llm_token_s: float = 0.02
    slow_start_s: float = 3.0
    late_final_s: float = 2.0
    faults: Mapping[Fault, float] = field(default_factory=dict)
    profile: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    seed: int = 0

    def luck(self, provider: str, connection: int) -> Luck:
        """What befalls the n-th connection of a provider."""
        own = self.profile.get(provider) or self.profile.get(ANY)
        return Luck(replace(self, **own) if own else self, random.Random(f"{self.seed} {provider} {connection}"))  # noqa: S311 (made to be repeated)


class Luck:
    """Draws for one connection, in order."""

    def __init__(self, behaviour: Behaviour, rng: random.Random) -> None:
        self.behaviour = behaviour
        self.rng = rng

    def connection_fault(self) -> Fault | None:
        """What goes wrong with this connection."""
        return self._fault(CONNECTION_FAULTS)

    def sentence_fault(self) -> Fault | None:
        """What goes wrong with the next sentence."""
        return self._fault(SENTENCE_FAULTS)

    def _fault(self, faults: tuple[Fault, ...]) -> Fault | None:
        # Each is drawn, so that a change of one probability leaves the others' draws as they were.
        drawn = [fault for fault in faults if self.rng.random() < self.behaviour.faults.get(fault, 0.0)]
        return drawn[0] if drawn else None


@lru_cache(maxsize=1)
def profiles() -> dict[str, dict[str, dict[str, Any]]]:
    """The profiles of `profiles.toml`: name -> provider -> fields of `Behaviour`."""
    tables = tomllib.loads((files(__package__) / "profiles.toml").read_text(encoding="utf-8"))
    return {
        name: {provider: {key: _value(value) for key, value in own.items()} for provider, own in profile.items()}
        for name, profile in tables.items()
    }


def profile(name: str) -> dict[str, dict[str, Any]]:
    """A profile's fields by provider. Raises ConfigError for a name that is not in the file."""
    if name not in profiles():
        raise ConfigError(f"profile {name!r} is unknown", f"known: {', '.join(profiles())}")
    return profiles()[name]


def _value(value: Any) -> Any:
    """A distribution from {median_ms, p95_ms}; anything else is a plain number."""
    if not isinstance(value, dict):
        return value
    median_ms: float = value["median_ms"]
    return Delay.of(median_ms / 1000, value.get("p95_ms", median_ms) / 1000)


def parse_faults(pairs: list[str]) -> dict[Fault, float]:
    """Faults from texts such as "stall=0.02".

    Raises:
        ConfigError: names the pair that is wrong.
    """
    faults = {}
    for pair in pairs:
        name, _, chance = pair.partition("=")
        try:
            faults[Fault(name)] = float(chance)
        except ValueError:
            raise ConfigError(f"fault {pair!r} is not NAME=PROBABILITY", f"names: {FAULT_NAMES}") from None
        if not 0.0 <= faults[Fault(name)] <= 1.0:
            raise ConfigError(f"fault {pair!r}: the probability is not within 0 to 1")
    return faults
