"""What is wrong with a simulated caller's line, room and clock: seeded, so that it goes wrong the same way each time.

The media engine (`NativeLeg.impair`) and the phone do it; both read `Impairment.as_dict`, the JSON of the engine's
package `impair`. Durations are in whole milliseconds, as there.
"""

from __future__ import annotations

import base64
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from trunkline.core.errors import ConfigError
from trunkline.core.units import Pcm

MAX_NOISE_SAMPLES = 320_000
"""20 s of a given noise."""


class Shape(StrEnum):
    """How jitter is distributed, from 0 upwards."""

    UNIFORM = "uniform"
    NORMAL = "normal"
    EXPONENTIAL = "exponential"


class NoiseKind(StrEnum):
    """What is heard behind the caller."""

    WHITE = "white"
    PINK = "pink"
    HUM = "hum"
    BABBLE = "babble"
    GIVEN = "given"


def _within(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise ConfigError(f"impairment {name}: {value:g} is not between {least:g} and {most:g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """What happens to packets in one direction. Raises ConfigError.

    Args:
        loss: Share of packets that are lost.
        burst: How many are lost in a row on average; 0: each is lost or not by itself.
        delay_ms: How long every packet takes.
        jitter_ms: How far that varies.
        jitter_shape: Its distribution; `jitter_ms` is the most of a uniform, the deviation of a normal, the mean of an
            exponential one.
        jitter_limit_ms: The most that is drawn of it; 0: three times `jitter_ms`.
        reorder: Share of packets that later ones overtake.
        reorder_ms: How long those are held up; 0: 30.
        duplicate: Share of packets that come twice.
    """

    loss: float = 0.0
    burst: float = 0.0
    delay_ms: int = 0
    jitter_ms: int = 0
    jitter_shape: Shape = Shape.UNIFORM
    jitter_limit_ms: int = 0
    reorder: float = 0.0
    reorder_ms: int = 0
    duplicate: float = 0.0

    def __post_init__(self) -> None:
        _within("loss", self.loss, 0, 1)
        _within("delay_ms", self.delay_ms, 0, 2000)
        _within("jitter_ms", self.jitter_ms, 0, 1000)
        _within("jitter_limit_ms", self.jitter_limit_ms, 0, 3000)
        _within("reorder", self.reorder, 0, 1)
        _within("reorder_ms", self.reorder_ms, 0, 1000)
        _within("duplicate", self.duplicate, 0, 1)
        if self.burst:
            _within("burst", self.burst, 1, 1000)
            if self.loss * (self.burst + 1) > self.burst:
                problem = f"with a loss of {self.loss:g}, bursts are longer than {self.burst:g}"
                raise ConfigError(f"impairment burst: {problem}")


@dataclass(frozen=True, slots=True)
class Noise:
    """Heard behind the caller all the time. Raises ConfigError.

    Args:
        kind: What it is.
        level_dbov: Its root mean square, dB relative to overload.
        pcm: int16, shape (n,), mono, 16000 Hz, up to 20 s: the noise of kind `given`, which is repeated.
    """

    kind: NoiseKind
    level_dbov: float
    pcm: Pcm | None = None

    def __post_init__(self) -> None:
        _within("noise level in dBov", self.level_dbov, -90, -10)
        if (self.kind is NoiseKind.GIVEN) != (self.pcm is not None):
            raise ConfigError("impairment noise: samples belong to the kind given, and to no other")
        if self.pcm is not None:
            _within("noise samples", len(self.pcm), 1, MAX_NOISE_SAMPLES)


@dataclass(frozen=True, slots=True)
class Silence:
    """Stretches in which nothing is sent. Raises ConfigError.

    Args:
        lasts_ms: How long one lasts.
        every_ms: How long it is from one to the next, on average.
    """

    lasts_ms: int
    every_ms: int

    def __post_init__(self) -> None:
        _within("silence lasts_ms", self.lasts_ms, 20, 600_000)
        _within("silence every_ms", self.every_ms, 20, 600_000)


@dataclass(frozen=True, slots=True)
class Echo:
    """What the caller hears, in what the caller sends. Raises ConfigError.

    Args:
        gain_db: How loud, relative to what was heard.
        delay_ms: How long after it was heard it is sent.
    """

    gain_db: float
    delay_ms: int

    def __post_init__(self) -> None:
        _within("echo gain in dB", self.gain_db, -80, 0)
        _within("echo delay_ms", self.delay_ms, 0, 2000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Impairment:
    """All that is wrong with one caller. Raises ConfigError.

    Args:
        seed: Decides all that is drawn.
        sent: The network from the caller.
        received: The network to the caller.
        drift_ppm: How much too fast the caller's clock runs, in millionths; a slow one is negative.
    """

    seed: int = 0
    sent: Network = Network()
    received: Network = Network()
    drift_ppm: float = 0.0
    noise: Noise | None = None
    silence: Silence | None = None
    echo: Echo | None = None

    def __post_init__(self) -> None:
        _within("seed", self.seed, 0, 2**64 - 1)
        _within("drift in ppm", self.drift_ppm, -10_000, 10_000)

    def of_caller(self, number: int) -> Impairment:
        """The same for one of many callers, with a seed of its own."""
        return replace(self, seed=(self.seed + number) % 2**64)

    def as_dict(self) -> dict[str, Any]:
        """As the engine and the phone read it, for JSON; empty where nothing is wrong."""
        noise: dict[str, Any] | None = None
        if self.noise is not None:
            noise = {"kind": self.noise.kind, "level_dbov": self.noise.level_dbov}
            if self.noise.pcm is not None:
                noise["pcm"] = base64.b64encode(self.noise.pcm.astype("<i2").tobytes()).decode()
        sound = {
            "drift_ppm": self.drift_ppm,
            "noise": noise,
            "silence": self.silence and asdict(self.silence),
            "echo": self.echo and asdict(self.echo),
        }
        return _without_defaults(
            {
                "sent": _without_defaults(asdict(self.sent)),
                "received": _without_defaults(asdict(self.received)),
                "sound": _without_defaults(sound),
                "seed": self.seed,
            }
        )


def _without_defaults(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value and value is not Shape.UNIFORM}
