"""Who is taken for an interruption: runs a labelled set through the lane and the turn machine, in made-up time.

    .venv/bin/python -m benchmarks.barge_in            # all clips; exits with 1 under 95 %
    .venv/bin/python -m benchmarks.barge_in --write DIR   # keeps what the lane heard, as WAV files with labels

Each clip is a call: the caller opens it, the agent answers, and over the answer comes a sound. The voice activity
model, endpointing, the turn machine and the playout are the worker's own; the speech recognizer is not there: words of
a clip come so long after each word began. Printed are the confusion tables of the pause and of the decision, and what
of a set of noises would start a turn on a silent line.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import wave
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from benchmarks.labelled_set import (
    AGENT_DBFS,
    ANSWER,
    CAST,
    CONDITIONS,
    HELD_OUT,
    LEVELS_DBFS,
    NOISES,
    OPENING,
    RATE_HZ,
    SPEECH_DBFS,
    Clip,
    Condition,
    Label,
    Sound,
    banded,
    levelled,
    make_set,
    mu_law,
    noise,
    speech,
)

from trunkline.agent.pipeline.lane import CallerLane
from trunkline.agent.pipeline.vad import VoiceActivity, VoiceStream
from trunkline.core.endpointing import EndpointEvent, EndpointingParams, SpeechEnded, SpeechStarted
from trunkline.core.turn import TurnMachine
from trunkline.core.turn_events import (
    AskBrain,
    CancelReply,
    FinalHeard,
    PartialHeard,
    PausePlayout,
    PlaybackEnded,
    PlaybackHalted,
    PlaybackStarted,
    ReplyDecided,
    ResumePlayout,
    TurnEffect,
    TurnEvent,
    TurnParams,
)
from trunkline.core.units import FRAME_S, FRAME_SAMPLES, Pcm
from trunkline.media.engine import CallerFrame, FirstPacket, Halted, LastPacket, MediaEvent
from trunkline.media.playout import Playout

GOAL = 0.95
DECISION_S = 0.3
"""From the pause to the decision."""
NOTICE_S = 0.5
"""From the first sound of an interruption to the pause."""
LEAD_S = 0.4
"""Quiet line before the caller's first word."""
FINAL_S = 0.1
"""From the end of the burst to its final words."""
ANSWER_S = 0.2
"""From the question to the brain to the first sound of the answer."""
UNDER_WAY_S = 1.0
"""The agent has been speaking for so long when the sound comes."""
AFTER_S = 1.5
"""A call goes on for so long after the sound."""
SCENES_AT_ONCE = 100


class LockstepActivity(VoiceActivity):
    """The worker's model, run once for all calls after each of their frames; where there is no hurry, a frame later."""

    def __init__(self) -> None:
        super().__init__()
        self._patient: list[tuple[VoiceStream, float, np.ndarray]] = []
        self._overdue: list[tuple[VoiceStream, float, np.ndarray]] = []

    def schedule(self, stream: VoiceStream, started_at: float, window: np.ndarray, hurry: bool) -> None:
        (self._waiting if hurry else self._patient).append((stream, started_at, window))

    def run(self) -> None:
        """Reports the windows that are due."""
        self._waiting = self._overdue + self._waiting
        self._overdue, self._patient = self._patient, []
        self._run()


class Door:
    """The pipeline's door, where nobody stands."""

    def start_speech(self) -> None: ...

    def stop_speech(self, hangover_s: float) -> None: ...

    def audio(self, samples: Pcm) -> None: ...


@dataclass
class Outcome:
    """What the agent did. Instants are seconds after the first sample of the clip's sound."""

    paused_at: float | None = None
    decided_at: float | None = None
    stopped_at: float | None = None
    resumed: int = 0
    answered: bool = False
    starts: int = 0


@dataclass
class Scene:
    """One call of the set."""

    clip: Clip
    activity: LockstepActivity
    words_after_s: float | None
    keep: bool = False
    outcome: Outcome = field(default_factory=Outcome)

    def __post_init__(self) -> None:
        self.now = 0.0
        self.heard: list[Pcm] = []
        self._machine = TurnMachine(TurnParams())
        self._lane = CallerLane(self.activity, Door(), self._on_endpoint, EndpointingParams())  # type: ignore[arg-type]
        self._playout = Playout()
        self._echo_playout = Playout()
        self._later: list[tuple[float, Callable[[], None]]] = []
        self._sound_at: float | None = None
        self._ends_at = 8.0
        clip, condition = self.clip, self.clip.condition
        self._sound = clip.make()
        self._random = np.random.default_rng(clip.seed)
        self._opening = speech(OPENING, clip.voice)
        self._answer = speech(ANSWER, clip.agent_voice, 150, AGENT_DBFS)
        self._echo: list[np.ndarray] = [np.zeros(FRAME_SAMPLES)] * (1 + round((condition.echo_s) / FRAME_S) + 1)
        self._noise = _line_noise(condition, clip.seed, 16.0)

    @property
    def over(self) -> bool:
        return self.now >= self._ends_at

    def step(self) -> None:
        """20 ms: what is due, what the agent sends, what the caller's side sends."""
        self.now += FRAME_S
        for due in [each for each in self._later if each[0] <= self.now]:
            self._later.remove(due)
            due[1]()
        while (deadline := self._machine.deadline()) is not None and deadline.at <= self.now:
            self._perform(self._machine.on_deadline(deadline.at))
        _, events = self._playout.next_frame(self.now)
        echo, _ = self._echo_playout.next_frame(self.now)
        self._take_media(events)
        samples = self._caller_side(echo)
        self.heard.append(samples)
        self._lane.on_frame(CallerFrame(self.now, samples))

    def close(self) -> None:
        """Forgets all but the outcome: a set is long."""
        self._lane.close()
        self._noise = self._opening = self._answer = self._sound = np.zeros(0)
        self._echo.clear()
        if not self.keep:
            self.heard.clear()

    def _caller_side(self, echo: Pcm | None) -> Pcm:
        """What comes in from the line in these 20 ms."""
        condition = self.clip.condition
        start = round((self.now - FRAME_S) * RATE_HZ)
        mix = self._noise[start % self._noise.size :][:FRAME_SAMPLES]
        mix = np.pad(mix, (0, FRAME_SAMPLES - mix.size)).copy()
        mix += _piece(self._opening, start - round(LEAD_S * RATE_HZ))
        if self._sound_at is not None:
            mix += _piece(self._sound, start - round(self._sound_at * RATE_HZ))
        if condition.echo_db is not None:
            self._echo.append(np.zeros(FRAME_SAMPLES) if echo is None else echo / 32768)
            self._echo = self._echo[-2 - round(condition.echo_s / FRAME_S) :]
            line = np.concatenate(self._echo)
            offset = line.size - FRAME_SAMPLES - round(condition.echo_s * RATE_HZ)
            mix += line[offset : offset + FRAME_SAMPLES] * 10 ** (condition.echo_db / 20)
        if condition.band:
            mix = mu_law(mix)
        return np.asarray(np.clip(mix, -1, 1) * 32767, dtype=np.int16)

    def _on_endpoint(self, event: EndpointEvent) -> None:
        if isinstance(event, SpeechStarted) and self._sound_at is not None:
            self.outcome.starts += 1
        self._feed(event)
        if isinstance(event, SpeechEnded) and not self.outcome.answered:
            self._later.append((self.now + FINAL_S, lambda: self._feed(FinalHeard(OPENING))))

    def _feed(self, event: TurnEvent) -> None:
        self._perform(self._machine.handle(event, self.now))

    def _perform(self, effects: Iterable[TurnEffect]) -> None:
        for effect in effects:
            match effect:
                case AskBrain(turn) if not self.outcome.answered:
                    self.outcome.answered = True
                    self._later.append((self.now + ANSWER_S, lambda turn=turn: self._speak(turn)))
                case PausePlayout():
                    if self.outcome.paused_at is None and self._sound_at is not None:
                        self.outcome.paused_at = self.now - self._sound_at
                    self._lane.own_voice.halted(self.now)
                    self._take_media(self._playout.pause(self.now))
                    self._echo_playout.pause(self.now)
                case ResumePlayout():
                    self.outcome.resumed += 1
                    self._decide()
                    self._lane.own_voice.started(self.now)
                    self._playout.resume()
                    self._echo_playout.resume()
                case CancelReply() if self._sound_at is None:
                    # The opening went on after a pause: it is answered when it is over.
                    self.outcome.answered = False
                    self._later.clear()
                case CancelReply():
                    if self._sound_at is not None and self.outcome.stopped_at is None:
                        self.outcome.stopped_at = self.now - self._sound_at
                        self._decide()
                    self._lane.own_voice.dropped(self.now)
                    self._take_media(self._playout.flush(self.now))
                    self._echo_playout.flush(self.now)
                    self._ends_at = min(self._ends_at, self.now + 0.3)

    def _decide(self) -> None:
        if self.outcome.decided_at is None and self._sound_at is not None:
            self.outcome.decided_at = self.now - self._sound_at

    def _speak(self, turn: int) -> None:
        self._turn = turn
        self._feed(ReplyDecided(turn, ANSWER))
        returned = _handset(banded(self._answer) if self.clip.condition.band else self._answer, self.clip.seed)
        self._playout.play(1, _pcm(self._answer))
        self._lane.own_voice.queue(_pcm(self._answer), self.now)
        self._echo_playout.play(1, _pcm(returned))
        self._playout.end(1)
        self._echo_playout.end(1)
        self._sound_at = self.now + UNDER_WAY_S + self._random.uniform(0, 0.4)
        self._ends_at = self._sound_at + self._sound.size / RATE_HZ + AFTER_S
        if self.words_after_s is not None and self.clip.words:
            words = self.clip.words.split()
            for count in range(1, len(words) + 1):
                began_s = self._sound.size / RATE_HZ * (count - 1) / len(words)
                text = " ".join(words[:count])
                self._later.append((self._sound_at + began_s + self.words_after_s, lambda text=text: self._hear(text)))

    def _hear(self, text: str) -> None:
        """The recognizer hears only what the lane lets in."""
        if self.outcome.starts:
            self._lane.hear(text)
            self._feed(PartialHeard(text))

    def _take_media(self, events: Iterable[MediaEvent]) -> None:
        for event in events:
            match event:
                case FirstPacket(at=at):
                    self._lane.answered(at)
                    self._feed(PlaybackStarted(self._turn, at))
                case LastPacket(at=at, samples=samples):
                    self._feed(PlaybackEnded(self._turn, at, samples))
                case Halted(at=at, samples=samples):
                    self._feed(PlaybackHalted(self._turn, at, samples))


class Silence(Scene):
    """A noise on a line on which nobody speaks: the first thing that is heard of a caller."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._opening = np.zeros(0)
        # What is to hear of a line is there from the moment at which it is answered.
        self._sound_at = 0.0
        self._ends_at = self._sound.size / RATE_HZ + 0.5


def _piece(sound: Sound, start: int) -> Sound:
    """20 ms of a sound from a sample that may lie outside of it."""
    piece = np.zeros(FRAME_SAMPLES)
    if -FRAME_SAMPLES < start < sound.size:
        first = max(start, 0)
        part = sound[first : start + FRAME_SAMPLES]
        piece[first - start : first - start + part.size] = part
    return piece


def _pcm(sound: Sound) -> Pcm:
    return np.asarray(np.clip(sound, -1, 1) * 32767, dtype=np.int16)


def _line_noise(condition: Condition, seed: int, length_s: float) -> Sound:
    quiet = levelled(NOISES["hiss"](seed, length_s), -65.0)
    if condition.noise:
        quiet = quiet + levelled(NOISES[condition.noise](seed, length_s), SPEECH_DBFS - condition.snr_db)
    return banded(quiet) if condition.band else quiet


def _handset(sound: Sound, seed: int) -> Sound:
    """The way from a loudspeaker to the microphone beside it: 20 ms of reflections."""
    random = np.random.default_rng(900 + seed)
    length = round(0.02 * RATE_HZ)
    response = random.normal(0, 0.25, length) * np.exp(-np.arange(length) / (0.005 * RATE_HZ))
    response[0] = 1.0
    returned = np.convolve(sound, response)[: sound.size]
    return returned * np.sqrt(np.mean(sound**2) / np.mean(returned**2))


def run(clips: list[Clip], words_after_s: float | None, kind: type[Scene] = Scene, keep: bool = False) -> list[Scene]:
    """Runs clips side by side, as the calls of a worker."""
    done = []
    for first in range(0, len(clips), SCENES_AT_ONCE):
        activity = LockstepActivity()
        some = clips[first : first + SCENES_AT_ONCE]
        scenes = [_banded_scene(kind, clip, activity, words_after_s, keep) for clip in some]
        running = list(scenes)
        while running:
            for scene in running:
                scene.step()
            activity.run()
            for scene in running:
                if scene.over:
                    scene.close()
            running = [scene for scene in running if not scene.over]
        done += scenes
    return done


def _banded_scene(
    kind: type[Scene], clip: Clip, activity: LockstepActivity, words_after_s: float | None, keep: bool
) -> Scene:
    scene = kind(clip, activity, words_after_s, keep)
    if clip.condition.band:
        scene._opening = banded(scene._opening) if scene._opening.size else scene._opening
        scene._sound = banded(scene._sound)
    return scene


# --- verdict ---


def pause_is_right(scene: Scene) -> bool | None:
    """None where either is right."""
    paused_at = scene.outcome.paused_at
    match scene.clip.label:
        case Label.SPEECH:
            return (paused_at is not None and paused_at <= NOTICE_S) or scene.outcome.stopped_at is not None
        case Label.VOICE:
            return None
    return paused_at is None and scene.outcome.stopped_at is None


def decision_is_right(scene: Scene) -> bool:
    outcome = scene.outcome
    if outcome.paused_at is not None and (
        outcome.decided_at is None or outcome.decided_at - outcome.paused_at > DECISION_S + FRAME_S / 2
    ):
        return False
    if scene.clip.label is Label.SPEECH:
        return outcome.stopped_at is not None and outcome.stopped_at == outcome.decided_at
    return outcome.stopped_at is None


def tables(scenes: list[Scene]) -> tuple[float, float]:
    """Prints both confusion tables, and returns the shares of what is right."""
    groups: dict[str, list[Scene]] = {}
    for scene in scenes:
        groups.setdefault(scene.clip.kind, []).append(scene)
    print(f"{'':14}{'clips':>6} {'paused':>7} {'right':>7}   {'stopped':>7} {'right':>7}   late")
    for kind, group in groups.items():
        pauses = [right for scene in group if (right := pause_is_right(scene)) is not None]
        paused = sum(scene.outcome.paused_at is not None for scene in group)
        stopped = sum(scene.outcome.stopped_at is not None for scene in group)
        late = sum(scene.outcome.resumed > 0 and scene.outcome.stopped_at is not None for scene in group)
        share = f"{sum(pauses) / len(pauses):6.1%}" if pauses else "either"
        right = sum(map(decision_is_right, group)) / len(group)
        print(f"{kind:14}{len(group):6} {paused:7} {share:>7}   {stopped:7} {right:7.1%}   {late:4}")
    counted = [scene for scene in scenes if pause_is_right(scene) is not None]
    print()
    _confusion("pause", "paused", "went on", counted, lambda scene: pause_is_right(scene) is True)
    _confusion("decision", "stopped", "went on", scenes, decision_is_right)
    return (
        sum(pause_is_right(scene) is True for scene in counted) / len(counted),
        sum(map(decision_is_right, scenes)) / len(scenes),
    )


def _confusion(name: str, did: str, did_not: str, scenes: list[Scene], is_right: Callable[[Scene], bool]) -> None:
    speech_ = [scene for scene in scenes if scene.clip.label is Label.SPEECH]
    other = [scene for scene in scenes if scene.clip.label is not Label.SPEECH]
    right, wrong = sum(map(is_right, speech_)), sum(not is_right(scene) for scene in other)
    print(f"{name:22}{did:>10}{did_not:>10}")
    print(f"  interruption      {right:10}{len(speech_) - right:10}")
    print(f"  anything else     {wrong:10}{len(other) - wrong:10}")
    print(f"  right: {(right + len(other) - wrong) / max(1, len(scenes)):.1%}\n")


def tell_mistakes(scenes: list[Scene], most: int) -> None:
    for scene in scenes:
        if pause_is_right(scene) is not False and decision_is_right(scene):
            continue
        if (most := most - 1) < 0:
            return
        clip, out = scene.clip, scene.outcome
        what = f"{clip.kind} {clip.words!r} {clip.voice} seed {clip.seed} [{clip.condition.name}]"
        print(f"  {what}: paused {_ms(out.paused_at)} decided {_ms(out.decided_at)} stopped {_ms(out.stopped_at)}")


def _ms(at_s: float | None) -> str:
    return "-" if at_s is None else f"{at_s * 1000:.0f}"


def silent_line(first_seed: int = 0) -> list[Clip]:
    """Noises that may not start a turn."""
    clips = []
    for kind in ("hum", "hiss", "babble", "music", "keyboard", "dtmf", "breath"):
        for seed in range(first_seed, first_seed + 8):
            for level_dbfs in LEVELS_DBFS[kind]:
                for condition in CONDITIONS[:2]:
                    make = partial(noise, kind, seed, 4.0, level_dbfs)
                    clips.append(Clip(kind, Label.NOISE, make, "", condition, seed=seed))
    return clips


def tell_starts(scenes: list[Scene]) -> float:
    groups: dict[str, list[Scene]] = {}
    for scene in scenes:
        groups.setdefault(scene.clip.kind, []).append(scene)
    print("noises on a silent line that started a turn")
    for kind, group in groups.items():
        print(f"  {kind:12}{sum(scene.outcome.starts > 0 for scene in group):4} of {len(group)}")
    right = sum(scene.outcome.starts == 0 for scene in scenes) / len(scenes)
    print(f"  right: {right:.1%}")
    return right


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--held-out", action="store_true", help="the set on which no threshold was chosen")
    parser.add_argument("--small", action="store_true", help="a few clips of each kind")
    parser.add_argument("--words-after-ms", type=float, default=250.0, help="a word is known so long after it began")
    parser.add_argument("--no-words", action="store_true", help="the recognizer says nothing")
    parser.add_argument("--mistakes", type=int, default=0, help="list so many")
    parser.add_argument("--write", type=Path, help="keep what the lane heard here")
    options = parser.parse_args()
    began_s = time.process_time()
    words_after_s = None if options.no_words else options.words_after_ms / 1000
    cast = HELD_OUT if options.held_out else CAST
    scenes = run(make_set(cast, options.small), words_after_s, keep=options.write is not None)
    print("Speech of espeak-ng and computed noises; no recording of a person is in this set.\n")
    pause, decision = tables(scenes)
    lost = sum(not scene.outcome.answered for scene in scenes)
    if lost:
        print(f"{lost} calls in which the opening was not answered")
    waits = [s.outcome.paused_at for s in scenes if s.clip.label is Label.SPEECH and s.outcome.paused_at is not None]
    if waits:
        print(
            f"from the interruption to the pause: p50 {_ms(np.median(waits))} ms, p95 {_ms(np.quantile(waits, 0.95))}"
        )
    tell_mistakes(scenes, options.mistakes)
    if options.write:
        write(scenes, options.write)
    quiet = tell_starts(run(silent_line(cast.seed)[:: 8 if options.small else 1], None, Silence))
    print(f"\n{len(scenes)} clips, {time.process_time() - began_s:.0f} s of CPU time")
    good = min(pause, decision, quiet) >= GOAL and not lost
    print("reached" if good else f"NOT reached: at least {GOAL:.0%} of each must be right")
    return 0 if good else 1


def write(scenes: list[Scene], folder: Path) -> None:
    """What the lane heard, as NUMBER.wav, and labels.json."""
    folder.mkdir(parents=True, exist_ok=True)
    labels = []
    for number, scene in enumerate(scenes):
        with wave.open(str(folder / f"{number:04}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(RATE_HZ)
            file.writeframes(np.concatenate(scene.heard).tobytes())
        clip = scene.clip
        labels.append(
            {
                "file": f"{number:04}.wav",
                "kind": clip.kind,
                "label": clip.label.value,
                "words": clip.words,
                "line": clip.condition.name,
                "sound_at_s": scene._sound_at,
            }
        )
    (folder / "labels.json").write_text(json.dumps(labels, indent=1))


if __name__ == "__main__":
    sys.exit(main())
