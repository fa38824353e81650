"""Recordings: both sides on one clock, what was cut off left out, whole files, and no disk that holds up a call."""

from __future__ import annotations

import wave
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from trunkline.agent import recording, recording_file
from trunkline.agent.recording import Recorder
from trunkline.agent.recording_file import BEHIND_S, RecordingFile
from trunkline.core.errors import ConfigError
from trunkline.core.units import FRAME_S, FRAME_SAMPLES, SAMPLE_RATE_HZ, Pcm, s_to_samples
from trunkline.media.engine import CallerFrame

pytestmark = pytest.mark.unit

START = 500.0


def sound(level: int, seconds: float = FRAME_S) -> Pcm:
    return np.full(s_to_samples(seconds), level, np.int16)


def read(path: Path) -> tuple[Pcm, Pcm]:
    """Caller and agent."""
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (2, 2, SAMPLE_RATE_HZ)
        both = np.frombuffer(file.readframes(file.getnframes()), np.int16).reshape(-1, 2)
    assert path.stat().st_size == 44 + both.size * 2
    return both[:, 0], both[:, 1]


def spans(side: Pcm) -> list[tuple[float, float, int]]:
    """Where it is not silent: from and to in seconds, and its level."""
    edges = np.flatnonzero(np.diff(side, prepend=0, append=0))
    found = [(int(a), int(b)) for a, b in pairwise(edges) if side[a]]
    return [(a / SAMPLE_RATE_HZ, b / SAMPLE_RATE_HZ, int(side[a])) for a, b in found]


def frames(file: RecordingFile, since: float, until: float, level: int) -> None:
    for number in range(round((until - since) / FRAME_S)):
        file.caller(sound(level), START + since + (number + 1) * FRAME_S)


def test_both_sides_are_on_one_clock(tmp_path: Path) -> None:
    file = RecordingFile(tmp_path / "a.wav", START)
    file.agent(sound(7, 0.5), START + 0.2)
    frames(file, 1.0, 2.0, 3)
    file.write_until(START + 1.5)
    file.agent(sound(8, 0.25), START + 2.5)
    frames(file, 3.0, 3.1, 4)
    file.close(START + 4.0)
    caller, agent = read(tmp_path / "a.wav")
    assert spans(caller) == [(1.0, 2.0, 3), (3.0, 3.1, 4)]
    assert spans(agent) == [(0.2, 0.7, 7), (2.5, 2.75, 8)]
    assert caller.size == agent.size == 4 * SAMPLE_RATE_HZ


def test_what_a_barge_in_cuts_off_is_left_out_and_a_pause_is_a_pause(tmp_path: Path) -> None:
    file = RecordingFile(tmp_path / "a.wav", START)
    file.agent(sound(7, 2.0), START)
    file.hold(True, START + 0.5)
    file.write_until(START + 0.9)
    file.hold(False, START + 1.0)
    file.flush(START + 1.5)
    file.agent(sound(8, 0.5), START + 2.0)
    file.close(START + 3.0)
    assert spans(read(tmp_path / "a.wav")[1]) == [(0.0, 0.5, 7), (1.0, 1.5, 7), (2.0, 2.5, 8)]


def test_frames_whose_times_waver_follow_each_other_without_gaps(tmp_path: Path) -> None:
    file = RecordingFile(tmp_path / "a.wav", START)
    for number in range(100):
        file.caller(sound(5), START + (number + 1) * FRAME_S + (0.03 if number % 2 else -0.01))
    file.close(START + 2.0)
    assert spans(read(tmp_path / "a.wav")[0]) == [(0.0, 2.0, 5)]


def test_at_every_moment_the_file_is_whole(tmp_path: Path) -> None:
    file = RecordingFile(tmp_path / "a.wav", START)
    for tick in range(1, 9):
        frames(file, (tick - 1) / 4, tick / 4, 5)
        file.write_until(START + tick / 4)
        assert read(tmp_path / "a.wav")[0].size == max(0, s_to_samples(tick / 4 - BEHIND_S))
    file.abandon()


def test_a_call_that_another_worker_takes_over_goes_on_in_its_file(tmp_path: Path) -> None:
    for level, begun_at in ((5, START), (6, START + 90)):
        file = RecordingFile(tmp_path / "a.wav", begun_at)
        file.caller(sound(level), begun_at + FRAME_S)
        file.close(begun_at + FRAME_S)
    assert [level for *_, level in spans(read(tmp_path / "a.wav")[0])] == [5, 6]


def test_a_long_call_is_recorded_up_to_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording_file, "MAX_SAMPLES", SAMPLE_RATE_HZ)
    file = RecordingFile(tmp_path / "a.wav", START)
    for second in range(5):
        file.agent(sound(5, 1.0), START + second)
        frames(file, second, second + 1, 5)
        file.write_until(START + second + 1)
    file.close(START + 5)
    assert read(tmp_path / "a.wav")[0].size == SAMPLE_RATE_HZ


# --- the thread ---


def record(recorder: Recorder, act: Callable[[recording.Recording], None], call: str = "CA1") -> None:
    recorded = recorder.begin(call)
    act(recorded)
    recorded.close()
    recorder.close()


def test_a_call_becomes_a_file_of_its_name_for_its_owner_alone(tmp_path: Path) -> None:
    at = START
    recorder = Recorder(tmp_path / "new", now=lambda: at)
    recorded = recorder.begin("CA1")
    recorded.agent(sound(7))
    recorded.caller(CallerFrame(at + FRAME_S, sound(3)))
    at += 1.0
    recorded.close()
    recorder.close()
    caller, agent = read(tmp_path / "new" / "CA1.wav")
    assert (caller[0], agent[0], caller.size) == (3, 7, SAMPLE_RATE_HZ)
    assert (tmp_path / "new" / "CA1.wav").stat().st_mode & 0o777 == 0o600


def test_when_the_queue_is_full_sound_is_dropped_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "QUEUE_SOUNDS", 0)
    recorder = Recorder(tmp_path)
    record(recorder, lambda recorded: recorded.agent(sound(7)))
    assert recorder.dropped == 1
    assert read(tmp_path / "CA1.wav")[1].max(initial=0) == 0


def test_a_call_whose_file_fails_is_given_up_and_the_others_go_on(tmp_path: Path) -> None:
    (tmp_path / "CA1.wav").mkdir()
    at = START
    recorder = Recorder(tmp_path, now=lambda: at)
    bad, good = recorder.begin("CA1"), recorder.begin("CA2")
    for recorded in (bad, good):
        recorded.agent(sound(7))
    at += 1.0
    bad.close()
    good.close()
    recorder.close()
    assert read(tmp_path / "CA2.wav")[1][0] == 7


def test_calls_that_are_open_at_the_end_are_whole(tmp_path: Path) -> None:
    at = START
    recorder = Recorder(tmp_path, now=lambda: at)
    recorder.begin("CA1").caller(CallerFrame(at + FRAME_S, sound(3)))
    at += FRAME_S
    recorder.close()
    assert read(tmp_path / "CA1.wav")[0].size == FRAME_SAMPLES


def test_old_recordings_are_deleted(tmp_path: Path) -> None:
    import os

    for name, age_days in (("old", 31), ("new", 29)):
        path = tmp_path / f"{name}.wav"
        path.touch()
        os.utime(path, (path.stat().st_mtime - age_days * 86_400,) * 2)
    recorder = Recorder(tmp_path, keep_days=30)
    recorder._forget()
    recorder.close()
    assert [path.name for path in tmp_path.iterdir()] == ["new.wav"]


def test_a_folder_that_can_not_be_written_is_told_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="RECORDINGS_DIR"):
        Recorder(tmp_path / "file" / "recordings")
