"""What is wrong with the callers of a load test, from the texts of its options."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from trunkline.core.errors import ConfigError
from trunkline.loadtest.bursts import read_recording
from trunkline.media.impairment import MAX_NOISE_SAMPLES, Impairment, Network, Noise, NoiseKind
from trunkline.media.impairment_text import parse_impairment

USUAL_NOISE = "-45dBov"
JITTER_REACH = 3
"""A jitter of so many times its value is the most that is drawn, where nothing else is said."""


def impairment_of(impair: str, noise: str, seed: int) -> Impairment | None:
    """What is wrong with all callers; None where nothing is. Each caller takes `of_caller` of it.

    Args:
        impair: Such as "loss=2%,jitter=30ms".
        noise: A kind or a WAV file, and its level: "babble/-45dBov", "street.wav/-40dBov"; empty: none.
        seed: Where `impair` names none.

    Raises:
        ConfigError: one of them can't be read.
    """
    if not impair and not noise:
        return None
    found = parse_impairment(impair)
    if noise:
        kind, slash, level = noise.rpartition("/")
        if not slash or not level.lower().endswith("dbov"):
            kind, level = noise, USUAL_NOISE
        if kind in list(NoiseKind) and kind != NoiseKind.GIVEN:
            heard = parse_impairment(f"noise={kind}/{level}").noise
        elif Path(kind).is_file():
            given = parse_impairment(f"noise=white/{level}").noise
            samples = read_recording(Path(kind), "--noise")[:MAX_NOISE_SAMPLES]
            heard = Noise(NoiseKind.GIVEN, given.level_dbov if given else 0.0, samples)
        else:
            raise ConfigError(f"--noise {noise}: no such kind and no such file", f"kinds: {', '.join(NoiseKind)}")
        found = dataclasses.replace(found, noise=heard)
    return found if found.seed else dataclasses.replace(found, seed=seed)


def added_ms(impairment: Impairment | None) -> float:
    """The most that it delays a packet, both ways together."""
    if impairment is None:
        return 0.0
    return sum(_most_ms(network) for network in (impairment.sent, impairment.received))


def _most_ms(network: Network) -> float:
    jitter_ms = network.jitter_limit_ms or JITTER_REACH * network.jitter_ms
    overtaken_ms = (network.reorder_ms or 30) if network.reorder else 0
    return network.delay_ms + jitter_ms + overtaken_ms
