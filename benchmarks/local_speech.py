"""How well, and how fast, the local recognizer understands callers on the telephone, without any server.

    python benchmarks/local_speech.py                     all sentences, all voices of the simulated callers
    python benchmarks/local_speech.py --rates 100 120 150 --noise -50 -40
    python benchmarks/local_speech.py --recordings FOLDER recordings of real calls: NAME.wav and NAME.txt (the words)

espeak-ng speaks; the sound goes through the telephone's band, G.711 mu-law at 8 kHz and, where soundfile can do it,
Opus; the worker's own lane cuts the bursts; the recognizer's own decoder hears them in the same pieces of 20 ms.
Besides the list's sentences it speaks others, which must not be understood.

Times are those of the machine it runs on: first word and final are counted from the true start and end of the speech.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import time
import wave
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soxr

from trunkline.agent.pipeline.lane import CallerLane
from trunkline.agent.pipeline.phrase_decoder import PhraseDecoder
from trunkline.agent.pipeline.phrases import PhraseBook, load_phrases
from trunkline.agent.pipeline.vad import VoiceActivity, VoiceStream
from trunkline.core.endpointing import EndpointEvent, EndpointingParams, SpeechEnded, SpeechStarted
from trunkline.core.units import FRAME_S, FRAME_SAMPLES, SAMPLE_RATE_HZ, Pcm, samples_to_s
from trunkline.loadtest.voice import RATE_WPM, VOICES, speak
from trunkline.media.engine import CallerFrame

PAUSE_S = 0.6
"""Quiet line before and after a sentence; long enough for the hangover."""
LINE_NOISE_DBFS = -70.0
OTHER_SENTENCES = (
    "what is the weather like today",
    "the train leaves at seven in the morning",
    "my dog likes to sleep in the sun",
    "could you bring me a glass of water",
    "we are going to the cinema tonight",
    "she sells sea shells by the sea shore",
    "turn left at the next traffic light",
    "i have never been to australia",
    "the meeting was moved to thursday",
    "is there a pharmacy near the station",
    "he bought three kilos of potatoes",
    "my neighbour plays the trumpet every evening",
    "do you know a good restaurant",
    "where is the nearest bank",
    "what are you doing",
    "how much snow fell last winter",
    "yes",
    "hello is anybody there",
    "one two three four five",
    "i would like a cup of coffee",
)


@dataclass(frozen=True, slots=True)
class Spoken:
    """One sentence of one caller, as the agent's worker gets it: int16, mono, 16000 Hz."""

    group: str
    words: str
    samples: Pcm


@dataclass(slots=True)
class Take:
    """What became of one sentence. Times in seconds of speech, plus what the decoder took for it."""

    spoken: Spoken
    finals: list[str] = field(default_factory=list)
    first_word_s: float | None = None
    final_s: float | None = None
    decoded_s: float = 0.0
    decoding_s: float = 0.0

    @property
    def understood(self) -> str:
        return " ".join(text for text in self.finals if text)


class ImmediateActivity(VoiceActivity):
    """The worker's model without the wait for windows of other calls: time is made up here."""

    def schedule(self, stream: VoiceStream, started_at: float, window: np.ndarray, _hurry: bool) -> None:
        self._waiting.append((stream, started_at, window))
        self._run()


class DecoderInput:
    """Stands in for the pipeline's door: what the lane lets in goes straight to a decoder."""

    def __init__(self, decoder: PhraseDecoder, take: Take) -> None:
        self.now = 0.0
        self._decoder = decoder
        self._take = take
        self._first_at: float | None = None

    def start_speech(self) -> None:
        self._decoder.begin()

    def audio(self, samples: Pcm) -> None:
        began = time.perf_counter()
        words = self._decoder.feed(samples.tobytes())
        self._spent(began)
        self._take.decoded_s += samples_to_s(samples.size)
        if words and self._first_at is None and words.split()[0] == self._take.spoken.words.split()[0]:
            self._first_at = self.now

    def stop_speech(self, hangover_s: float) -> None:
        began = time.perf_counter()
        self._take.finals.append(self._decoder.finish())
        self._take.final_s = self.now + self._spent(began)

    def on_event(self, event: EndpointEvent) -> None:
        """Counts the times from where the endpointer says that speech started and ended."""
        if isinstance(event, SpeechStarted):
            self._started_at = event.at
        elif isinstance(event, SpeechEnded):
            if self._first_at is not None:
                self._take.first_word_s = self._first_at - self._started_at
            if self._take.final_s is not None:
                self._take.final_s -= event.at

    def _spent(self, began: float) -> float:
        spent_s = time.perf_counter() - began
        self._take.decoding_s += spent_s
        return spent_s


def hear(spoken: Spoken, activity: VoiceActivity, decoder: PhraseDecoder) -> Take:
    """Sends one sentence through lane and decoder."""
    take = Take(spoken)
    door = DecoderInput(decoder, take)
    lane = CallerLane(activity, door, door.on_event, EndpointingParams())  # type: ignore[arg-type]
    for start in range(0, spoken.samples.size - FRAME_SAMPLES + 1, FRAME_SAMPLES):
        door.now = samples_to_s(start) + FRAME_S
        lane.on_frame(CallerFrame(door.now, spoken.samples[start : start + FRAME_SAMPLES]))
    lane.close()
    return take


def over_the_phone(samples: Pcm, noise_dbfs: float = LINE_NOISE_DBFS, opus: bool = True) -> Pcm:
    """A sentence as it arrives: 8 kHz, line noise, mu-law, Opus, 16 kHz; with quiet around it."""
    narrow = soxr.resample(samples.astype(np.float32) / 32768, SAMPLE_RATE_HZ, 8000)
    pause = np.zeros(round(PAUSE_S * 8000), dtype=np.float32)
    narrow = np.concatenate([pause, narrow, pause])
    noise = np.random.default_rng(len(samples)).normal(0, 10 ** (noise_dbfs / 20), narrow.size)
    wide = soxr.resample(mu_law(narrow + noise), 8000, SAMPLE_RATE_HZ)
    if opus:
        wide = through_opus(wide)
    heard: Pcm = (np.clip(wide, -1, 1) * 32767).astype(np.int16)
    return heard


def mu_law(samples: np.ndarray) -> np.ndarray:
    """There and back through the curve of G.711 in 8 bits; -1 to 1."""
    curved = np.sign(samples) * np.log1p(255 * np.minimum(np.abs(samples), 1)) / np.log(256)
    steps = np.round(curved * 127) / 127
    return np.sign(steps) * np.expm1(np.abs(steps) * np.log(256)) / 255


def through_opus(samples: np.ndarray) -> np.ndarray:
    """There and back through Opus at the library's usual rate, 16000 Hz; unchanged where soundfile is missing."""
    try:
        import soundfile
    except ImportError:
        return samples
    file = io.BytesIO()
    soundfile.write(file, samples, SAMPLE_RATE_HZ, format="OGG", subtype="OPUS")
    file.seek(0)
    decoded, rate_hz = soundfile.read(file, dtype="float32")
    return decoded if rate_hz == SAMPLE_RATE_HZ else soxr.resample(decoded, rate_hz, SAMPLE_RATE_HZ)


def noises() -> Iterator[Spoken]:
    """Sounds of two seconds that are no speech: hiss, hum, clicks, keys."""
    random = np.random.default_rng(1)
    length = 2 * SAMPLE_RATE_HZ
    time_s = np.arange(length) / SAMPLE_RATE_HZ
    clicks = (random.random(length) < 0.0005) * random.normal(0, 0.8, length)
    sounds = {
        "hiss": random.normal(0, 0.1, length),
        "hum": 0.3 * np.sin(2 * np.pi * 100 * time_s) + 0.1 * np.sin(2 * np.pi * 300 * time_s),
        "clicks": np.convolve(clicks, np.hanning(60), "same"),
        "keys": 0.2 * (np.sin(2 * np.pi * 770 * time_s) + np.sin(2 * np.pi * 1336 * time_s)) * (time_s % 0.3 < 0.15),
        "babble": np.cumsum(random.normal(0, 0.02, length)) % 0.5 - 0.25,
    }
    for name, sound in sounds.items():
        yield Spoken("noise", name, over_the_phone((np.clip(sound, -1, 1) * 32767).astype(np.int16)))


async def spoken_by_callers(
    sentences: Iterable[str], voices: list[str], rates: list[int], noise: list[float]
) -> list[Spoken]:
    """All sentences by all voices, at all rates, on lines of all these qualities."""
    spoken = []
    for voice in voices:
        for rate_wpm in rates:
            for sentence in sentences:
                samples = await speak(sentence, voice, rate_wpm)
                for noise_dbfs in noise:
                    group = f"{voice} {rate_wpm} wpm" + (f" {noise_dbfs:.0f} dBFS" if len(noise) > 1 else "")
                    spoken.append(Spoken(group, sentence, over_the_phone(samples, noise_dbfs)))
    return spoken


def recorded(folder: Path) -> list[Spoken]:
    """Recordings of real calls: NAME.wav (mono, int16, 16000 Hz) with its words in NAME.txt."""
    spoken = []
    for path in sorted(folder.glob("*.wav")):
        with wave.open(str(path)) as file:
            if (file.getnchannels(), file.getsampwidth(), file.getframerate()) != (1, 2, SAMPLE_RATE_HZ):
                raise SystemExit(f"{path}: must be mono, 16-bit, {SAMPLE_RATE_HZ} Hz")
            samples = np.frombuffer(file.readframes(file.getnframes()), dtype=np.int16)
        spoken.append(Spoken(path.stem.split("-s")[0], path.with_suffix(".txt").read_text().strip(), samples))
    return spoken


def report(takes: list[Take], others: list[Take], book: PhraseBook) -> None:
    """Prints all figures."""
    groups: dict[str, list[bool]] = {}
    confusions: Counter[tuple[str, str]] = Counter()
    for take in takes:
        right = take.understood == take.spoken.words
        groups.setdefault(take.spoken.group, []).append(right)
        if not right:
            confusions[take.spoken.words, take.understood or "(nothing)"] += 1
    for group, rights in groups.items():
        print(f"{group:32} understood {sum(rights):3} of {len(rights):3}")
    right = len(takes) - sum(confusions.values())
    print(f"{'all':32} understood {right:3} of {len(takes):3}  ({right / max(1, len(takes)):.1%})")
    wrong = sum(count for (_, heard), count in confusions.items() if heard != "(nothing)")
    print(f"{'taken for another sentence':32} {wrong:14} of {len(takes):3}")
    for (said, heard), count in confusions.most_common():
        print(f"  {count} x {said!r} -> {heard!r}")
    falsely = [take for take in others if take.understood]
    print(f"{'not in the list':32} understood {len(falsely):3} of {len(others):3}  (false)")
    for take in falsely:
        print(f"  {take.spoken.group}: {take.spoken.words!r} -> {take.understood!r}")
    tell_times("first right word after the start of speech", [take.first_word_s for take in takes])
    tell_times("final after the end of speech", [take.final_s for take in takes])
    decoded_s = sum(take.decoded_s for take in takes + others)
    print(f"decoding takes {sum(take.decoding_s for take in takes + others) / max(decoded_s, 1e-9):.3f} of real time")
    print(f"{len(book.sentences)} sentences")


def tell_times(name: str, times_s: list[float | None]) -> None:
    """Prints percentiles in ms."""
    known = sorted(time_s * 1000 for time_s in times_s if time_s is not None)
    if known:
        p50, p95 = np.percentile(known, [50, 95])
        print(f"{name}: p50 {p50:.0f} ms, p95 {p95:.0f} ms, longest {known[-1]:.0f} ms")


def main() -> None:
    """Reads the command line, speaks, listens, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voices", nargs="+", default=list(VOICES))
    parser.add_argument("--rates", nargs="+", type=int, default=[RATE_WPM], help="words a minute")
    parser.add_argument("--noise", nargs="+", type=float, default=[LINE_NOISE_DBFS], help="dBFS on the line")
    parser.add_argument("--phrases", type=Path, help="another list of sentences")
    parser.add_argument("--recordings", type=Path, help="recordings of real calls instead of spoken sentences")
    args = parser.parse_args()
    book = load_phrases(args.phrases)
    if args.recordings:
        spoken = recorded(args.recordings)
        others = []
    else:
        spoken = asyncio.run(spoken_by_callers(book.sentences, args.voices, args.rates, args.noise))
        others = asyncio.run(spoken_by_callers(OTHER_SENTENCES, args.voices, [RATE_WPM], [LINE_NOISE_DBFS]))
        others += noises()
    activity = ImmediateActivity()
    decoder = PhraseDecoder(list(book.sentences), book.sounds)
    takes = [hear(one, activity, decoder) for one in spoken]
    report(takes, [hear(one, activity, decoder) for one in others], book)


if __name__ == "__main__":
    main()
