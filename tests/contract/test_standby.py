"""A standby takes over in the middle of a sentence, whatever goes wrong with the first provider."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import numpy as np
import pytest
from pipecat.frames.frames import (
    AggregatedTextFrame,
    InterruptionFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    TTSTextFrame,
)

from tests.conftest import need
from tests.contract.test_emulated_providers import QUICK, REFUSED, Line, numbers_in
from trunkline.agent.pipeline.prompts import FAREWELL
from trunkline.agent.pipeline.shared_speech import SharedSpeech
from trunkline.core.breaker import BreakerState
from trunkline.core.units import s_to_samples
from trunkline.emulators.app import serving
from trunkline.emulators.bed import bed
from trunkline.emulators.behaviour import Behaviour, Fault
from trunkline.settings import Settings
from trunkline.testing.sentences import number_for
from trunkline.testing.speech import silence

pytestmark = pytest.mark.contract

EARS = ("deepgram", "assemblyai")
VOICES = ("elevenlabs", "cartesia")
BROKEN = [*REFUSED, Fault.SLOW_START, Fault.STALL, Fault.CUT]


@pytest.fixture(autouse=True)
def _espeak() -> None:
    need("espeak-ng")


@asynccontextmanager
async def shared(kind: str, first: str, standby: str = "", **behaviour: object) -> AsyncIterator[SharedSpeech]:
    """One kind of provider with faults, and a standby without."""
    async with AsyncExitStack() as stack:
        values: dict[str, object] = {}
        for name, provider, how in ((kind, first, behaviour), (f"{kind}_standby", standby, {})):
            if provider:
                url = await stack.enter_async_context(serving(Behaviour(**(QUICK | {"phrase": "one two"} | how))))
                values |= {f"{name}_provider": provider, f"{name}_url": url, f"{name}_api_key": "made-up"}
        yield SharedSpeech(Settings(_env_file=None, **values))


@asynccontextmanager
async def lines(speech: SharedSpeech, ear: bool) -> AsyncIterator[Line]:
    line = Line(speech.ear() if ear else speech.voice())
    try:
        await line.pipeline.start(10.0)
        yield line
    finally:
        await line.pipeline.stop()


async def speak(line: Line, number: int) -> None:
    """A caller at the speed of speech."""
    line.door.start_speech()
    samples = np.concatenate([silence(0.1), bed(0.5).encode(number), silence(0.1)])
    for start in range(0, samples.size, 1600):
        line.audio(samples[start : start + 1600])
        await asyncio.sleep(0.1)
    line.door.stop_speech(0.1)


def standby_for(provider: str, providers: tuple[str, str]) -> str:
    return providers[1 - providers.index(provider)]


@pytest.mark.parametrize("provider", EARS)
class TestHearing:
    """No word of the caller is lost."""

    @pytest.mark.parametrize("fault", BROKEN)
    async def test_words_are_heard_once_whatever_goes_wrong(self, provider: str, fault: Fault) -> None:
        faults = {"faults": {fault: 1.0}}
        async with (
            shared("stt", provider, standby_for(provider, EARS), **faults) as speech,
            lines(speech, True) as line,
        ):
            for count, number in enumerate((12, 345), 1):
                await speak(line, number)
                await line.sink.until(lambda count=count: len(line.texts(TranscriptionFrame)) >= count)
            await asyncio.sleep(0.3)
            assert line.texts(TranscriptionFrame) == ["12 one two", "345 one two"]
            assert line.errors == []

    async def test_late_finals_come_from_the_standby_and_only_once(self, provider: str) -> None:
        late = {"faults": {Fault.LATE_FINALS: 1.0}, "late_final_s": 1.5}
        async with shared("stt", provider, standby_for(provider, EARS), **late) as speech, lines(speech, True) as line:
            await speak(line, 12)
            await line.sink.until(lambda: bool(line.texts(TranscriptionFrame)))
            await speak(line, 345)
            await line.sink.until(lambda: len(line.texts(TranscriptionFrame)) >= 2)
            await asyncio.sleep(1.6)
            assert line.texts(TranscriptionFrame) == ["12 one two", "345 one two"]

    async def test_without_faults_the_standby_is_not_used(self, provider: str) -> None:
        async with shared("stt", provider, standby_for(provider, EARS)) as speech, lines(speech, True) as line:
            for count, number in enumerate((12, 345, 7), 1):
                await speak(line, number)
                await line.sink.until(lambda count=count: len(line.texts(TranscriptionFrame)) >= count)
            assert line.texts(TranscriptionFrame) == ["12 one two", "345 one two", "7 one two"]
            assert line.service.switches == 0
            assert set(speech.states().values()) == {BreakerState.CLOSED}

    async def test_a_noise_is_nobodys_failure(self, provider: str) -> None:
        async with shared("stt", provider, standby_for(provider, EARS)) as speech, lines(speech, True) as line:
            for _ in range(4):
                line.door.start_speech()
                line.audio((np.random.default_rng(1).normal(0, 800, 8000)).astype(np.int16))
                line.stop()
                await asyncio.sleep(0.3)
            await asyncio.sleep(1.0)
            await speak(line, 9)
            await line.sink.until(lambda: bool(line.texts(TranscriptionFrame)))
            assert line.texts(TranscriptionFrame) == ["9 one two"]
            assert set(speech.states().values()) == {BreakerState.CLOSED}

    @pytest.mark.parametrize("fault", [Fault.STALL, Fault.CUT])
    async def test_words_on_both_sides_of_a_pause_are_heard_once(self, provider: str, fault: Fault) -> None:
        faults = {"faults": {fault: 1.0}}
        async with (
            shared("stt", provider, standby_for(provider, EARS), **faults) as speech,
            lines(speech, True) as line,
        ):
            line.door.start_ahead()
            for count, number in enumerate((12, 345), 1):
                samples = np.concatenate([silence(0.1), bed(0.5).encode(number), silence(0.1)])
                for start in range(0, samples.size, 1600):
                    line.audio(samples[start : start + 1600])
                    await asyncio.sleep(0.1)
                    if count == 1 and start == 1600:
                        line.door.be_sure()
                    elif count == 2 and start == 0:
                        line.door.go_on()
                line.door.stop_speech(0.1)
            await line.sink.until(lambda: len(" ".join(line.texts(TranscriptionFrame)).split()) >= 6)
            await asyncio.sleep(0.3)
            assert " ".join(line.texts(TranscriptionFrame)) == "12 one two 345 one two"
            assert line.errors == []

    async def test_noises_that_are_taken_back_leave_nothing_behind(self, provider: str) -> None:
        async with shared("stt", provider, standby_for(provider, EARS)) as speech, lines(speech, True) as line:
            for _ in range(4):
                line.door.start_ahead()
                line.audio((np.random.default_rng(1).normal(0, 800, 3200)).astype(np.int16))
                line.door.take_back()
                await asyncio.sleep(0.2)
            await asyncio.sleep(1.0)
            await speak(line, 9)
            await line.sink.until(lambda: bool(line.texts(TranscriptionFrame)))
            assert line.texts(TranscriptionFrame) == ["9 one two"]
            assert line.service.switches == 0
            assert set(speech.states().values()) == {BreakerState.CLOSED}

    @pytest.mark.parametrize("apart_s", [0.02, 0.6])
    async def test_words_in_sound_that_is_taken_back_are_not_those_of_the_next_burst(
        self, provider: str, apart_s: float
    ) -> None:
        """The end of a sentence that the network held up, or somebody in the background."""
        async with shared("stt", provider) as speech, lines(speech, True) as line:
            for number, taken_back in ((12, False), (77, True), (345, False)):
                if taken_back:
                    line.door.start_ahead()
                    for _ in range(4):
                        line.audio(bed(0.5).encode(number)[:1600])
                        await asyncio.sleep(0.1)
                    line.door.take_back()
                    await asyncio.sleep(apart_s)
                else:
                    await speak(line, number)
                    await asyncio.sleep(0.3)
            await line.sink.until(lambda: len(line.texts(TranscriptionFrame)) >= 2)
            await asyncio.sleep(0.5)
            assert line.texts(TranscriptionFrame) == ["12 one two", "345 one two"]
            assert line.errors == []

    async def test_without_a_standby_the_loss_is_told(self, provider: str) -> None:
        async with shared("stt", provider, faults={Fault.UNAUTHORIZED: 1.0}) as speech, lines(speech, True) as line:
            await speak(line, 12)
            assert "nobody hears" in await line.error()

    async def test_the_breaker_spares_the_next_call_the_wait(self, provider: str) -> None:
        stall = {"faults": {Fault.STALL: 1.0}}
        async with shared("stt", provider, standby_for(provider, EARS), **stall) as speech:
            for number in (1, 2, 3, 77):
                async with lines(speech, True) as line:
                    await speak(line, number)
                    await line.sink.until(lambda line=line: bool(line.texts(TranscriptionFrame)))
                    assert line.texts(TranscriptionFrame) == [f"{number} one two"]
                    assert line.service.switches == 1
            assert speech.states()[f"stt:{provider}"] == BreakerState.OPEN
            # The last one did not even ask the first provider.
            assert line.service._kept._given_s[0] == 0.0


@pytest.mark.parametrize("provider", VOICES)
class TestSpeaking:
    """The answer goes on at the next word."""

    TEXT = "You said: 1234 one two three four. Nice to hear you!"

    @pytest.mark.parametrize("fault", BROKEN)
    async def test_every_word_is_said_once_whatever_goes_wrong(self, provider: str, fault: Fault) -> None:
        faults = {"faults": {fault: 1.0}, "tts_speed": 4.0}
        async with (
            shared("tts", provider, standby_for(provider, VOICES), **faults) as speech,
            lines(speech, False) as line,
        ):
            await line.say(self.TEXT, "Bye.")
            spoken = [self.TEXT, "Bye."]
            await line.sink.until(lambda: " ".join(said(line)) == " ".join(spoken))
            whole_s = 0.06 * sum(map(len, spoken))
            await line.sink.until(lambda: line.spoken().size >= s_to_samples(whole_s - 0.6))
            assert line.spoken().size == pytest.approx(s_to_samples(whole_s), abs=s_to_samples(0.6))
            assert line.errors == []

    async def test_a_stall_after_the_first_piece_goes_on_with_the_rest_only(self, provider: str) -> None:
        stall = {"faults": {Fault.STALL: 1.0}}
        async with (
            shared("tts", provider, standby_for(provider, VOICES), **stall) as speech,
            lines(speech, False) as line,
        ):
            await line.say(self.TEXT)
            await line.sink.until(lambda: len(said(line)) == 2)
            assert " ".join(said(line)) == self.TEXT
            rest = said(line)[-1]
            await line.sink.until(lambda: line.spoken().size > s_to_samples(0.06 * len(rest)))
            assert number_for(rest) in numbers_in(line.spoken())

    async def test_late_ends_cost_nothing(self, provider: str) -> None:
        """All was said; that it was is told two seconds later."""
        late = {"faults": {Fault.LATE_FINALS: 1.0}, "late_final_s": 2.0}
        async with (
            shared("tts", provider, standby_for(provider, VOICES), **late) as speech,
            lines(speech, False) as line,
        ):
            await line.say("You said: 12 one. Nice!", "Bye.")
            await line.sink.until(lambda: "Bye." in said(line))
            await line.sink.until(lambda: line.spoken().size >= s_to_samples(0.06 * 27 - 0.15))
            assert numbers_in(line.spoken()) == [12, number_for("Bye.")]
            assert line.service.switches == 0

    async def test_an_interruption_ends_it_and_the_next_answer_is_whole(self, provider: str) -> None:
        async with (
            shared("tts", provider, standby_for(provider, VOICES), tts_speed=2.0) as speech,
            lines(speech, False) as line,
        ):
            await line.say(self.TEXT)
            await line.sink.until(lambda: bool(line.sink.of(TTSAudioRawFrame)))
            await line.pipeline.feed(InterruptionFrame())
            await line.sink.until(lambda: bool(line.sink.of(InterruptionFrame)))
            line.sink.frames.clear()
            await line.say("You said: 77 one. Nice!")
            await line.sink.until(lambda: line.spoken().size >= s_to_samples(0.06 * 23 - 0.15))
            await asyncio.sleep(0.3)
            assert numbers_in(line.spoken()) == [77]
            assert said(line) == ["You said: 77 one. Nice!"]

    async def test_without_a_standby_the_loss_is_told(self, provider: str) -> None:
        async with shared("tts", provider, faults={Fault.PAYMENT: 1.0}) as speech, lines(speech, False) as line:
            await line.say(self.TEXT)
            assert "nobody speaks" in await line.error()

    async def test_a_fixed_prompt_is_made_once(self, provider: str) -> None:
        async with shared("tts", provider) as speech:
            await speech.prompts.prepare()
            pcm = speech.prompts.of(FAREWELL)
            assert pcm is not None
            assert numbers_in(pcm) == [number_for(FAREWELL)]
            async with lines(speech, False) as line:
                line.service._slots[0].feed = None  # type: ignore[assignment]
                await line.say(FAREWELL)
                await line.sink.until(lambda: bool(line.sink.of(TTSAudioRawFrame)))
                assert np.array_equal(line.spoken(), pcm)

    async def test_a_prompt_is_spoken_by_another_voice_where_the_first_fails(self, provider: str) -> None:
        async with shared("tts", provider, faults={Fault.UNAUTHORIZED: 1.0}) as speech:
            await speech.prompts.prepare()
            pcm = speech.prompts.of(FAREWELL)
            assert pcm is not None
            assert pcm.size > s_to_samples(2.0)


def said(line: Line) -> list[str]:
    """The sentences that are announced, each as it was told last."""
    texts: dict[str, str] = {}
    for frame in line.sink.of(AggregatedTextFrame):
        if not isinstance(frame, TTSTextFrame):
            texts[frame.context_id] = frame.text
    return [text for text in texts.values() if text]
