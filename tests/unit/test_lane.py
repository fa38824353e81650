"""The caller's lane: what the voice activity model gets to hear, and when it is spared."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from trunkline.agent.pipeline.lane import LISTEN_BACK_FRAMES, LISTEN_ON_S, CallerLane
from trunkline.core.endpointing import EndpointEvent, EndpointingParams, SpeechEnded, SpeechStarted
from trunkline.core.units import FRAME_S, FRAME_SAMPLES
from trunkline.media.engine import CallerFrame
from trunkline.testing.speech import silence, tone

LISTEN_ON_FRAMES = round(LISTEN_ON_S / FRAME_S)


class Model:
    """Notes what it is given; sure of speech where it is loud."""

    def __init__(self) -> None:
        self.heard: list[float] = []
        self.rests = 0

    def open(self, on_window: Callable[[float, float], None]) -> Model:
        self._on_window = on_window
        return self

    def feed(self, frame: CallerFrame) -> None:
        self.heard.append(round(frame.ended_at, 2))
        self._on_window(frame.ended_at - FRAME_S, 1.0 if np.abs(frame.samples).max() > 500 else 0.0)

    def reset(self) -> None: ...

    def rest(self) -> None:
        self.rests += 1

    def close(self) -> None: ...


class Door:
    """The pipeline's door, which counts."""

    def __init__(self) -> None:
        self.frames = 0

    def start_speech(self) -> None: ...

    def stop_speech(self, hangover_s: float) -> None: ...

    def audio(self, samples: object) -> None:
        self.frames += 1


def run(*pieces: np.ndarray) -> tuple[Model, Door, list[EndpointEvent]]:
    model, door, events = Model(), Door(), list[EndpointEvent]()
    lane = CallerLane(model, door, events.append, EndpointingParams())  # type: ignore[arg-type]
    samples = np.concatenate(pieces)
    for number in range(samples.size // FRAME_SAMPLES):
        piece = samples[number * FRAME_SAMPLES : (number + 1) * FRAME_SAMPLES]
        lane.on_frame(CallerFrame((number + 1) * FRAME_S, piece))
    return model, door, events


def test_the_model_is_spared_a_long_silence() -> None:
    model, _, events = run(silence(10.0))
    assert len(model.heard) == LISTEN_ON_FRAMES
    assert (model.rests, events) == (1, [])


def test_speech_after_a_silence_is_heard_from_before_its_start() -> None:
    model, door, events = run(silence(2.0), tone(0.5), silence(2.0))
    assert [type(event) for event in events if not hasattr(event, "voiced_s")] == [SpeechStarted, SpeechEnded]
    first = model.heard[LISTEN_ON_FRAMES]
    assert first == round(2.0 - (LISTEN_BACK_FRAMES - 1) * FRAME_S, 2)
    assert model.heard == sorted(model.heard)
    assert model.rests == 2
    # All of the speech, what came before it, and the hangover.
    assert door.frames >= 25 + 10


def test_a_pause_inside_speech_spares_nothing() -> None:
    model, _, _ = run(tone(0.5), silence(0.15), tone(0.5))
    assert len(model.heard) == 57
    assert model.rests == 0


def test_a_noise_that_could_be_speech_is_always_heard() -> None:
    model, _, _ = run(tone(3.0, dbfs=-50.0))
    assert len(model.heard) == 150


class TestOwnVoice:
    """The agent's echo is no speech."""

    def test_an_echo_starts_nothing_and_a_caller_over_it_does(self) -> None:
        random = np.random.default_rng(5)
        agent = (random.normal(0, 3_000, 48_000)).astype(np.int16)
        caller = (random.normal(0, 4_000, 16_000)).astype(np.int16)
        echo = np.concatenate([silence(0.6), (agent * 0.2).astype(np.int16)])[:48_000]
        both = echo.copy()
        both[32_000:48_000] += caller
        for heard, starts in ((echo, 0), (both, 1)):
            events: list[EndpointEvent] = []
            lane = CallerLane(Model(), Door(), events.append, EndpointingParams())  # type: ignore[arg-type]
            lane.own_voice.queue(agent, 0.5)
            lane.answered(0.5)
            for number in range(heard.size // FRAME_SAMPLES):
                piece = heard[number * FRAME_SAMPLES : (number + 1) * FRAME_SAMPLES]
                lane.on_frame(CallerFrame((number + 1) * FRAME_S, piece))
            found = [event for event in events if isinstance(event, SpeechStarted)]
            assert len(found) == starts
            assert lane.echo_windows > 20
            if found:
                assert abs(found[0].at - 2.0) < 0.15

    def test_the_same_sound_is_speech_where_the_agent_is_silent(self) -> None:
        random = np.random.default_rng(5)
        _, _, events = run(silence(1.0), random.normal(0, 600, 16_000).astype(np.int16), silence(1.0))
        assert isinstance(events[0], SpeechStarted)


def test_words_that_want_more_hold_the_burst_open() -> None:
    ended_at = {}
    for words in ("my number is 5", "that is all"):
        events: list[EndpointEvent] = []
        lane = CallerLane(Model(), Door(), events.append, EndpointingParams())  # type: ignore[arg-type]
        samples = np.concatenate([silence(0.5), tone(0.5), silence(1.0)])
        for number in range(samples.size // FRAME_SAMPLES):
            now = (number + 1) * FRAME_S
            if number == 45:
                lane.hear(words)
            lane.on_frame(CallerFrame(now, samples[number * FRAME_SAMPLES : (number + 1) * FRAME_SAMPLES]))
            if isinstance(events[-1] if events else None, SpeechEnded):
                ended_at.setdefault(words, now)
    assert ended_at["my number is 5"] - ended_at["that is all"] > 0.25
