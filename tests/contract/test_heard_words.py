"""What the caller heard, to the word: with voices that tell when each word begins, and with one that does not."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from tests.contract.test_emulated_providers import settings_for
from trunkline.agent.pipeline.assembly import CallPipeline
from trunkline.agent.pipeline.tts import make_tts
from trunkline.agent.pipeline.turn_taking import TurnTaking
from trunkline.agent.transcript import Transcript
from trunkline.core.turn_events import CloseTurn
from trunkline.core.units import Pcm
from trunkline.core.wire import TurnOutcome
from trunkline.emulators.app import serving
from trunkline.emulators.behaviour import Behaviour, Delay
from trunkline.media.transport import AgentOutput
from trunkline.settings import Settings

pytestmark = pytest.mark.contract

SENTENCES = ["Number 1234 is a congratulation for a go at it.", "Number 77 follows."]
FIRST = SENTENCES[0].split()


class Sink:
    """Keeps what the voice makes, as the conversation does."""

    def __init__(self) -> None:
        self.transcript = Transcript()
        self.transcript.begin(1, 1)
        self.pieces: dict[str, list[Pcm]] = {}
        self.words: dict[str, list[float]] = {}
        self.ended = asyncio.Event()

    def on_sentence(self, utterance: int, piece: str, text: str) -> None:
        self.transcript.sentence(utterance, piece, text)

    def on_audio(self, utterance: int, piece: str, samples: Pcm) -> None:
        self.pieces.setdefault(piece, []).append(samples)
        self.transcript.audio(utterance, piece, samples)

    def on_word(self, utterance: int, piece: str, at_s: float) -> None:
        self.words.setdefault(piece, []).append(at_s)
        self.transcript.word(utterance, piece, at_s)

    def on_reply_end(self, utterance: int) -> None:
        self.transcript.end(utterance)
        self.ended.set()

    def heard(self, samples: int) -> str:
        """What a caller heard who was sent so many samples; the transcript is kept for another question."""
        answers, turns = dict(self.transcript._answers), dict(self.transcript._turns)
        closed = self.transcript.close(CloseTurn(1, TurnOutcome.INTERRUPTED, "", "", samples, {}))
        self.transcript._answers, self.transcript._turns = answers, turns
        return closed


async def spoken(settings: Settings) -> Sink:
    """The sentences, said whole."""
    sink = Sink()
    voice = TurnTaking(lambda words: None)
    pipeline = CallPipeline([voice, make_tts(settings), AgentOutput(sink)], lambda stage, error: None)
    try:
        await pipeline.start(10.0)
        await voice.begin(1)
        for sentence in SENTENCES:
            await voice.speak(sentence)
        await voice.end(1)
        async with asyncio.timeout(15):
            await sink.ended.wait()
            # A socket's last messages may still be on their way.
            while len(sink.pieces) < 2:
                await asyncio.sleep(0.01)
    finally:
        await pipeline.stop()
    return sink


def lengths(sink: Sink) -> list[int]:
    return [int(np.concatenate(pieces).size) for pieces in sink.pieces.values()]


@pytest.mark.parametrize("provider", ["elevenlabs", "cartesia"])
async def test_a_voice_that_tells_its_words_is_believed(provider: str) -> None:
    async with serving(Behaviour(tts_first=Delay(0.02))) as url:
        sink = await spoken(settings_for(url, provider))
    first, second = lengths(sink)
    assert [len(words) for words in sink.words.values()] == [len(FIRST), 3]
    # The emulated voice spreads its characters evenly.
    for count in range(1, len(FIRST)):
        begins = len(" ".join(FIRST[:count])) + 1
        at = round(first * begins / len(SENTENCES[0]))
        assert sink.heard(at - 1_600) == " ".join(FIRST[: count - 1])
        assert sink.heard(at + 1_600) == " ".join(FIRST[:count])
    assert sink.heard(first) == SENTENCES[0]
    assert sink.heard(first + second) == " ".join(SENTENCES)


async def test_a_voice_that_does_not_is_measured_by_its_sound() -> None:
    settings = Settings(_env_file=None)  # type: ignore[call-arg]
    sink = await spoken(settings)
    first, second = lengths(sink)
    assert sink.words == {}
    counts = [len(sink.heard(round(first * share / 10)).split()) for share in range(11)]
    assert counts == sorted(counts)
    assert counts[0] == 0
    assert 3 <= counts[5] <= 6
    assert counts[10] == len(FIRST)
    assert sink.heard(first + second // 2) in (f"{SENTENCES[0]} Number", f"{SENTENCES[0]} Number 77")
