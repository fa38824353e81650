"""Decides when the caller's speech starts and ends, from speech probabilities and frame levels.

In come the level of each 20 ms frame and the speech probability of each detector window; out come `SpeechStarted`,
`SpeechPaused` and `SpeechEnded` with the true instants, and the voiced time so far. Called by `agent/pipeline/lane.py`.

A detector is sure of speech only some windows after it began, and stays sure for some windows after it ended. The
instants given out are those of the speech itself: start and end are walked back by the levels of the frames, to where
they stand out of the noise. From that true end the hangover is counted, so the detector's decay costs no time.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from trunkline.core.hangover import Hangover, HangoverParams
from trunkline.core.units import FRAME_S, SILENCE_DBFS

_SLACK_S = 0.1
"""Frames are kept a little longer than is walked back, since windows and frames do not end together."""

LEVEL_FRAMES = 3

FIRST_FRAMES = 25
"""The noise of the line is learned sooner in the first half second of a call."""

LOUDEST_GATE_DBFS = -38.0
"""However loud the caller was: a sound above this can be the caller's, who may have moved away from the phone."""

DOUBT_S = 0.1
"""So much longer is waited where something is heard at the end of the hangover."""
TAIL_S = 0.1
"""A detector may lose the last syllable: as long as it is as loud as speech, and unbroken, it is speech for so long."""
PAUSE_S = 0.08
"""A shorter silence is the closure of a plosive, not a pause."""
SAME_THOUGHT_S = 1.0
"""Who goes on so soon after the end of a turn, unanswered, had not finished: the hangover was too short."""
FRESH_VOICE_S = 0.5
"""After so much more voice, words that were understood are not the last ones any more, and tell nothing of the end."""
WORD_S = 0.2
"""Voiced time of what can be a word; less does not tell how a caller pauses."""


@dataclass(frozen=True, slots=True)
class EndpointingParams:
    """How sure, and how long.

    Args:
        start_probability: A window at least this sure starts speech.
        soft_start_probability: Two windows in a row at least this sure start speech, too.
        stop_probability: A window below this is silence.
        hangover: Bounds of the silence that ends the burst.
        lookback_s: How far start and end may each be walked back, in seconds.
        stand_out_db: A frame belongs to the speech if it is this much above the noise floor.
        start_stand_out_db: A window can start speech if its loudest frame is this much above the noise floor, which
            people in the background rarely are.
        below_caller_db: Nor can a window start speech that is this much below what the caller is known to speak at.
        below_caller_still_db: Nor does it go on with speech where it is this much below.
        minimum_dbfs: Frames below this are never speech.
        ask_ahead_s: So long before the end of the hangover a pause is told of, for recognizers that can give their
            last words meanwhile; 0: it is not.
    """

    start_probability: float = 0.7
    soft_start_probability: float = 0.45
    stop_probability: float = 0.3
    hangover: HangoverParams = field(default_factory=HangoverParams)
    lookback_s: float = 0.3
    stand_out_db: float = 6.0
    start_stand_out_db: float = 9.0
    below_caller_db: float = 10.0
    below_caller_still_db: float = 26.0
    minimum_dbfs: float = -55.0
    ask_ahead_s: float = 0.0


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """The caller began to speak at `at` (monotonic seconds, start of the first frame of the speech)."""

    at: float


@dataclass(frozen=True, slots=True)
class SpeechContinues:
    """The caller is still speaking; `voiced_s` seconds of this burst were voiced so far."""

    voiced_s: float


@dataclass(frozen=True, slots=True)
class SpeechPaused:
    """The caller has been silent since `at` (monotonic seconds): they may have finished, or go on."""

    at: float


@dataclass(frozen=True, slots=True)
class SpeechEnded:
    """The burst is over; its last frame ended at `at` (monotonic seconds)."""

    at: float


EndpointEvent = SpeechStarted | SpeechContinues | SpeechPaused | SpeechEnded


class Endpointer:
    """Turns levels and probabilities of one caller into bursts of speech.

    Args:
        params: Thresholds and times.
    """

    def __init__(self, params: EndpointingParams | None = None) -> None:
        self.params = params or EndpointingParams()
        self.hangover = Hangover(self.params.hangover)
        self.speaking = False
        # When the end is known, the hangover and a window lie between it and the newest frame.
        kept_s = self.params.lookback_s + self.params.hangover.max_s + _SLACK_S
        self._frames: deque[tuple[float, float]] = deque(maxlen=round(kept_s / FRAME_S))
        self._floor_dbfs = -60.0
        self._floor_frames = 0
        self._caller_dbfs: float | None = None
        self._soft_windows = 0
        self._voiced_s = 0.0
        self._words_voiced_s = 0.0
        self._started_at = 0.0
        self._last_voiced_at = 0.0
        self._silent_since: float | None = None
        self._paused = False
        self._ended_at: float | None = None
        self._gap_s: float | None = None
        self._others_until = 0.0

    def frame(self, ended_at: float, level_dbfs: float) -> SpeechPaused | SpeechEnded | None:
        """Takes the level of one 20 ms frame.

        Args:
            ended_at: Monotonic seconds at which its last sample was there.
            level_dbfs: Root mean square level; -100 for silence.

        Returns:
            The end of the burst, where its hangover is over; a pause, where that is near.
        """
        self._frames.append((ended_at, level_dbfs))
        if self.speaking:
            self._follow_tail(ended_at, level_dbfs)
            return self._end_if_silent(ended_at)
        # The floor is the noise's usual level. It sinks sooner than it rises, so that speech does not lift it.
        level = max(level_dbfs, SILENCE_DBFS)
        self._floor_frames += 1
        rise = 0.02 if self._floor_frames > FIRST_FRAMES else 0.1
        step = 0.06 if level < self._floor_dbfs else rise
        self._floor_dbfs += step * (level - self._floor_dbfs)
        return None

    def window(self, started_at: float, length_s: float, probability: float) -> EndpointEvent | None:
        """Takes the probability that one detector window holds speech.

        Args:
            started_at: Monotonic seconds of its first sample.
            length_s: Its length in seconds.
            probability: Between 0 and 1.

        Returns:
            What that means, if anything.
        """
        ended_at = started_at + length_s
        if self.speaking:
            return self._while_speaking(started_at, ended_at, probability)
        sure = probability >= self.params.start_probability
        self._soft_windows = self._soft_windows + 1 if probability >= self.params.soft_start_probability else 0
        if not sure and self._soft_windows < 2:
            return None
        if self._level_dbfs(ended_at) < self._gate_dbfs():
            self._soft_windows = 0
            return None
        onset_at = self._onset(started_at - (self._soft_windows - 1) * length_s if self._soft_windows else started_at)
        self.speaking = True
        self._started_at = onset_at
        self._soft_windows = 0
        self._voiced_s = max(length_s, ended_at - onset_at)
        self._last_voiced_at = ended_at
        self._silent_since = None
        self._paused = False
        self._gap_s = None if self._ended_at is None else onset_at - self._ended_at
        self.hear("")
        self.hangover.judge(None)
        return SpeechStarted(onset_at)

    def stands_out(self, level_dbfs: float) -> bool:
        """Whether a sound of this level could be the beginning of the caller's speech."""
        return level_dbfs >= self._gate_dbfs()

    def hear(self, words: str) -> None:
        """What the recognizer understood of the burst so far: an unfinished phrase is waited for."""
        self.hangover.hear(words)
        self._words_voiced_s = self._voiced_s

    def silent_s(self, now: float) -> float:
        """How long the caller has been silent within the burst that is open."""
        return 0.0 if self._silent_since is None or not self.speaking else now - self._silent_since

    def not_the_caller(self, until: float) -> None:
        """What was heard until then (monotonic seconds) is somebody else's: no speech of the caller begins in it."""
        self._others_until = until

    def answered(self) -> None:
        """The agent speaks: what the caller says next is a new thought, however soon it comes."""
        self._ended_at = self._gap_s = None

    def _while_speaking(self, started_at: float, ended_at: float, probability: float) -> EndpointEvent | None:
        # What is too quiet is the detector's decay, or somebody in the background.
        level_dbfs = self._level_dbfs(ended_at)
        if probability >= self.params.stop_probability and level_dbfs >= self._still_dbfs():
            if self._silent_since is not None and started_at - self._silent_since >= PAUSE_S:
                self.hangover.went_on_after(started_at - self._silent_since)
            if self._silent_since is not None:
                self._silent_since = None
                self._paused = False
                self.hangover.judge(None)
            self._last_voiced_at = ended_at
            self._voiced_s += ended_at - started_at
            if self._voiced_s - self._words_voiced_s > FRESH_VOICE_S:
                self.hear("")
            self._learn_level(level_dbfs)
            self._learn_from_gap()
            return SpeechContinues(self._voiced_s)
        if self._silent_since is None:
            self._silent_since = self._end(self._last_voiced_at)
            for frame_ended_at, frame_dbfs in self._frames:
                if frame_ended_at > self._silent_since:
                    self._follow_tail(frame_ended_at, frame_dbfs)
        return self._end_if_silent(ended_at)

    def _follow_tail(self, ended_at: float, level_dbfs: float) -> None:
        """Moves the end to that of this frame, where the last syllable goes on in it."""
        since = self._silent_since
        if since is None or ended_at > self._last_voiced_at + TAIL_S or ended_at - FRAME_S > since + FRAME_S / 2:
            return
        if self.stands_out(level_dbfs):
            self._silent_since = ended_at

    def _end_if_silent(self, now: float) -> SpeechPaused | SpeechEnded | None:
        """Ends the burst once the detector knows of silence, and that has lasted for the hangover."""
        if self._silent_since is None:
            return None
        # A sound in this moment may be the caller who goes on: the detector needs some windows to tell.
        may_go_on = self._frames[-1][1] >= self._still_dbfs() if self._frames else False
        silent_s = now - self._silent_since + 1e-6
        hangover_s = self.hangover.seconds
        if silent_s < hangover_s + (DOUBT_S if may_go_on else 0.0):
            ahead_s = self.params.ask_ahead_s
            if not ahead_s or self._paused or may_go_on or silent_s < max(hangover_s - ahead_s, PAUSE_S):
                return None
            self._paused = True
            return SpeechPaused(self._silent_since)
        self.speaking = False
        self._ended_at = self._silent_since
        return SpeechEnded(self._silent_since)

    def _learn_from_gap(self) -> None:
        """A caller who goes on soon after an end that nobody answered was cut off."""
        if self._gap_s is not None and self._voiced_s >= WORD_S:
            if self._gap_s < SAME_THOUGHT_S:
                self.hangover.went_on_after(self._gap_s)
            self._gap_s = None

    def _learn_level(self, level_dbfs: float) -> None:
        """How loud the caller is in loud moments: quickly up, slowly down, and not from what may be no word."""
        if self._voiced_s < WORD_S:
            return
        if self._caller_dbfs is None:
            self._caller_dbfs = level_dbfs
        step = 0.2 if level_dbfs > self._caller_dbfs else 0.03
        self._caller_dbfs += step * (level_dbfs - self._caller_dbfs)

    def _gate_dbfs(self) -> float:
        """What is quieter starts no speech."""
        gate_dbfs = max(self._floor_dbfs + self.params.start_stand_out_db, self.params.minimum_dbfs)
        if self._caller_dbfs is not None:
            gate_dbfs = max(gate_dbfs, self._caller_dbfs - self.params.below_caller_db)
        return min(gate_dbfs, max(LOUDEST_GATE_DBFS, self._floor_dbfs + self.params.start_stand_out_db))

    def _still_dbfs(self) -> float:
        """What is quieter does not go on with speech."""
        still_dbfs = self._threshold_dbfs()
        if self._caller_dbfs is not None:
            still_dbfs = max(still_dbfs, min(self._caller_dbfs - self.params.below_caller_still_db, LOUDEST_GATE_DBFS))
        return still_dbfs

    def _level_dbfs(self, ended_at: float) -> float:
        """Level of the 60 ms before an instant: a peak in the background is shorter, a syllable is not."""
        powers = []
        for frame_ended_at, level_dbfs in self._back_from(ended_at):
            if frame_ended_at - FRAME_S / 2 <= ended_at:
                powers.append(10.0 ** (level_dbfs / 10.0))
            if len(powers) == LEVEL_FRAMES:
                break
        return 10.0 * math.log10(sum(powers) / len(powers)) if powers else SILENCE_DBFS

    def _onset(self, detected_at: float) -> float:
        """Start of the unbroken run of frames that stand out of the noise and reach the detected window."""
        threshold_dbfs = self._threshold_dbfs()
        onset_at = detected_at
        quiet_frames = 0
        for ended_at, level_dbfs in self._back_from(detected_at):
            if ended_at <= self._others_until:
                break
            if level_dbfs >= threshold_dbfs:
                onset_at = min(onset_at, ended_at - FRAME_S)
                quiet_frames = 0
            else:
                quiet_frames += 1
                # One frame of quiet is the closure of a plosive, two are the pause before the speech.
                if quiet_frames == 2:
                    break
        return onset_at

    def _end(self, detected_at: float) -> float:
        """End of the last frame that stands out; where none does, of the last window that was sure enough."""
        threshold_dbfs = self._threshold_dbfs()
        for ended_at, level_dbfs in self._back_from(detected_at):
            if level_dbfs >= threshold_dbfs:
                return max(self._started_at, min(ended_at, detected_at))
        return detected_at

    def _threshold_dbfs(self) -> float:
        return max(self._floor_dbfs + self.params.stand_out_db, self.params.minimum_dbfs)

    def _back_from(self, instant: float) -> Iterator[tuple[float, float]]:
        """End and level of the frames that began by `instant`, newest first, as far as may be walked back."""
        for ended_at, level_dbfs in reversed(self._frames):
            if ended_at <= instant - self.params.lookback_s:
                return
            if ended_at - FRAME_S <= instant:
                yield ended_at, level_dbfs
