"""What the hearing machine is told, and what it asks for: the data of `core/hearing.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class BurstBegan:
    """The caller begins to speak.

    Args:
        ready: Of each provider, whether it is connected.
        sure: False: it may be a noise; `BurstSure` or `BurstTakenBack` follows.
        goes_on: The burst before was not over after all; there is no gap between the two.
    """

    ready: tuple[bool, ...]
    sure: bool = True
    goes_on: bool = False


@dataclass(frozen=True, slots=True)
class BurstSure:
    """What began is speech; `ready` as for its beginning."""

    ready: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class BurstTakenBack:
    """What began is no speech: no words are expected of it."""


@dataclass(frozen=True, slots=True)
class BurstOver:
    """The caller stopped."""


@dataclass(frozen=True, slots=True)
class Understood:
    """A provider gave words; final ones, or that there were none."""

    provider: int
    final: bool


@dataclass(frozen=True, slots=True)
class SignOfLife:
    """A provider sent a message without words."""

    provider: int


@dataclass(frozen=True, slots=True)
class ProviderFailed:
    """A provider's connection broke, or it told an error."""

    provider: int


@dataclass(frozen=True, slots=True)
class Readiness:
    """What is connected now."""

    ready: tuple[bool, ...]


HearingEvent: TypeAlias = (
    BurstBegan | BurstSure | BurstTakenBack | BurstOver | Understood | SignOfLife | ProviderFailed | Readiness
)


@dataclass(frozen=True, slots=True)
class Hear:
    """From now on this provider hears the caller; `again`: first all that was said since the last final."""

    provider: int
    again: bool


@dataclass(frozen=True, slots=True)
class NobodyHears:
    """No provider is left."""


HearingEffect: TypeAlias = Hear | NobodyHears
