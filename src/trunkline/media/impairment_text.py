"""Impairments as they are written on a command line: `loss=2%,burst=4,jitter=30ms`."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from typing import Any, TypeVar

from trunkline.core.errors import ConfigError
from trunkline.media.impairment import Echo, Impairment, Network, Noise, NoiseKind, Shape, Silence

Word = TypeVar("Word", bound=StrEnum)
Reader = Callable[[str], Any]


def parse_impairment(text: str) -> Impairment:
    """Reads what is wrong with a caller. Raises ConfigError that names the part it can't read.

    Of the network there are `loss=2%`, `burst=4`, `delay=20ms`, `jitter=30ms`, `jitter_shape=normal`,
    `jitter_limit=90ms`, `reorder=1%`, `reorder_by=30ms` and `duplicate=1%`: in both directions, or in one with `sent.`
    or `received.` before it. Of the rest: `drift=100ppm`, `noise=babble/-45dBov`, `echo=-20dB/150ms`,
    `silence=400ms/5s` (how long, how often) and `seed=7`. Of two that say the same, the last counts.
    """
    ways: dict[str, dict[str, Any]] = {"sent": {}, "received": {}}
    rest: dict[str, Any] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.partition("=")
        way, dot, field = name.strip().rpartition(".")
        try:
            if equals and field in _NETWORK and (way in ways or not dot):
                meant, read = _NETWORK[field]
                for each in [way] if dot else ways:
                    ways[each][meant] = read(value.strip())
            elif equals and field in _REST and not dot:
                meant, read = _REST[field]
                rest[meant] = read(value.strip())
            else:
                raise ValueError(f"not like loss=2%; there are {', '.join((*_NETWORK, *_REST))}")
        except ValueError as error:
            raise ConfigError(f"impairment {part!r}: {error}") from None
    return Impairment(sent=Network(**ways["sent"]), received=Network(**ways["received"]), **rest)


def _quantity(text: str, units: dict[str, float], such_as: str) -> float:
    """A number with one of these units, in the one that counts 1."""
    found = re.fullmatch(r"([+-]?\d+(?:\.\d+)?)\s*([a-z%]*)", text.strip().lower())
    if found is None or found[2] not in units:
        raise ValueError(f"{text!r} is not like {such_as}")
    return float(found[1]) * units[found[2]]


def _share(text: str) -> float:
    return _quantity(text, {"%": 0.01, "": 1}, "2% or 0.02")


def _milliseconds(text: str) -> int:
    return round(_quantity(text, {"ms": 1, "s": 1000}, "30ms or 0.5s"))


def _number(text: str) -> float:
    return _quantity(text, {"": 1}, "4")


def _ppm(text: str) -> float:
    return _quantity(text, {"ppm": 1}, "100ppm")


def _seed(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(f"{text!r} is not like 7")
    return int(text)


def _shape(text: str) -> Shape:
    return _word(Shape, text)


def _noise(text: str) -> Noise:
    kind, level = _pair(text, "babble/-45dBov")
    if kind == NoiseKind.GIVEN:
        raise ValueError("the samples of a given noise can't be written here")
    return Noise(_word(NoiseKind, kind), _quantity(level, {"dbov": 1}, "-45dBov"))


def _silence(text: str) -> Silence:
    lasts, every = _pair(text, "400ms/5s")
    return Silence(_milliseconds(lasts), _milliseconds(every))


def _echo(text: str) -> Echo:
    gain, delay = _pair(text, "-20dB/150ms")
    return Echo(_quantity(gain, {"db": 1}, "-20dB"), _milliseconds(delay))


def _pair(text: str, such_as: str) -> tuple[str, str]:
    first, slash, second = text.partition("/")
    if not slash:
        raise ValueError(f"{text!r} is not like {such_as}")
    return first.strip(), second


def _word(kind: type[Word], text: str) -> Word:
    if text not in list(kind):
        raise ValueError(f"{text!r} is none of {', '.join(kind)}")
    return kind(text)


_NETWORK: dict[str, tuple[str, Reader]] = {
    "loss": ("loss", _share),
    "burst": ("burst", _number),
    "delay": ("delay_ms", _milliseconds),
    "jitter": ("jitter_ms", _milliseconds),
    "jitter_shape": ("jitter_shape", _shape),
    "jitter_limit": ("jitter_limit_ms", _milliseconds),
    "reorder": ("reorder", _share),
    "reorder_by": ("reorder_ms", _milliseconds),
    "duplicate": ("duplicate", _share),
}
_REST: dict[str, tuple[str, Reader]] = {
    "drift": ("drift_ppm", _ppm),
    "noise": ("noise", _noise),
    "silence": ("silence", _silence),
    "echo": ("echo", _echo),
    "seed": ("seed", _seed),
}
