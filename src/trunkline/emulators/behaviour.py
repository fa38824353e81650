"""How the emulated providers behave: delays drawn from distributions, and faults, all by a seed."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

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
        slow_start_s: Time to the handshake with this fault.
        late_final_s: More time to the final with this fault.
        faults: Probabilities, 0 to 1.
        seed: Decides all that is drawn.
    """

    phrase: str = "test phrase"
    stt_partial: Delay = Delay(0.15)
    stt_word_s: float = 0.2
    stt_final: Delay = Delay(0.1)
    tts_first: Delay = Delay(0.15)
    tts_speed: float = 8.0
    tts_s_per_char: float = 0.06
    slow_start_s: float = 3.0
    late_final_s: float = 2.0
    faults: Mapping[Fault, float] = field(default_factory=dict)
    seed: int = 0

    def luck(self, provider: str, connection: int) -> Luck:
        """What befalls the n-th connection of a provider."""
        return Luck(self, random.Random(f"{self.seed} {provider} {connection}"))  # noqa: S311 (made to be repeated)


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
