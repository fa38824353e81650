"""The worker's side of the native engine, against a program that speaks its protocol and misbehaves when told to."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from tests.listener import Listener
from trunkline.core.errors import ConfigError, MediaError
from trunkline.core.units import SILENT_FRAME
from trunkline.media import engine_process, native, native_leg
from trunkline.media.choice import make_engine
from trunkline.media.engine import (
    CallerFrame,
    Disconnected,
    FirstPacket,
    LastPacket,
    MediaStats,
    ParticipantJoined,
    ParticipantKind,
    ParticipantLeft,
    Reconnected,
    Reconnecting,
    TrackHeard,
)
from trunkline.media.impairment import Impairment
from trunkline.media.native import NativeEngine
from trunkline.media.native_leg import NativeLeg
from trunkline.media.sdk import SdkEngine
from trunkline.settings import MediaEngineChoice, Settings

FAKE = Path(__file__).parents[1] / "fake_media_engine.py"
ANN = ParticipantJoined("ann", ParticipantKind.PHONE, {"call.token": "t"})


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FAKE_ENGINE_LOG", str(tmp_path / "commands"))
    path = tmp_path / "engine"
    path.write_text(f'#!/bin/sh\nexec {sys.executable} {FAKE} "$@"\n')
    path.chmod(0o755)
    return path


@pytest.fixture
async def engine(program: Path) -> AsyncIterator[NativeEngine]:
    engine = NativeEngine(program)
    await engine.start()
    yield engine
    await engine.close()


def commands(program: Path) -> list[str]:
    return (program.parent / "commands").read_text().splitlines()


async def join(engine: NativeEngine, token: str = "t") -> tuple[NativeLeg, Listener]:
    listener = Listener()
    return await engine.join("ws://sfu", token, listener), listener


async def test_who_is_there_is_told_before_the_join_is_over(engine: NativeEngine) -> None:
    _, listener = await join(engine)
    assert listener.events == [ANN]


async def test_frames_come_also_for_silence_once_something_was_heard(engine: NativeEngine) -> None:
    _, loud = await join(engine)
    quiet_leg, quiet = await join(engine)
    async with asyncio.timeout(5):
        while len(loud.frames) < 5:
            await asyncio.sleep(0.01)
    assert {int(frame.samples[0]) for frame in loud.frames} == {1}
    assert quiet.frames == []
    quiet_leg.on_sound(CallerFrame(0.0, np.ones(320, dtype=np.int16)))
    async with asyncio.timeout(5):
        while len(quiet.frames) < 3:
            await asyncio.sleep(0.01)
    assert quiet.frames[-1].samples is SILENT_FRAME


async def test_an_answer_goes_out_and_its_ends_come_back(engine: NativeEngine, program: Path) -> None:
    leg, listener = await join(engine)
    await leg.listen_to("ann")
    await leg.publish()
    leg.play(1, np.zeros(320, dtype=np.int16))
    leg.end(1)
    last = await listener.until(LastPacket)
    assert isinstance(last, LastPacket)
    assert (last.utterance, last.samples) == (1, 320)
    assert listener.kinds() == ["ParticipantJoined", "TrackHeard", "FirstPacket", "LastPacket"]
    await leg.leave()
    await leg.leave()
    assert commands(program) == [f"1 {what}" for what in ("join", "listen_to", "publish", "play", "end", "leave")]


async def test_a_refused_join_is_an_error_and_leaves_nothing(engine: NativeEngine, program: Path) -> None:
    with pytest.raises(MediaError, match="no such room"):
        await join(engine, "refuse")
    await join(engine)
    assert commands(program) == ["1 join", "2 join"]


async def test_a_join_without_an_answer_is_given_up(
    engine: NativeEngine, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native_leg, "JOIN_TIMEOUT_S", 0.1)
    with pytest.raises(MediaError, match="no answer within"):
        await join(engine, "silent")
    await asyncio.sleep(0.1)
    assert commands(program) == ["1 join", "1 leave"]


@pytest.mark.parametrize("how", ["die", "garbage", "hang"])
async def test_calls_come_back_when_the_engine_is_lost(
    engine: NativeEngine, program: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "HUNG_AFTER_S", 0.3)
    leg, listener = await join(engine)
    await leg.listen_to("ann")
    await leg.publish()
    leg.play(1, np.zeros(32_000, dtype=np.int16))
    await listener.until(FirstPacket)
    listener.events.clear()
    await leg.send_dtmf(how)
    await listener.until(Reconnected)
    await listener.until(TrackHeard)
    assert listener.kinds()[:3] == ["Reconnecting", "LastPacket", "ParticipantJoined"]
    assert engine.restarts == 1
    # What was being said is over; what is said from now on is heard.
    leg.play(1, np.zeros(320, dtype=np.int16))
    leg.play(2, np.zeros(320, dtype=np.int16))
    first = await listener.until(FirstPacket)
    assert isinstance(first, FirstPacket)
    assert first.utterance == 2
    after = [line for line in commands(program) if line.startswith("2 ")]
    assert after == ["2 join", "2 listen_to", "2 publish", "2 play"]


async def test_an_engine_that_has_nothing_to_say_is_not_taken_for_a_hung_one(
    engine: NativeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "HUNG_AFTER_S", 0.05)
    await asyncio.sleep(0.2)
    joining = asyncio.create_task(join(engine, "silent"))
    await asyncio.sleep(0.2)
    assert engine.restarts == 0
    joining.cancel()
    monkeypatch.setattr(native, "HUNG_AFTER_S", 2.0)
    await join(engine)
    assert engine.restarts == 0


async def test_who_left_meanwhile_is_told(engine: NativeEngine) -> None:
    leg, listener = await join(engine, "left meanwhile")
    listener.events.clear()
    await leg.send_dtmf("die")
    await listener.until(Reconnected)
    # A new process counts its legs from where the old one stopped.
    assert [event for event in listener.events if not isinstance(event, ParticipantJoined)] == [
        Reconnecting(),
        ParticipantLeft("ann"),
        Reconnected(),
    ]


async def test_a_join_from_nothing_brings_a_new_token(engine: NativeEngine, program: Path) -> None:
    listener, minted = Listener(), iter(("second", "third"))
    leg = await engine.join("ws://sfu", "first", listener, renew=lambda: next(minted))
    await leg.send_dtmf("die")
    await listener.until(Reconnected)
    assert (program.parent / "token").read_text() == "second"
    listener.events.clear()
    # The SDK of a program that lives on gives up: the same.
    await leg.send_dtmf("lost")
    await listener.until(Reconnected)
    assert (program.parent / "token").read_text() == "third"
    assert listener.kinds() == ["Reconnecting", "ParticipantJoined", "Reconnected"]
    await leg.send_dtmf("told")
    assert await listener.until(Disconnected) == Disconnected("signal_close", by_server=True)
    assert engine.restarts == 1


async def test_a_token_that_can_not_be_renewed_is_used_again(engine: NativeEngine, program: Path) -> None:
    def renew() -> str:
        raise ConfigError("no key")

    listener = Listener()
    leg = await engine.join("ws://sfu", "first", listener, renew=renew)
    await leg.send_dtmf("die")
    await listener.until(Reconnected)
    assert (program.parent / "token").read_text() == "first"


async def test_a_leg_without_a_new_token_is_lost_when_the_sdk_gives_up(engine: NativeEngine) -> None:
    leg, listener = await join(engine)
    await leg.send_dtmf("lost")
    assert await listener.until(Disconnected) == Disconnected("signal_close", by_server=False)
    await leg.leave()


async def test_a_rejoin_that_is_refused_ends_the_leg_with_the_reason(engine: NativeEngine, program: Path) -> None:
    listener = Listener()
    leg = await engine.join("ws://sfu", "first", listener, renew=lambda: "refuse")
    await leg.send_dtmf("lost")
    end = await listener.until(Disconnected)
    assert isinstance(end, Disconnected)
    assert end.reason == "signal_close: can't join the room: no such room"
    await leg.leave()


async def test_calls_come_back_also_from_an_engine_that_dies_again_at_once(engine: NativeEngine, program: Path) -> None:
    first, listener = await join(engine)
    second = Listener()
    await engine.join("ws://sfu", "t", second, renew=lambda: "die once")
    await first.send_dtmf("die")
    await listener.until(Reconnected)
    await second.until(Reconnected)
    assert engine.restarts == 2
    assert not [event for event in listener.events + second.events if isinstance(event, Disconnected)]


async def test_shared_legs_are_joined_as_such_again(engine: NativeEngine, program: Path) -> None:
    listener = Listener()
    leg = await engine.join("ws://sfu", "t", listener, shared=True)
    await leg.send_dtmf("die")
    await listener.until(Reconnected)
    assert commands(program) == ["1 join shared", "1 send_dtmf", "2 join shared"]


async def test_what_was_counted_is_told_during_the_call_and_after_it(engine: NativeEngine) -> None:
    leg, _ = await join(engine)
    assert await leg.stats() == MediaStats(received=7, ran_dry=1)
    assert (await engine.stats()).told() == {"received": 7, "ran_dry": 1}
    await leg.leave()
    assert await leg.stats() == MediaStats(sent=3)


async def test_data_that_is_too_long_is_refused_here(engine: NativeEngine, program: Path) -> None:
    leg, _ = await join(engine)
    with pytest.raises(MediaError, match="at most"):
        await leg.send_data(b"x" * 15_001)
    with pytest.raises(MediaError, match="at most"):
        await leg.send_data(b"x", "ä" * 129)
    await leg.send_data(b"x", "y")
    await leg.stats()
    assert commands(program) == ["1 join", "1 send_data", "1 ask_stats"]


async def test_an_impaired_leg_stays_impaired(engine: NativeEngine, program: Path) -> None:
    leg, listener = await join(engine)
    leg.impair(Impairment(seed=7))
    await leg.send_dtmf("die")
    await listener.until(Reconnected)
    assert [line for line in commands(program) if line.endswith("impair")] == ["1 impair", "2 impair"]


async def test_a_hidden_leg_stays_hidden(engine: NativeEngine, program: Path) -> None:
    leg, listener = await join(engine)
    await leg.listen_to("ann")
    await leg.publish()
    leg.hide()
    await leg.send_dtmf("die")
    await listener.until(Reconnected)
    assert [line for line in commands(program) if line.startswith("2 ")] == ["2 join", "2 listen_to"]


async def test_closing_ends_the_program(program: Path) -> None:
    engine = NativeEngine(program)
    await engine.start()
    pid = engine.pid
    assert pid is not None
    await engine.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize(
    ("script", "problem"),
    [("exit 3", "does not start: the engine ended"), ("sleep 60", "not ready within")],
    ids=["ends", "hangs"],
)
async def test_an_engine_that_does_not_come_up_is_an_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, problem: str
) -> None:
    monkeypatch.setattr(engine_process, "START_TIMEOUT_S", 0.3)
    monkeypatch.setattr(engine_process, "STOP_TIMEOUT_S", 0.1)
    path = tmp_path / "engine"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    engine = NativeEngine(path)
    with pytest.raises(MediaError, match=problem):
        await engine.start()
    await engine.close()
    assert engine.pid is None


def config(**changes: object) -> Settings:
    return Settings(_env_file=None, **changes)  # type: ignore[call-arg, arg-type]


def test_the_engine_is_chosen(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert isinstance(make_engine(config()), SdkEngine)
    assert isinstance(make_engine(config(media_engine_program=program)), NativeEngine)
    assert isinstance(make_engine(config(media_engine="sdk", media_engine_program=program)), SdkEngine)
    with pytest.raises(ConfigError, match="not found"):
        make_engine(config(media_engine=MediaEngineChoice.NATIVE))
    with pytest.raises(ConfigError, match="not a program"):
        make_engine(config(media_engine_program=program.parent / "nothing"))
    with pytest.raises(ConfigError, match="JITTER"):
        make_engine(config(media_engine_program=program, jitter_min_ms=60, jitter_max_ms=20))
