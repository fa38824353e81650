"""Pipecat's own services against the emulated providers: what each side must do, and what a fault looks like."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import numpy as np
import pytest
from pipecat.frames.frames import (
    InterimTranscriptionFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMTextFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    TTSSpeakFrame,
    TTSStoppedFrame,
)
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.services.openai.llm import OpenAILLMService

from tests.conftest import need
from tests.contract.test_local_speech import Sink
from trunkline.agent.pipeline.assembly import CallPipeline
from trunkline.agent.pipeline.providers import STT_PROVIDERS, TTS_PROVIDERS
from trunkline.agent.pipeline.stt import check_providers, make_stt
from trunkline.agent.pipeline.tts import make_tts
from trunkline.core.errors import ConfigError
from trunkline.core.units import FRAME_SAMPLES, Pcm, s_to_samples
from trunkline.emulators.app import serving
from trunkline.emulators.bed import bed
from trunkline.emulators.behaviour import Behaviour, Delay, Fault, parse_faults
from trunkline.media.transport import CallerInput
from trunkline.settings import Settings
from trunkline.testing.sentences import number_for
from trunkline.testing.speech import silence
from trunkline.testing.voice_code import Decoder

pytestmark = pytest.mark.contract

EARS = ("emulated", "deepgram", "assemblyai")
VOICES = ("emulated", "elevenlabs", "cartesia")
QUICK = {"stt_partial": Delay(0.02), "stt_word_s": 0.02, "stt_final": Delay(0.02), "tts_first": Delay(0.02)}
REFUSED = [Fault.REFUSE, Fault.UNAUTHORIZED, Fault.PAYMENT, Fault.TOO_MANY]


@pytest.fixture(autouse=True)
def _espeak() -> None:
    need("espeak-ng")


def settings_for(url: str, provider: str = "emulated") -> Settings:
    """Of the provider's emulator; one that both hears and speaks by this name, or does one of them."""
    values: dict[str, object] = {"stt_provider": "emulated", "stt_url": url, "tts_provider": "emulated", "tts_url": url}
    for kind, rows in (("stt", STT_PROVIDERS), ("tts", TTS_PROVIDERS)):
        if provider in rows:
            values |= {f"{kind}_provider": provider, f"{kind}_api_key": "made-up"}
    return Settings(_env_file=None, **values)


class Line:
    """One service between a door and a sink."""

    def __init__(self, service: FrameProcessor) -> None:
        self.door, self.sink, self.errors = CallerInput(), Sink(), list[str]()
        self.service = service
        self.failed = asyncio.Event()
        self.pipeline = CallPipeline([self.door, service, self.sink], self._on_error)

    def _on_error(self, stage: str, error: str) -> None:
        self.errors.append(f"{stage}: {error}")
        self.failed.set()

    def audio(self, samples: Pcm) -> None:
        for start in range(0, samples.size, FRAME_SAMPLES):
            self.door.audio(samples[start : start + FRAME_SAMPLES])

    async def burst(self, sentence_id: int, length_s: float = 1.0) -> None:
        """One sentence with silence around it, all at once; ends when its first partial has come."""
        partials = len(self.texts(InterimTranscriptionFrame))
        self.door.start_speech()
        self.audio(np.concatenate([silence(0.2), bed(length_s).encode(sentence_id)]))
        await self.sink.until(lambda: len(self.texts(InterimTranscriptionFrame)) > partials)
        self.stop()

    def stop(self) -> None:
        self.audio(silence(0.1))
        self.door.stop_speech(0.2)

    def texts(self, kind: type[TranscriptionFrame] | type[InterimTranscriptionFrame]) -> list[str]:
        return [frame.text for frame in self.sink.of(kind)]

    def spoken(self) -> Pcm:
        return np.frombuffer(b"".join(frame.audio for frame in self.sink.of(TTSAudioRawFrame)), dtype=np.int16)

    async def say(self, *texts: str) -> None:
        await self.pipeline._worker.queue_frames([TTSSpeakFrame(text, append_to_context=False) for text in texts])

    async def error(self) -> str:
        async with asyncio.timeout(10):
            await self.failed.wait()
        return self.errors[0]


@asynccontextmanager
async def emulated(
    make: Callable[[Settings], FrameProcessor], provider: str = "emulated", **behaviour: object
) -> AsyncIterator[Line]:
    async with serving(Behaviour(**(QUICK | behaviour))) as url:
        line = Line(make(settings_for(url, provider)))
        try:
            await line.pipeline.start(10.0)
            yield line
        finally:
            await line.pipeline.stop()


def numbers_in(samples: Pcm) -> list[int]:
    decoder = Decoder()
    seen = (decoder.feed(samples[start : start + FRAME_SAMPLES]) for start in range(0, samples.size, FRAME_SAMPLES))
    return [sighting.sentence_id for sighting in seen if sighting is not None]


@pytest.mark.parametrize("provider", EARS)
class TestHearing:
    """Pipecat's services and the emulated Deepgram and AssemblyAI."""

    async def test_each_burst_has_partials_and_exactly_one_final_with_its_own_number(self, provider: str) -> None:
        async with emulated(make_stt, provider) as line:
            for count, number in enumerate((1234, 7, 7), 1):
                await line.burst(number)
                await line.sink.until(lambda count=count: len(line.texts(TranscriptionFrame)) >= count)
            assert line.texts(TranscriptionFrame) == ["1234 test phrase", "7 test phrase", "7 test phrase"]
            assert line.texts(InterimTranscriptionFrame)[0] == "1234"
            assert line.errors == []

    async def test_partials_grow_while_the_sentence_lasts(self, provider: str) -> None:
        async with emulated(make_stt, provider, phrase="one two three") as line:
            line.door.start_speech()
            line.audio(bed(1.0).encode(42))
            await line.sink.until(lambda: len(line.texts(InterimTranscriptionFrame)) >= 4)
            assert line.texts(InterimTranscriptionFrame) == ["42", "42 one", "42 one two", "42 one two three"]
            line.stop()
            await line.sink.until(lambda: bool(line.texts(TranscriptionFrame)))

    async def test_no_final_comes_before_it_is_asked_for(self, provider: str) -> None:
        """Silence alone does not end a sentence: our service turns the vendor's endpointing off."""
        async with emulated(make_stt, provider) as line:
            line.door.start_speech()
            line.audio(np.concatenate([bed(1.0).encode(1), silence(0.6), bed(1.0).encode(2)]))
            await line.sink.until(lambda: bool(line.texts(InterimTranscriptionFrame)))
            assert line.texts(TranscriptionFrame) == []
            line.stop()
            await line.sink.until(lambda: bool(line.texts(TranscriptionFrame)))
            assert line.texts(TranscriptionFrame) == ["1 test phrase 2 test phrase"]

    async def test_speech_without_a_number_is_not_understood(self, provider: str) -> None:
        async with emulated(make_stt, provider) as line:
            line.door.start_speech()
            line.audio(np.random.default_rng(1).normal(0, 2_000, s_to_samples(1.0)).astype(np.int16))
            line.stop()
            await line.burst(9)
            await line.sink.until(lambda: bool(line.texts(TranscriptionFrame)))
            assert line.texts(TranscriptionFrame) == ["9 test phrase"]

    @pytest.mark.parametrize("fault", REFUSED)
    async def test_a_refused_connection_is_an_error(self, provider: str, fault: Fault) -> None:
        async with serving(Behaviour(faults={fault: 1.0}, **QUICK)) as url:
            line = Line(make_stt(settings_for(url, provider)))
            starting = asyncio.create_task(line.pipeline.start(10.0))
            try:
                assert line.service.name in await line.error()
            finally:
                starting.cancel()
                await asyncio.wait({starting})
                await line.pipeline.stop()

    @pytest.mark.parametrize("fault", [Fault.CUT, Fault.GARBAGE])
    async def test_a_broken_connection_is_an_error(self, provider: str, fault: Fault) -> None:
        if provider == "assemblyai":
            pytest.skip("Pipecat's service mends it without a word: see the next test")
        async with emulated(make_stt, provider, faults={fault: 1.0}) as line:
            await line.burst(3)
            assert line.service.name in await line.error()

    async def test_a_connection_that_was_cut_is_opened_again(self, provider: str) -> None:
        """AssemblyAI's at once and silently, so that who waits for its words must notice by other means."""
        if provider != "assemblyai":
            pytest.skip("Pipecat's service waits 4 s first")
        async with emulated(make_stt, provider, faults={Fault.CUT: 1.0}) as line:
            back = asyncio.Event()
            line.service.add_event_handler("on_connected", lambda _: back.set())
            await line.burst(3)
            async with asyncio.timeout(5):
                await back.wait()
            await line.burst(4)
            assert line.texts(InterimTranscriptionFrame) == ["3", "4"]
            assert line.errors == []

    async def test_a_stalled_connection_gives_no_final_and_ends_in_order(self, provider: str) -> None:
        """Pipecat's service does not notice; who waits for a final needs a limit of their own."""
        async with emulated(make_stt, provider, faults={Fault.STALL: 1.0}) as line:
            await line.burst(3)
            await asyncio.sleep(0.2)
            assert line.texts(TranscriptionFrame) == []

    @pytest.mark.parametrize("slow", [{Fault.SLOW_START: 1.0}, {Fault.LATE_FINALS: 1.0}])
    async def test_what_is_slow_comes_all_the_same(self, provider: str, slow: dict[Fault, float]) -> None:
        async with emulated(make_stt, provider, faults=slow, slow_start_s=0.3, late_final_s=0.3) as line:
            await line.burst(5)
            await line.sink.until(lambda: bool(line.texts(TranscriptionFrame)))
            assert line.texts(TranscriptionFrame) == ["5 test phrase"]


@pytest.mark.parametrize("provider", VOICES)
class TestSpeaking:
    """Pipecat's services and the emulated ElevenLabs and Cartesia."""

    async def test_each_answer_is_speech_with_the_number_in_its_words(self, provider: str) -> None:
        async with emulated(make_tts, provider, tts_speed=100.0) as line:
            texts = ["You said: 1234 test phrase. Nice!", "You said: 77 test phrase. Nice!", "Good bye."]
            for count, text in enumerate(texts, 1):
                await line.say(text)
                await line.sink.until(lambda count=count: len(line.sink.of(TTSStoppedFrame)) >= count)
            assert numbers_in(line.spoken()) == [1234, 77, number_for("Good bye.")]
            seconds = sum(round(len(text) * 0.06, 1) for text in texts)
            assert line.spoken().size == pytest.approx(s_to_samples(seconds), abs=s_to_samples(0.3))
            assert line.errors == []

    @pytest.mark.parametrize("fault", REFUSED)
    async def test_a_refused_connection_is_an_error(self, provider: str, fault: Fault) -> None:
        async with emulated(make_tts, provider, faults={fault: 1.0}) as line:
            assert line.service.name in await line.error()

    @pytest.mark.parametrize("fault", [Fault.CUT, Fault.GARBAGE])
    async def test_a_broken_connection_is_an_error(self, provider: str, fault: Fault) -> None:
        async with emulated(make_tts, provider, faults={fault: 1.0}) as line:
            await line.say("You said: 12 test phrase. Nice!")
            await line.sink.until(lambda: bool(line.sink.of(TTSAudioRawFrame)))
            await asyncio.sleep(0.2)
            assert line.pipeline.describe()

    async def test_a_stalled_connection_gives_one_piece_and_ends_in_order(self, provider: str) -> None:
        async with emulated(make_tts, provider, faults={Fault.STALL: 1.0}, tts_speed=100.0) as line:
            await line.say("You said: 12 test phrase. Nice!")
            await line.sink.until(lambda: bool(line.sink.of(TTSAudioRawFrame)))
            await asyncio.sleep(0.2)
            assert line.spoken().size == s_to_samples(0.1)


class TestChat:
    """Pipecat's OpenAILLMService and the emulated chat stream."""

    @staticmethod
    def _service(url: str) -> OpenAILLMService:
        return OpenAILLMService(
            api_key="made-up",
            base_url=f"{url.replace('ws://', 'http://')}/v1",
            settings=OpenAILLMService.Settings(model="any"),
        )

    @asynccontextmanager
    async def _line(self, **behaviour: object) -> AsyncIterator[Line]:
        async with serving(Behaviour(llm_first=Delay(0.02), llm_token_s=0.01, **behaviour)) as url:
            service = self._service(url)
            line = Line(service)
            try:
                await line.pipeline.start(10.0)
                yield line
            finally:
                await line.pipeline.stop()
                # Pipecat leaves it to the garbage collector.
                await service._client.close()

    async def _ask(self, line: Line, words: str) -> None:
        context = LLMContext([{"role": "user", "content": words}])
        await line.pipeline._worker.queue_frames([LLMContextFrame(context)])

    async def test_the_answer_comes_word_by_word(self) -> None:
        async with self._line() as line:
            await self._ask(line, "1234 test phrase")
            await line.sink.until(lambda: bool(line.sink.of(LLMFullResponseEndFrame)))
            words = [frame.text for frame in line.sink.of(LLMTextFrame)]
            assert words == ["You", " said:", " 1234", " test", " phrase.", " Nice!"]
            assert line.errors == []

    @pytest.mark.parametrize("fault", [*REFUSED, Fault.CUT, Fault.GARBAGE])
    async def test_what_goes_wrong_is_an_error(self, fault: Fault) -> None:
        async with self._line(faults={fault: 1.0}) as line:
            await self._ask(line, "1234 test phrase")
            assert line.service.name in await line.error()

    async def test_without_a_stream_the_answer_is_one_message(self) -> None:
        async with serving(Behaviour(llm_first=Delay(0.01))) as url, aiohttp.ClientSession() as http:
            body = {"model": "any", "messages": [{"role": "user", "content": [{"type": "text", "text": "77 x"}]}]}
            address = f"{url.replace('ws://', 'http://')}/v1/chat/completions"
            async with http.post(address, json=body, headers={"Authorization": "Bearer x"}) as answer:
                assert (await answer.json())["choices"][0]["message"]["content"] == "You said: 77 x. Nice!"
            async with http.post(address, json=body) as answer:
                assert (answer.status, (await answer.json())["error"]["code"]) == (401, "invalid_api_key")
            async with http.post(address, json=[], headers={"Authorization": "Bearer x"}) as answer:
                assert answer.status == 400


class TestServer:
    """What others see of it."""

    async def test_results_say_that_they_are_emulated(self) -> None:
        async with emulated(make_stt) as line:
            await line.burst(3)
            await line.sink.until(lambda: bool(line.texts(TranscriptionFrame)))
            final = line.sink.of(TranscriptionFrame)[0]
            assert final.result.metadata.model_info.name == "emulated"
            assert "emulated-stt" in line.pipeline.describe()

    async def test_faults_change_for_new_connections(self) -> None:
        async with serving(Behaviour()) as url, aiohttp.ClientSession() as http:
            base = url.replace("ws://", "http://")
            async with http.post(f"{base}/emulated/faults", json={"401": 1}) as answer:
                assert (answer.status, (await answer.json())["faults"]) == (200, {"401": 1.0})
            async with http.get(f"{base}/v1/listen", headers={"Authorization": "Token x"}) as answer:
                assert (answer.status, answer.headers["Server"]) == (401, "trunkline-emulated")
                assert (await answer.json())["err_code"] == "INVALID_AUTH"
            async with http.get(f"{base}/emulated") as answer:
                assert (await answer.json())["emulated"] is True

    @pytest.mark.parametrize("body", [b"[]", b"{", b'{"flood": 1}', b'{"stall": 2}', b'{"stall": null}'])
    async def test_wrong_faults_are_refused(self, body: bytes) -> None:
        async with serving(Behaviour()) as url, aiohttp.ClientSession() as http:
            answer = await http.post(f"{url.replace('ws://', 'http://')}/emulated/faults", data=body)
            assert answer.status == 400

    @pytest.mark.parametrize("query", ["encoding=opus", "sample_rate=8000", "channels=2", "endpointing=soon"])
    async def test_what_is_not_emulated_is_refused(self, query: str) -> None:
        async with serving(Behaviour()) as url, aiohttp.ClientSession() as http:
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await http.ws_connect(f"{url}/v1/listen?{query}", headers={"Authorization": "Token x"})
            assert refused.value.status == 400

    async def test_no_key_is_refused(self) -> None:
        async with serving(Behaviour()) as url, aiohttp.ClientSession() as http:
            for path in ("/v1/listen", "/v1/text-to-speech/v/multi-stream-input?output_format=pcm_16000"):
                with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                    await http.ws_connect(url + path)
                assert refused.value.status == 401

    async def test_endpointing_silence_ends_a_sentence_where_the_client_wants_it(self) -> None:
        async with serving(Behaviour(**QUICK)) as url, aiohttp.ClientSession() as http:
            headers = {"Authorization": "Token x"}
            async with http.ws_connect(f"{url}/v1/listen?endpointing=300", headers=headers) as socket:
                await socket.send_bytes(np.concatenate([bed(0.5).encode(8), silence(0.2)]).tobytes())
                await socket.send_bytes(silence(0.3).tobytes())
                final = await socket.receive_json(timeout=5)
                assert (final["is_final"], final["speech_final"], final["from_finalize"]) == (True, True, False)
                assert final["channel"]["alternatives"][0]["transcript"] == "8 test phrase"
                await socket.send_json({"type": "CloseStream"})
                assert (await socket.receive_json(timeout=5))["from_finalize"] is True
                assert (await socket.receive_json(timeout=5))["type"] == "Metadata"
                assert (await socket.receive(timeout=5)).type is aiohttp.WSMsgType.CLOSE

    def test_the_same_seed_has_the_same_luck(self) -> None:
        behaviour = Behaviour(faults={Fault.CUT: 0.3, Fault.STALL: 0.3}, stt_partial=Delay(0.15, 0.3), seed=4)

        def drawn(connection: int) -> list[object]:
            luck = behaviour.luck("deepgram", connection)
            return [(luck.sentence_fault(), behaviour.stt_partial.draw(luck.rng)) for _ in range(20)]

        assert drawn(1) == drawn(1)
        assert drawn(1) != drawn(2)

    def test_delays_are_spread_around_their_median(self) -> None:
        rng = random.Random(1)
        drawn = sorted(Delay(0.15, 0.3).draw(rng) for _ in range(2_001))
        assert drawn[1_000] == pytest.approx(0.15, rel=0.05)
        assert drawn[1_900] == pytest.approx(0.15 * 1.64, rel=0.1)

    @pytest.mark.parametrize("pair", ["stall", "stall=x", "stall=1.5", "flood=0.1", "stall=nan"])
    def test_a_wrong_fault_is_one_clear_line(self, pair: str) -> None:
        with pytest.raises(ConfigError, match="fault"):
            parse_faults([pair])


class TestSettings:
    """What a worker checks at its start."""

    @pytest.mark.parametrize(("kind", "other"), [("STT", "TTS"), ("TTS", "STT")])
    def test_emulated_needs_an_address(self, kind: str, other: str) -> None:
        values = {f"{kind.lower()}_provider": "emulated"}
        with pytest.raises(ConfigError, match=f"{kind}_URL"):
            check_providers(Settings(_env_file=None, **values))

    def test_an_address_that_would_not_be_used_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="no use"):
            check_providers(Settings(_env_file=None, tts_provider="edge", tts_url="ws://localhost:1"))
