"""What can be wrong with a simulated caller: reading it, refusing it, and writing it for the engine."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest

from trunkline.core.errors import ConfigError
from trunkline.media.impairment import Echo, Impairment, Network, Noise, NoiseKind, Shape, Silence
from trunkline.media.impairment_text import parse_impairment

WHOLE = (
    "loss=2%, jitter=30ms,burst=4, received.loss=0.5%,sent.duplicate=0.01,reorder=1%,reorder_by=25ms,delay=0.1s,"
    "jitter_shape=normal,jitter_limit=90ms,drift=-100ppm,noise=babble/-45dBov,echo=-20dB/150ms,silence=400ms/5s,seed=7"
)


def test_reads_each_kind() -> None:
    both = {
        "burst": 4,
        "delay_ms": 100,
        "jitter_ms": 30,
        "jitter_shape": Shape.NORMAL,
        "jitter_limit_ms": 90,
        "reorder": 0.01,
        "reorder_ms": 25,
    }
    assert parse_impairment(WHOLE) == Impairment(
        seed=7,
        sent=Network(loss=0.02, duplicate=0.01, **both),  # type: ignore[arg-type]
        received=Network(loss=0.005, **both),  # type: ignore[arg-type]
        drift_ppm=-100,
        noise=Noise(NoiseKind.BABBLE, -45),
        silence=Silence(400, 5000),
        echo=Echo(-20, 150),
    )


def test_nothing_is_wrong_without_a_word() -> None:
    assert parse_impairment("") == Impairment()
    assert Impairment().as_dict() == {}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("loss", "'loss': not like loss=2%; there are loss, burst,"),
        ("lost=2%", "'lost=2%': not like"),
        ("up.loss=2%", "'up.loss=2%': not like"),
        ("sent.echo=-20dB/150ms", "not like"),
        ("loss=2ms", "'2ms' is not like 2% or 0.02"),
        ("loss=", "'' is not like 2%"),
        ("loss=nan", "'nan' is not like"),
        ("loss=101%", "loss: 1.01 is not between 0 and 1"),
        ("jitter=30", "'30' is not like 30ms"),
        ("jitter=2s", "jitter_ms: 2000 is not between 0 and 1000"),
        ("delay=-1ms", "delay_ms: -1 is not"),
        ("burst=0.5,loss=1%", "burst: 0.5 is not between 1"),
        ("burst=2,loss=80%", "with a loss of 0.8, bursts are longer than 2"),
        ("jitter_shape=odd", "'odd' is none of uniform, normal, exponential"),
        ("noise=babble", "'babble' is not like babble/-45dBov"),
        ("noise=loud/-45dBov", "'loud' is none of white"),
        ("noise=given/-45dBov", "can't be written here"),
        ("noise=hum/0dBov", "noise level in dBov: 0 is not between -90 and -10"),
        ("echo=3dB/150ms", "echo gain in dB: 3 is not"),
        ("echo=-3dB/3s", "echo delay_ms: 3000 is not"),
        ("silence=1ms/1s", "silence lasts_ms: 1 is not"),
        ("silence=1s/1ms", "silence every_ms: 1 is not"),
        ("drift=100", "'100' is not like 100ppm"),
        ("drift=20000ppm", "drift in ppm: 20000 is not"),
        ("seed=-1", "'-1' is not like 7"),
        ("seed=18446744073709551616", "seed: 1.84467e+19 is not"),
    ],
)
def test_tells_what_it_can_not_read(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_impairment(text)
    assert problem in str(error.value)
    assert "\n" not in str(error.value)


def test_writes_what_the_engine_reads() -> None:
    assert json.loads(json.dumps(parse_impairment(WHOLE).as_dict())) == {
        "seed": 7,
        "sent": {
            "loss": 0.02,
            "burst": 4,
            "delay_ms": 100,
            "jitter_ms": 30,
            "jitter_shape": "normal",
            "jitter_limit_ms": 90,
            "reorder": 0.01,
            "reorder_ms": 25,
            "duplicate": 0.01,
        },
        "received": {
            "loss": 0.005,
            "burst": 4,
            "delay_ms": 100,
            "jitter_ms": 30,
            "jitter_shape": "normal",
            "jitter_limit_ms": 90,
            "reorder": 0.01,
            "reorder_ms": 25,
        },
        "sound": {
            "drift_ppm": -100,
            "noise": {"kind": "babble", "level_dbov": -45},
            "silence": {"lasts_ms": 400, "every_ms": 5000},
            "echo": {"gain_db": -20, "delay_ms": 150},
        },
    }


def test_a_given_noise_is_written_with_its_samples() -> None:
    noise = Noise(NoiseKind.GIVEN, -30, np.array([1, -2], dtype=np.int16))
    assert Impairment(noise=noise).as_dict() == {
        "sound": {"noise": {"kind": "given", "level_dbov": -30, "pcm": base64.b64encode(b"\1\0\xfe\xff").decode()}}
    }
    for kind, pcm in ((NoiseKind.GIVEN, None), (NoiseKind.HUM, noise.pcm), (NoiseKind.GIVEN, np.zeros(0, np.int16))):
        with pytest.raises(ConfigError):
            Noise(kind, -30, pcm)


def test_each_of_many_callers_has_its_own_seed() -> None:
    of_all = parse_impairment("loss=2%,seed=18446744073709551615")
    assert [of_all.of_caller(number).seed for number in (0, 1, 2)] == [2**64 - 1, 0, 1]
    assert of_all.of_caller(1).sent == of_all.sent
