"""The remote control of the simulated phone, with a program in its place that tells what it was told."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from trunkline.core.errors import ConfigError
from trunkline.loadtest.phone import Answered, CallRefusedError, Phone, Ringing
from trunkline.loadtest.phone_events import CallEnded, EarlyMedia, KeyHeard, MediaChanged
from trunkline.media.impairment import Echo, Impairment, Network

PROGRAM = """
import json, sys
def tell(**event): print(json.dumps(event), flush=True)
for line in sys.stdin:
    command = json.loads(line)
    call = command["call"]
    if command["cmd"] == "hangup":
        tell(ev="ended", call=call, by="caller", reason="hung up", stats={"lost": 0})
    elif command["uri"] == "sip:busy":
        tell(ev="ringing", call=call, status=180)
        tell(ev="refused", call=call, status=486, reason="Busy Here")
    else:
        tell(ev="early_media", call=call, at_us=1, codec="PCMU", recording_us=2)
        tell(ev="answered", call=call, at_us=3, codec=json.dumps(command), recording_us=2)
        tell(ev="media_changed", call=call, at_us=4, codec="PCMA", direction="recvonly")
        tell(ev="dtmf", call=call, at_us=5, digit="#")
"""


@pytest.fixture
async def phone(tmp_path: Path) -> AsyncIterator[Phone]:
    script, program = tmp_path / "phone.py", tmp_path / "phone"
    script.write_text(PROGRAM)
    program.write_text(f"#!/bin/sh\nexec {sys.executable} {script}\n")
    program.chmod(0o755)
    async with Phone(program) as opened:
        yield opened


async def test_a_call_is_dialled_as_told(phone: Phone) -> None:
    impair = Impairment(seed=7, sent=Network(loss=0.1), echo=Echo(-20, 100))
    line = await phone.dial(
        "c1", "sip:room", ("u", "p"), caller="+1", wav=Path("c.wav"), codec="g722,pcmu", impair=impair
    )
    assert await line.event() == EarlyMedia(1, "PCMU", 2)
    answered = await line.event()
    assert isinstance(answered, Answered)
    assert json.loads(answered.codec) == {
        "cmd": "dial",
        "call": "c1",
        "uri": "sip:room",
        "username": "u",
        "password": "p",
        "from": "+1",
        "wav": "c.wav",
        "codec": "g722,pcmu",
        "impair": {"seed": 7, "sent": {"loss": 0.1}, "sound": {"echo": {"gain_db": -20, "delay_ms": 100}}},
    }
    assert await line.event() == MediaChanged(4, "PCMA", "recvonly")
    assert await line.event() == KeyHeard(5, "#")
    assert await line.hang_up() == CallEnded("caller", "hung up", stats={"lost": 0})


async def test_a_refusal_comes_with_its_code_and_word(phone: Phone) -> None:
    line = await phone.dial("c1", "sip:busy")
    assert await line.event() == Ringing()
    with pytest.raises(CallRefusedError, match="486 Busy Here") as refused:
        await line.answered()
    assert refused.value.status == 486


async def test_a_phone_that_dies_ends_its_calls(phone: Phone) -> None:
    line = await phone.dial("c1", "sip:room")
    await line.answered()
    await phone.send({"call": "c1"})  # it can't make sense of that
    while not isinstance(event := await line.event(), CallEnded):
        pass
    assert event.by == "error"
    assert line.ended == event


async def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't run"):
        async with Phone(tmp_path / "none"):
            pass
