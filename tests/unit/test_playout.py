"""The agent's audio waiting to be sent: play, pause, resume and flush, to the sample."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.core.units import FRAME_SAMPLES, Pcm
from trunkline.media.engine import FirstPacket, Halted, LastPacket, MediaEvent, RanDry
from trunkline.media.playout import FADE_SAMPLES, MAX_WAITING_SAMPLES, Playout

pytestmark = pytest.mark.unit


def ramp(samples: int, start: int = 1) -> Pcm:
    """Samples that tell their own place: start, start + 1, …"""
    return (np.arange(start, start + samples) % 30_000).astype(np.int16)


def drain(playout: Playout, frames: int = 1_000) -> tuple[list[Pcm], list[MediaEvent]]:
    """Takes frames until the playout is idle."""
    taken: list[Pcm] = []
    events: list[MediaEvent] = []
    for tick in range(frames):
        if playout.idle:
            break
        frame, told = playout.next_frame(tick * 0.02)
        if frame is not None:
            taken.append(frame)
        events += told
    return taken, events


def test_every_sample_is_sent_once_in_order_and_the_last_frame_is_filled_with_silence() -> None:
    playout = Playout()
    playout.play(1, ramp(500))
    playout.play(1, ramp(300, 501))
    playout.end(1)
    frames, events = drain(playout)
    sent = np.concatenate(frames)
    assert sent.size == 3 * FRAME_SAMPLES
    np.testing.assert_array_equal(sent[:800], ramp(800))
    assert not sent[800:].any()
    assert events == [FirstPacket(1, 0.0), LastPacket(1, 0.04, 800)]


def test_running_dry_is_told_once_a_gap_and_only_in_the_middle_of_an_utterance() -> None:
    playout = Playout()
    playout.play(1, ramp(100))
    assert playout.next_frame(0.0) == (None, [])
    playout.play(1, ramp(540, 101))
    assert playout.next_frame(0.02)[1] == [FirstPacket(1, 0.02)]
    playout.next_frame(0.04)
    assert playout.next_frame(0.06) == (None, [RanDry(1, 0.06)])
    assert playout.next_frame(0.08) == (None, [])
    playout.play(1, ramp(320))
    assert playout.next_frame(0.10)[1] == []
    assert playout.next_frame(0.12)[1] == [RanDry(1, 0.12)]


def test_pause_fades_within_ten_milliseconds_and_resume_loses_no_sample() -> None:
    playout = Playout()
    loud = np.full(FRAME_SAMPLES * 4, 10_000, dtype=np.int16)
    playout.play(1, loud)
    playout.end(1)
    playout.next_frame(0.0)
    assert playout.pause(0.01) == [Halted(1, 0.01, FRAME_SAMPLES)]
    fade, _ = playout.next_frame(0.02)
    assert fade is not None
    assert fade[0] == 10_000
    assert abs(int(fade[FADE_SAMPLES - 1])) < 200
    assert not fade[FADE_SAMPLES:].any()
    assert (np.diff(fade[:FADE_SAMPLES].astype(int)) <= 0).all()
    assert playout.next_frame(0.04) == (None, [])
    assert not playout.idle
    playout.resume()
    frames, events = drain(playout)
    assert len(frames) == 3
    assert frames[0][0] == 0
    assert frames[0][FADE_SAMPLES] == 10_000
    assert isinstance(events[-1], LastPacket)
    assert events[-1].samples == FRAME_SAMPLES * 4


def test_flush_fades_drops_the_rest_and_ignores_what_still_comes_of_it() -> None:
    playout = Playout()
    playout.play(1, ramp(3_200))
    playout.next_frame(0.0)
    assert playout.flush(0.01) == [Halted(1, 0.01, FRAME_SAMPLES)]
    frames, events = drain(playout)
    assert len(frames) == 1
    assert events == []
    playout.play(1, ramp(320))
    playout.end(1)
    assert playout.idle
    playout.play(2, ramp(320))
    playout.end(2)
    assert drain(playout)[1][0] == FirstPacket(2, 0.0)


def test_flush_of_a_paused_utterance_tells_where_it_was_and_sends_nothing_more() -> None:
    playout = Playout()
    playout.play(1, ramp(3_200))
    playout.next_frame(0.0)
    playout.pause(0.01)
    playout.next_frame(0.02)
    assert playout.flush(0.1) == [Halted(1, 0.1, FRAME_SAMPLES)]
    assert playout.idle
    assert playout.next_frame(0.12) == (None, [])


def test_pause_before_the_first_sample_holds_the_whole_answer() -> None:
    playout = Playout()
    playout.play(1, ramp(640))
    assert playout.pause(0.0) == [Halted(1, 0.0, 0)]
    assert playout.next_frame(0.02) == (None, [])
    playout.resume()
    playout.end(1)
    assert drain(playout)[1][-1] == LastPacket(1, 0.02, 640)


def test_an_utterance_that_ends_without_a_sample_ends_all_the_same() -> None:
    playout = Playout()
    playout.end(1)
    assert playout.next_frame(0.0) == (None, [LastPacket(1, 0.0, 0)])
    assert playout.idle


def test_pause_and_flush_of_nothing_tell_nothing() -> None:
    playout = Playout()
    assert playout.pause(0.0) == []
    assert playout.flush(0.0) == []
    assert not playout.paused


def test_a_later_utterance_waits_for_the_earlier() -> None:
    playout = Playout()
    playout.play(1, ramp(320))
    playout.play(2, ramp(320, 9_000))
    playout.end(1)
    playout.end(2)
    frames, events = drain(playout)
    assert [frame[0] for frame in frames] == [1, 9_000]
    assert [type(event) for event in events] == [FirstPacket, LastPacket, FirstPacket, LastPacket]


def test_more_than_two_minutes_are_refused_and_counted() -> None:
    playout = Playout()
    playout.play(1, np.ones(MAX_WAITING_SAMPLES, dtype=np.int16))
    playout.play(1, np.ones(10, dtype=np.int16))
    assert playout.refused_samples == 10


@given(
    pieces=st.lists(st.integers(1, 1_500), min_size=1, max_size=8),
    pauses=st.lists(st.integers(1, 30), max_size=4),
)
def test_pauses_and_resumes_anywhere_lose_and_repeat_nothing(pieces: list[int], pauses: list[int]) -> None:
    playout = Playout()
    total = sum(pieces)
    for size, start in zip(pieces, np.cumsum([1, *pieces[:-1]]), strict=True):
        playout.play(1, ramp(size, int(start)))
    playout.end(1)
    sent = 0
    last: LastPacket | None = None
    for tick in range(200):
        if tick in pauses:
            before = playout.pause(tick * 0.02)
            assert all(isinstance(event, Halted) and event.samples == sent for event in before)
            if before:
                playout.next_frame(tick * 0.02)
                assert playout.next_frame(tick * 0.02)[0] is None
                playout.resume()
        frame, events = playout.next_frame(tick * 0.02)
        if frame is not None:
            sent = min(sent + FRAME_SAMPLES, total)
        for event in events:
            if isinstance(event, LastPacket):
                last = event
    assert last is not None
    assert last.samples == total
