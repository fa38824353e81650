"""The caller's lane: what the voice activity model gets to hear, and when it is spared."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from trunkline.agent.pipeline.lane import LISTEN_BACK_FRAMES, LISTEN_ON_S, CallerLane
from trunkline.core.early_ear import EarlyEar
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

    def feed(self, frame: CallerFrame, hurry: bool = True) -> None:
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


class Pipeline(Door):
    """The pipeline's door, which keeps what is told in order."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []
        self.pieces: list[np.ndarray] = []

    def start_speech(self) -> None:
        self.told.append("start")

    def start_ahead(self) -> None:
        self.told.append("ahead")

    def be_sure(self) -> None:
        self.told.append("sure")

    def take_back(self) -> None:
        self.told.append("back")

    def go_on(self) -> None:
        self.told.append("on")

    def stop_speech(self, hangover_s: float) -> None:
        self.told.append("stop")

    def audio(self, samples: object) -> None:
        assert isinstance(samples, np.ndarray)
        self.pieces.append(samples)


class Doubtful(Model):
    """Is sure of speech only of what is loud, and only after some frames of it."""

    def __init__(self, late_frames: int = 4) -> None:
        super().__init__()
        self._late = late_frames
        self._loud = 0

    def feed(self, frame: CallerFrame, hurry: bool = True) -> None:
        loud = np.abs(frame.samples).max() > 500
        self._loud = self._loud + 1 if loud else 0
        self._on_window(frame.ended_at - FRAME_S, 1.0 if self._loud > self._late else 0.0)


def let_in(model: Model, *pieces: np.ndarray, early: bool = True, speaks: bool = False) -> tuple[Pipeline, list[float]]:
    """What reached the pipeline, and at which instants audio did."""
    door, at = Pipeline(), list[float]()
    params = EndpointingParams(ask_ahead_s=0.12 if early else 0.0)
    lane = CallerLane(model, door, lambda event: None, params, early=EarlyEar() if early else None)  # type: ignore[arg-type]
    if speaks:
        lane.own_voice.queue(tone(5.0), 0.0)
        lane.answered(0.0)
    samples = np.concatenate(pieces)
    for number in range(samples.size // FRAME_SAMPLES):
        before = len(door.pieces)
        lane.on_frame(
            CallerFrame((number + 1) * FRAME_S, samples[number * FRAME_SAMPLES : (number + 1) * FRAME_SAMPLES])
        )
        at += [round((number + 1) * FRAME_S, 2)] * (len(door.pieces) - before)
    return door, at


class TestAhead:
    """Sound is let in before it is known to be speech, and words are asked for before the end."""

    def test_speech_is_let_in_from_its_first_frame_and_only_once(self) -> None:
        said = [silence(1.0), tone(0.6), silence(1.0)]
        door, at = let_in(Doubtful(), *said)
        late, late_at = let_in(Doubtful(), *said, early=False)
        assert door.told == ["ahead", "sure", "stop"]
        assert late.told == ["start", "stop"]
        assert at[0] == 1.02
        assert late_at[0] > 1.08
        # Both hear the same speech, the earlier one no frame twice.
        whole = np.concatenate(door.pieces)
        assert np.count_nonzero(whole) == np.count_nonzero(np.concatenate(late.pieces)) == np.count_nonzero(tone(0.6))

    def test_a_noise_is_taken_back(self) -> None:
        door, at = let_in(Doubtful(late_frames=1_000), silence(1.0), tone(0.4), silence(1.0))
        assert door.told == ["ahead", "back"]
        assert at[-1] < 1.3

    def test_speech_after_a_noise_is_heard_whole(self) -> None:
        door, _ = let_in(Doubtful(late_frames=16), silence(1.0), tone(0.8), silence(1.0))
        assert door.told == ["ahead", "back", "start", "stop"]
        assert np.count_nonzero(np.concatenate(door.pieces)) == np.count_nonzero(tone(0.8))

    def test_what_may_be_the_agents_echo_waits_for_the_detector(self) -> None:
        door, _ = let_in(Doubtful(), silence(1.0), tone(0.3), silence(0.2), speaks=True)
        assert "ahead" not in door.told

    def test_a_pause_is_told_and_the_end_is_not_told_again(self) -> None:
        door, _ = let_in(Doubtful(), silence(1.0), tone(0.6), silence(0.14), tone(0.6), silence(1.0))
        assert door.told == ["ahead", "sure", "stop", "on", "stop"]
