"""Providers that need something optional: edge-tts against a server that speaks its protocol; Whisper's model."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import WSMsgType, web
from pipecat.frames.frames import TTSAudioRawFrame, TTSStoppedFrame

from tests.contract.test_emulated_providers import Line
from trunkline.agent.pipeline.stt import check_providers
from trunkline.agent.pipeline.tts import make_tts
from trunkline.core.errors import ConfigError
from trunkline.core.units import s_to_samples
from trunkline.settings import Settings

pytestmark = pytest.mark.contract

MP3_FRAME = bytes([0xFF, 0xF3, 0x64, 0xC4]) + bytes(140)
"""24 ms of silence in the service's own format: MPEG-2 layer III, 24 kHz, 48 kbit/s, mono."""
EDGE = Settings(_env_file=None, tts_provider="edge", tts_voice="en-GB-RyanNeural")


class EdgeServer:
    """Answers each text with a second of MP3, in pieces."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.status = 101
        self.silent = False
        self.open: set[int] = set()
        self.warm: list[bool] = []

    async def ahead(self, request: web.Request) -> web.StreamResponse:
        self.open.add(id(request.transport))
        return web.Response(status=404)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.warm.append(id(request.transport) in self.open)
        if self.status != 101:
            return web.Response(status=self.status)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.TEXT and "Path:ssml" in message.data:
                self.asked.append(message.data.partition("\r\n\r\n")[2])
                if not self.silent:
                    header = b"X-RequestId:1\r\nContent-Type:audio/mpeg\r\nPath:audio\r\n"
                    for _ in range(4):
                        await socket.send_bytes(len(header).to_bytes(2, "big") + header + MP3_FRAME * 11)
                await socket.send_str("X-RequestId:1\r\nPath:turn.end\r\n\r\n{}")
        return socket


@asynccontextmanager
async def edge(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Line, EdgeServer]]:
    server = EdgeServer()
    app = web.Application()
    app.router.add_get("/edge/v1", server.serve)
    app.router.add_get("/", server.ahead)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"ws://127.0.0.1:{runner.addresses[0][1]}/edge/v1?TrustedClientToken=x"
    monkeypatch.setattr("edge_tts.communicate.WSS_URL", url)
    line = Line(make_tts(EDGE))
    try:
        await line.pipeline.start(10.0)
        yield line, server
    finally:
        await line.pipeline.stop()
        await runner.cleanup()


async def test_edge_speaks_each_sentence_at_16_khz(monkeypatch: pytest.MonkeyPatch) -> None:
    async with edge(monkeypatch) as (line, server):
        for count, text in enumerate(("Good morning & welcome.", "How may I help?"), 1):
            await line.say(text)
            await line.sink.until(lambda count=count: len(line.sink.of(TTSStoppedFrame)) >= count)
        assert ["Good morning &amp; welcome." in server.asked[0], "How may I help?" in server.asked[1]] == [True, True]
        assert "(en-GB, RyanNeural)" in server.asked[0]
        assert all(frame.sample_rate == 16_000 for frame in line.sink.of(TTSAudioRawFrame))
        assert line.spoken().size == pytest.approx(2 * s_to_samples(44 * 0.024), abs=s_to_samples(0.1))
        assert line.errors == []


async def test_edge_opens_the_connection_of_each_sentence_before_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with edge(monkeypatch) as (line, server):
        for count in (1, 2, 3):
            async with asyncio.timeout(5):
                while len(server.open) < count or not line.service._ahead.connector._conns:
                    await asyncio.sleep(0.01)
            await line.say("Good morning.")
            await line.sink.until(lambda count=count: len(line.sink.of(TTSStoppedFrame)) >= count)
        assert server.warm == [True, True, True]
        assert line.errors == []


@pytest.mark.parametrize("wrong", ["refused", "silent"])
async def test_edge_tells_when_there_is_no_voice(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    async with edge(monkeypatch) as (line, server):
        server.status, server.silent = (401, False) if wrong == "refused" else (101, True)
        await line.say("Good morning.")
        error = await line.error()
        assert "edge" in error
        assert ("401" in error) is (wrong == "refused")


def test_edge_without_its_packages_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "edge_tts", None)
    monkeypatch.delitem(sys.modules, "trunkline.agent.pipeline.edge_tts", raising=False)
    with pytest.raises(ConfigError, match=r"trunkline\[edge\]"):
        check_providers(EDGE)


class TestWhisper:
    """STT_PROVIDER=whisper."""

    @staticmethod
    def _check(model: Path | None) -> None:
        check_providers(Settings(_env_file=None, stt_provider="whisper", stt_model_path=model))

    def test_no_model_is_one_clear_line(self) -> None:
        with pytest.raises(ConfigError, match="STT_MODEL_PATH, which is not set"):
            self._check(None)

    def test_a_folder_that_is_not_there_is_one_clear_line(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="is no folder"):
            self._check(tmp_path / "none")

    def test_a_folder_without_a_model_is_one_clear_line(self, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text("{}")
        with pytest.raises(ConfigError, match=r"has no model\.bin"):
            self._check(tmp_path)

    def test_a_model_without_the_package_is_one_clear_line(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("config.json", "model.bin"):
            (tmp_path / name).write_text("{}")
        monkeypatch.setitem(sys.modules, "faster_whisper", None)
        monkeypatch.delitem(sys.modules, "pipecat.services.whisper.stt", raising=False)
        with pytest.raises(ConfigError, match=r"pipecat-ai\[whisper\]"):
            self._check(tmp_path)

    def test_all_calls_share_one_model(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The package is stood in for by one class: weights are hundreds of megabytes."""
        loaded: list[str] = []

        class WhisperModel:
            def __init__(self, path: str, **_: Any) -> None:
                loaded.append(path)

        package = type(sys)("faster_whisper")
        package.WhisperModel = WhisperModel  # type: ignore[attr-defined]
        for name in ("pipecat.services.whisper.stt", "trunkline.agent.pipeline.whisper_stt"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        monkeypatch.setitem(sys.modules, "faster_whisper", package)
        from trunkline.agent.pipeline.whisper_stt import SharedWhisperSTTService

        first, second = SharedWhisperSTTService(tmp_path), SharedWhisperSTTService(tmp_path)
        assert loaded == [str(tmp_path)]
        assert first._model is second._model
        for name in ("pipecat.services.whisper.stt", "trunkline.agent.pipeline.whisper_stt"):
            monkeypatch.delitem(sys.modules, name)
