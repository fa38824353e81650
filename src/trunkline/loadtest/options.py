"""What a load test is asked to do, and the stack that it calls."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import httpx

from trunkline.core.errors import ConfigError, UpstreamUnavailableError
from trunkline.loadtest.conversation import LONGEST_ANSWER_S
from trunkline.settings import Settings

DEFAULT_PHRASE = "what are your opening hours"
"""One of `agent/pipeline/phrases.txt`: the local recognizer understands it from every voice, also repeated."""
CALLERS_A_PROCESS = 25
CALLERS_AN_ENGINE = 100
MAX_CALLERS = 1_000
CHECK_TIMEOUT_S = 5.0
EMULATED = "emulated"
SLACK_S = 60.0
"""How much longer than its script a run may take."""


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """What is wanted. Raises ConfigError where it makes no sense.

    Args:
        ramp: Calls placed a second.
        processes: Processes for the callers; 0: one for 25 callers, up to the number of cores.
    """

    concurrency: int = 100
    burst_seconds: float = 8.0
    phrase: str = DEFAULT_PHRASE
    turns: int = 3
    ramp: float = 10.0
    processes: int = 0

    def __post_init__(self) -> None:
        for name, value, least, most in (
            ("concurrency", self.concurrency, 1, MAX_CALLERS),
            ("burst-seconds", self.burst_seconds, 0.2, 60),
            ("turns", self.turns, 1, 100),
            ("ramp", self.ramp, 0.1, 1_000),
            ("processes", self.processes, 0, 64),
        ):
            if not least <= value <= most:
                raise ConfigError(f"--{name} {value}: not from {least} to {most}")

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
        return self.concurrency / self.ramp + self.turns * (self.burst_seconds + LONGEST_ANSWER_S + 12.0) + SLACK_S


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
