"""A LiveKit Agents worker: Silero, Deepgram, one answer a burst, ElevenLabs. Runs in .cache/peers.

    PEERS_PROVIDERS=ws://HOST:PORT PEERS_READY=FILE python livekit_agent.py start --log-level ERROR

Answers jobs for the agent named "peer". Makes the file PEERS_READY when LiveKit knows it.
"""

from __future__ import annotations

import os
from pathlib import Path

from livekit.agents import (
    Agent,
    AgentServer,
    AgentSession,
    JobContext,
    JobProcess,
    UserInputTranscribedEvent,
    UserStateChangedEvent,
    cli,
    room_io,
)
from livekit.plugins import deepgram, elevenlabs, silero

PROVIDERS = os.environ["PEERS_PROVIDERS"].replace("ws://", "http://")
RATE_HZ = 16_000

# At its default load_threshold a worker on a busy machine refuses jobs, and LiveKit asks nobody again. So it says that
# it has no load. One process is kept waiting for the next call; the default would be one a core.
server = AgentServer(
    load_fnc=lambda: 0.0,
    num_idle_processes=1,
    initialize_process_timeout=60.0,
    host="127.0.0.1",
    port=0,
)


def warm(process: JobProcess) -> None:
    """What a process loads before it has a call."""
    process.userdata["vad"] = silero.VAD.load(
        min_speech_duration=0.05, min_silence_duration=0.2, activation_threshold=0.7, sample_rate=RATE_HZ
    )


server.setup_fnc = warm
server.on("worker_registered", lambda *_: Path(os.environ["PEERS_READY"]).touch())


@server.rtc_session(agent_name="peer")
async def take_call(ctx: JobContext) -> None:
    """One call: answers the first partial of a burst."""
    session = AgentSession(
        vad=ctx.proc.userdata["vad"],
        stt=deepgram.STT(api_key="emulated", base_url=f"{PROVIDERS}/v1/listen", sample_rate=RATE_HZ),
        tts=elevenlabs.TTS(api_key="emulated", base_url=f"{PROVIDERS}/v1", encoding="pcm_16000"),
        # An answer into the middle of a burst would be taken for interrupted by that same burst.
        turn_handling={
            "turn_detection": "vad",
            "interruption": {"enabled": False, "discard_audio_if_uninterruptible": False},
        },
    )
    bursting = answered = False
    early = ""

    def answer(words: str) -> None:
        nonlocal answered, early
        if not bursting:
            early = words
        elif words and not answered:
            answered = True
            session.say(f"You said: {words}. Nice!", add_to_chat_ctx=False)

    @session.on("user_state_changed")
    def _state(event: UserStateChangedEvent) -> None:
        nonlocal bursting, answered
        if event.new_state == "speaking" and not bursting:  # else it was a pause within the sentence
            bursting, answered = True, False
            answer(early)

    @session.on("user_input_transcribed")
    def _words(event: UserInputTranscribedEvent) -> None:
        nonlocal bursting, early
        if event.is_final:
            bursting, early = False, ""
        else:
            answer(event.transcript)

    await session.start(
        Agent(instructions=""),
        room=ctx.room,
        room_options=room_io.RoomOptions(
            audio_input=room_io.AudioInputOptions(sample_rate=RATE_HZ, pre_connect_audio=False),
            audio_output=room_io.AudioOutputOptions(sample_rate=RATE_HZ),
            text_input=False,
            text_output=False,
        ),
    )


if __name__ == "__main__":
    cli.run_app(server)
