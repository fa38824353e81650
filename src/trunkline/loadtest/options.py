"""What a load test is asked to do, which limits it must keep, and the stack that it calls."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import httpx

from trunkline.core.errors import ConfigError, UpstreamUnavailableError
from trunkline.loadtest.conversation import LONGEST_ANSWER_S
from trunkline.settings import Settings

DEFAULT_PHRASE = "what are your opening hours"
"""One of `agent/pipeline/phrases.txt`: the local recognizer understands it from every voice, also repeated."""
CALLERS_A_PROCESS = 25
CALLERS_AN_ENGINE = 100
CALLERS_A_ROOM = 25
MAX_CALLERS = 1_000
CHECK_TIMEOUT_S = 5.0
EMULATED = "emulated"
SLACK_S = 60.0
"""How much longer than its script a run may take."""
TURN_SLACK_S = 12.0


class Via(StrEnum):
    """The door by which calls come in."""

    WEBRTC = "webrtc"
    SIP = "sip"
    SDK = "sdk"


class Rooms(StrEnum):
    """Where calls take place."""

    OWN = "own"
    SHARED = "shared"


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """What is wanted. Raises ConfigError where it makes no sense.

    Args:
        burst_seconds: Each turn: the phrase, repeated up to this length.
        wav: Spoken in place of the phrase.
        turns: How often each caller speaks; with a duration, as often as there is time for.
        duration: Seconds until no further turn is begun; 0: the turns are counted instead.
        talk: Share of the time that each caller talks; 0: a breath after each answer.
        ramp: Calls placed a second.
        rooms: A room for each call, or up to 25 in one.
        reply_on: The policy that the agents are expected to have; empty: any.
        interrupt: Share of the answers that are interrupted.
        impair: What is wrong with the callers and their network, such as "loss=2%,jitter=30ms".
        noise: What is heard behind them: a kind or a WAV file, and its level.
        seed: Decides all that is drawn.
        processes: Processes for the callers; 0: one for 25 callers, up to the number of cores.
    """

    concurrency: int = 100
    burst_seconds: float = 8.0
    phrase: str = DEFAULT_PHRASE
    wav: Path | None = None
    turns: int = 3
    duration: float = 0.0
    talk: float = 0.0
    ramp: float = 10.0
    via: Via = Via.WEBRTC
    rooms: Rooms = Rooms.OWN
    reply_on: str = ""
    interrupt: float = 0.0
    impair: str = ""
    noise: str = ""
    seed: int = 0
    processes: int = 0

    def __post_init__(self) -> None:
        for name, value, least, most in (
            ("concurrency", self.concurrency, 1, MAX_CALLERS),
            ("burst-seconds", self.burst_seconds, 0.2, 60),
            ("turns", self.turns, 1, 1_000),
            ("duration", self.duration, 0, 86_400),
            ("talk", self.talk, 0, 0.9),
            ("ramp", self.ramp, 0.1, 1_000),
            ("interrupt", self.interrupt, 0, 1),
            ("processes", self.processes, 0, 64),
        ):
            if not least <= value <= most:
                raise ConfigError(f"--{name} {value}: not from {least} to {most}")
        if self.via is not Via.WEBRTC and self.rooms is Rooms.SHARED:
            raise ConfigError(
                f"--rooms shared: --via {self.via.value} has no rooms that are shared", "use --via webrtc"
            )
        if self.via is Via.SDK and (self.impair or self.noise):
            raise ConfigError("--impair and --noise need our own callers", "use --via webrtc or --via sip")

    def processes_for(self, engine: str) -> int:
        """How many processes share the callers.

        Args:
            engine: The native media engine's program; empty: callers on the Python SDK.
        """
        each = CALLERS_AN_ENGINE if engine else CALLERS_A_PROCESS
        usual = min(-(-self.concurrency // each), os.cpu_count() or 1)
        return min(self.processes or usual, self.concurrency)

    @property
    def limit_s(self) -> float:
        """After so long the run is ended, whatever hangs."""
        turn_s = self.burst_seconds / (self.talk or 1.0) + LONGEST_ANSWER_S + TURN_SLACK_S
        talking_s = self.duration + turn_s if self.duration else self.turns * turn_s
        return self.concurrency / self.ramp + talking_s + SLACK_S

    def as_json(self) -> dict[str, Any]:
        """All of it, fit for JSON."""
        return {**dataclasses.asdict(self), "wav": str(self.wav) if self.wav else None}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What must not be exceeded; None: no limit. Times in milliseconds of RoundTrip at the caller's ear.

    Args:
        max_lost: Calls that failed and turns that were not answered, together.
        max_wrong: Answers to somebody else's words, or to others than the last ones.
        max_barge_in_p95_ms: From the caller's first sound to silence.
    """

    max_avg_ms: float | None = None
    max_p50_ms: float | None = None
    max_p95_ms: float | None = None
    max_p99_ms: float | None = None
    max_barge_in_p95_ms: float | None = None
    max_lost: int = 0
    max_wrong: int = 0


@dataclass(frozen=True, slots=True)
class Target:
    """The stack that is called."""

    orchestrator_url: str
    api_key: str = field(repr=False)
    metrics_endpoint: str

    @classmethod
    def of(cls, settings: Settings) -> Target:
        """The stack that the environment names. Raises ConfigError: no key."""
        settings.require("orch_api_key")
        return cls(settings.orch_url, settings.orch_api_key.get_secret_value(), settings.metrics_endpoint)

    @property
    def metrics_url(self) -> str:
        """The collector, without /ingest."""
        return self.metrics_endpoint.rstrip("/").removesuffix("/ingest")

    async def check(self) -> int:
        """Whether calls can be placed; returns for how many the workers have room.

        Raises:
            ConfigError: the key is not the orchestrator's.
            UpstreamUnavailableError: the orchestrator does not answer, or has no worker.
        """
        url = f"{self.orchestrator_url.rstrip('/')}/workers"
        try:
            async with httpx.AsyncClient(timeout=CHECK_TIMEOUT_S, trust_env=False) as http:
                answer = await http.get(url, headers={"Authorization": f"Bearer {self.api_key}"})
            if answer.status_code == 401:
                raise ConfigError("the orchestrator refuses ORCH_API_KEY", "use the key of the stack that you call")
            alive = [worker for worker in answer.json()["workers"] if worker["alive"]]
            room: int = sum(worker["soft_capacity"] - worker["calls"] for worker in alive)
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise UpstreamUnavailableError("orchestrator", f"no answer from {url}; is it running?") from error
        if not alive:
            raise UpstreamUnavailableError("orchestrator", "no agent worker is alive")
        return room


def speech_label(settings: Settings) -> str:
    """Whose recognizer and voice the agents use, as far as this environment knows."""
    words, voice = settings.stt_provider, settings.tts_provider
    if words == voice == "local":
        return "local speech"
    if words.startswith("emulated") and voice.startswith("emulated"):
        return EMULATED
    return f"recognizer {words}, voice {voice}"
