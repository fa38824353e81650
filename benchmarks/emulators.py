"""What the emulated providers cost: processor time a call, with audio at the speed of speech.

    python benchmarks/emulators.py --calls 25 --seconds 30 [--stt assemblyai --tts cartesia]

Each call sends 20 ms frames for 3 s of every 10 s, as the lane does (silence is not sent), asks for the final, and has
an answer of 3 s spoken. The clients' time is not counted, nor are the first seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import subprocess
import sys

import aiohttp
import numpy as np

from trunkline.core.units import FRAME_BYTES, FRAME_S, Pcm
from trunkline.emulators.bed import bed
from trunkline.loadtest.usage import processor_s

TALK_S = 3.0
TURN_S = 10.0
WARM_UP_S = 4.0
ANSWER_CHARS = 50
"""At 0.06 s each."""
LISTEN = {
    "deepgram": "/v1/listen?encoding=linear16&sample_rate=16000&interim_results=true&endpointing=false",
    "assemblyai": "/v3/ws?sample_rate=16000&encoding=pcm_s16le&max_turn_silence=1000&interruption_delay=0",
}
SPEAK = {
    "elevenlabs": "/v1/text-to-speech/any/multi-stream-input?output_format=pcm_16000&auto_mode=true",
    "cartesia": "/tts/websocket",
}
HEADERS = {"Authorization": "Token x", "xi-api-key": "x", "X-API-Key": "x", "Cartesia-Version": "2026-03-01"}
FORMAT = {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 16000}


async def hear(socket: aiohttp.ClientWebSocketResponse, provider: str, samples: Pcm) -> None:
    """One burst of a caller."""
    loop = asyncio.get_running_loop()
    frame = FRAME_BYTES if provider == "deepgram" else 5 * FRAME_BYTES // 2
    pcm, due = samples.tobytes(), loop.time()
    for start in range(0, len(pcm), frame):
        await socket.send_bytes(pcm[start : start + frame])
        due += FRAME_S * frame / FRAME_BYTES
        await asyncio.sleep(max(0.0, due - loop.time()))
    await socket.send_json({"type": "Finalize" if provider == "deepgram" else "ForceEndpoint"})


async def say(socket: aiohttp.ClientWebSocketResponse, provider: str, number: int, turn: int) -> None:
    """One answer."""
    name, text = f"{number}-{turn}", f"You said: {number} test phrase. Nice!".ljust(ANSWER_CHARS - 1, "n") + "."
    if provider == "elevenlabs":
        await socket.send_json({"text": f"{text} ", "context_id": name})
        await socket.send_json({"context_id": name, "close_context": True})
    else:
        message = {"context_id": name, "model_id": "any", "voice": {"mode": "id", "id": "any"}, "output_format": FORMAT}
        await socket.send_json(message | {"transcript": text, "continue": True, "max_buffer_delay_ms": 0})
        await socket.send_json(message | {"transcript": "", "continue": False})


async def call(
    http: aiohttp.ClientSession, url: str, options: argparse.Namespace, number: int, heard: list[int]
) -> None:
    samples = bed(TALK_S).encode(number)
    await asyncio.sleep(TURN_S * number / options.calls)
    async with (
        http.ws_connect(url + LISTEN[options.stt], headers=HEADERS) as ears,
        http.ws_connect(url + SPEAK[options.tts], headers=HEADERS) as voice,
    ):

        async def count(socket: aiohttp.ClientWebSocketResponse, kind: int) -> None:
            async for message in socket:
                body = json.loads(message.data)
                if kind == 0 and (body.get("is_final") or body.get("end_of_turn")):
                    heard[0] += str(number) in message.data
                audio = body.get("audio") or body.get("data")
                heard[1] += len(base64.b64decode(audio)) // 2 if audio else 0

        async def keep_alive() -> None:
            while True:
                await asyncio.sleep(5)
                if options.stt == "deepgram":
                    await ears.send_json({"type": "KeepAlive"})
                if options.tts == "elevenlabs":
                    await voice.send_json({"text": "", "context_id": "none"})

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(count(ears, 0))
            tasks.create_task(count(voice, 1))
            tasks.create_task(keep_alive())
            turn, loop = 0, asyncio.get_running_loop()
            while True:
                due = loop.time() + TURN_S
                await hear(ears, options.stt, samples)
                heard[2] += 1
                await say(voice, options.tts, number, turn)
                turn += 1
                await asyncio.sleep(max(0.0, due - loop.time()))


async def measure(options: argparse.Namespace, url: str, pid: int) -> None:
    heard = [0, 0, 0]
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        calls = [asyncio.create_task(call(http, url, options, number, heard)) for number in range(1, options.calls + 1)]
        await asyncio.sleep(TURN_S + WARM_UP_S)
        spent, before = processor_s(pid), list(heard)
        await asyncio.sleep(options.seconds)
        spent = processor_s(pid) - spent
        finals, samples, bursts = np.subtract(heard, before).tolist()
        for each in calls:
            each.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
    mcore = 1000 * spent / options.seconds
    report = {
        "calls": options.calls,
        "bursts": bursts,
        "finals": finals,
        "spoken_s": round(samples / 16000, 1),
        "mcore": round(mcore, 1),
        "mcore_a_call": round(mcore / options.calls, 3),
    }
    sys.stdout.write(json.dumps(report) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=25)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--stt", choices=LISTEN, default="deepgram")
    parser.add_argument("--tts", choices=SPEAK, default="elevenlabs")
    parser.add_argument("--profile-to", default="", help="have cProfile write what the emulators spend here")
    options = parser.parse_args()
    profiler = ["-m", "cProfile", "-o", options.profile_to] if options.profile_to else []
    command = [sys.executable, *profiler, "-m", "trunkline.emulators"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as emulators:
        try:
            assert emulators.stdout is not None
            url = json.loads(emulators.stdout.readline())["url"]
            asyncio.run(measure(options, url, emulators.pid))
        finally:
            emulators.terminate()
            emulators.wait(10)


if __name__ == "__main__":
    main()
