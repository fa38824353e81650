"""Every environment variable of trunkline, its default and its check. Nothing else reads the environment.

Values come from the process environment and from a `.env` file in the working directory, the environment first.
A wrong value is a `ConfigError` with one line a mistake.
"""

from __future__ import annotations

import os
import socket
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from trunkline.core.errors import ConfigError


class MediaEngineChoice(StrEnum):
    """Which program carries the agent's audio."""

    AUTO = "auto"
    NATIVE = "native"
    SDK = "sdk"


class BargeIn(StrEnum):
    """What speech over the agent's answer does."""

    CONFIRM = "confirm"
    IMMEDIATE = "immediate"


class ReplyOn(StrEnum):
    """When the agent answers."""

    FIRST_PARTIAL = "first_partial"
    STABLE_PARTIAL = "stable_partial"
    FINAL = "final"


class EndOfTurn(StrEnum):
    """What tells that the caller has finished."""

    HANGOVER = "hangover"
    SMART = "smart"


def _is_listen_address(value: str) -> str:
    host, colon, port = value.rpartition(":")
    if not colon or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{value!r} is not HOST:PORT or :PORT")
    return f"{host}:{port}"


def _is_http_url(value: str) -> str:
    if value and not _names_host(value, "http", "https"):
        raise ValueError(f"{value!r} is not http://HOST:PORT or https://HOST")
    return value


def _is_redis_url(value: str) -> str:
    if not _names_host(value, "redis", "rediss") and not value.startswith("unix://"):
        # Without the value: it may have a password.
        raise ValueError("not redis://[USER:PASSWORD@]HOST[:PORT][/NUMBER]")
    return value


def _is_sip_host(value: str) -> str:
    # It becomes a part of a SIP URI, in which these would mean something.
    if value and (set(value) & set("/?;@# ") or not _names_host(f"sip://{value}", "sip")):
        raise ValueError(f"{value!r} is not HOST or HOST:PORT")
    return value


def _names_host(url: str, *schemes: str) -> bool:
    try:
        parts = urlsplit(url)
        # `port` is checked when it is read.
        return parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _is_ws_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        good = parts.scheme in ("ws", "wss") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if value and not good:
        raise ValueError(f"{value!r} is not ws://HOST:PORT or wss://HOST")
    return value.rstrip("/")


ListenAddress = Annotated[str, AfterValidator(_is_listen_address)]
HttpUrl = Annotated[str, AfterValidator(_is_http_url)]
WsUrl = Annotated[str, AfterValidator(_is_ws_url)]
RedisUrl = Annotated[str, AfterValidator(_is_redis_url)]
SipHost = Annotated[str, AfterValidator(_is_sip_host)]


FAILURE_SENTENCE = "Sorry, something went wrong. Please say that again."


class Settings(BaseSettings):
    """All settings of all processes; each process uses its own part."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", env_ignore_empty=True)

    # LiveKit
    livekit_api_key: str = ""
    livekit_api_secret: SecretStr = SecretStr("")
    livekit_host: str = "ws://localhost:7880"
    livekit_public_url: WsUrl = ""
    """Where a browser on the page /call reaches livekit-server; empty: LIVEKIT_HOST. With wss:// links begin with
    ORCH_PUBLIC_URL; else with the address at which they were asked for."""
    redis_url: RedisUrl = "redis://localhost:6379/0"

    # Orchestrator
    orch_listen: ListenAddress = ":8000"
    orch_url: HttpUrl = "http://localhost:8000"
    """Where workers, tools and livekit-server's webhook reach the orchestrator."""
    orch_public_url: HttpUrl = ""
    """The address under which Twilio posts to us; its signature covers it. Empty: ORCH_URL."""
    orch_api_key: SecretStr = SecretStr("")
    """Opens /token, /calls and /workers. Empty: they are closed."""
    orch_rate_limit: str = "60/minute"
    """Calls from one number, and refused requests from one address; more are answered 429."""
    orch_token_rate_limit: str = "1200/minute"  # noqa: S105 (a limit)
    """Tokens for one address; more are answered 429."""
    max_calls: Annotated[int, Field(ge=0)] = 0
    """Upper limit of calls at once over all workers; 0: what the live workers can take."""
    call_token_ttl_s: Annotated[float, Field(gt=0, le=600)] = 60.0

    # Twilio and SIP
    twilio_auth_token: SecretStr = SecretStr("")
    twilio_sip_ingress_host: SipHost = ""
    """Host or host:port of livekit-sip, as Twilio dials it."""
    sip_trunk_username: str = ""
    sip_trunk_password: SecretStr = SecretStr("")
    sip_trunk_addresses: str = ""
    """Comma-separated addresses or networks that may call; empty: any that knows the password.
    With SIP_TRUNK_PASSWORD set as well, a call must come from there and know it."""
    transfer_allow: str = ""
    """Comma-separated E.164 numbers or prefixes ending in * to which a call may be transferred; empty: none."""

    # Agent worker
    worker_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,128}$")] = Field(
        default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}"
    )
    worker_capacity: Annotated[int, Field(ge=1, le=500)] = 25
    worker_hard_capacity: Annotated[int, Field(ge=0, le=500)] = 0
    """Calls a worker takes when it takes over from another; 0: 1.36 times WORKER_CAPACITY."""
    media_engine: MediaEngineChoice = MediaEngineChoice.AUTO
    media_engine_program: Path | None = None
    """The native engine, `trunkline-media`; None: the one on the PATH, if there is one."""
    jitter_min_ms: Annotated[int, Field(ge=20, le=200)] = 20
    jitter_max_ms: Annotated[int, Field(ge=20, le=500)] = 60
    reply_on: ReplyOn = ReplyOn.FINAL
    end_of_turn: EndOfTurn = EndOfTurn.HANGOVER
    hangover_min_ms: Annotated[int, Field(ge=60, le=3000)] = 160
    hangover_max_ms: Annotated[int, Field(ge=60, le=3000)] = 800
    """Bounds of the silence that ends the caller's turn; within them it is learned from the caller's own pauses."""
    speculate: bool = False
    """With REPLY_ON=final: ask the brain and the voice before the turn has ended; more requests than answers."""
    barge_in: BargeIn = BargeIn.CONFIRM
    barge_in_chime: bool = False
    stt_provider: str = "local"
    stt_api_key: SecretStr = SecretStr("")
    stt_url: WsUrl = ""
    """Where the provider's WebSocket API is, without a path; empty: the provider's own address."""
    stt_phrases: Path | None = None
    """File with one sentence a line that the local recognizer listens for; None: the bundled dozen."""
    stt_model_path: Path | None = None
    """Folder of a model for STT_PROVIDER=whisper."""
    stt_standby_provider: str = ""
    """Hears where STT_PROVIDER fails, even in the middle of a sentence; empty: nobody does."""
    stt_standby_api_key: SecretStr = SecretStr("")
    stt_standby_url: WsUrl = ""
    tts_provider: str = "local"
    tts_api_key: SecretStr = SecretStr("")
    tts_url: WsUrl = ""
    """As STT_URL."""
    tts_voice: str = ""
    tts_standby_provider: str = ""
    """Speaks on where TTS_PROVIDER fails, from the next word; empty: nobody does."""
    tts_standby_api_key: SecretStr = SecretStr("")
    tts_standby_url: WsUrl = ""
    tts_standby_voice: str = ""
    brain: str = "echo"
    """echo, script, llm, or MODULE:CLASS of one's own; docs/brains.md."""
    brain_first_word_s: Annotated[float, Field(gt=0, le=7)] = 5.0
    """How long a brain may think; less than a turn waits for its answer."""
    brain_next_word_s: Annotated[float, Field(gt=0, le=60)] = 5.0
    """And how long from one sentence of its answer to the next."""
    brain_failure_sentence: Annotated[str, Field(min_length=1, max_length=300)] = FAILURE_SENTENCE
    """What the caller hears where it raises, or thinks longer."""
    brain_script: Path | None = None
    """The flow of BRAIN=script."""
    llm_url: HttpUrl = ""
    """Any OpenAI-compatible API, up to before /chat/completions."""
    llm_model: str = ""
    llm_api_key: SecretStr = SecretStr("")
    llm_greeting: str = ""
    """What BRAIN=llm says when the call is answered; empty: it waits for the caller."""
    llm_system_prompt_file: Path | None = None
    llm_tools: Path | None = None
    """Tools of the model, as YAML."""

    recordings_dir: Path | None = None
    """Where workers keep what was said in each call as WAV, and the collector finds it; None: nothing is recorded.
    Whether callers must be told or asked is a matter of law."""
    recordings_keep_days: Annotated[int, Field(ge=0, le=36500)] = 30
    """Days after which workers delete a recording; 0: never."""

    # Metrics
    metrics_endpoint: str = "http://localhost:9100/ingest"
    """Where events go: UDP datagrams to this host and port, or HTTP posts with METRICS_TRANSPORT=http."""
    metrics_transport: Annotated[str, Field(pattern="^(udp|http)$")] = "udp"
    metrics_listen: ListenAddress = ":9100"
    metrics_window_s: Annotated[float, Field(gt=0, le=86400)] = 60.0
    metrics_csv_dir: Path | None = None
    metrics_csv_keep_days: Annotated[int, Field(ge=0, le=36500)] = 0
    """Days after which a CSV file is deleted; 0: never."""
    metrics_allowed_hosts: str = ""
    """Comma-separated names of the collector that have dots, as browsers and Prometheus use them; ".example.com" is any
    that ends so, "*" any at all. Addresses and names without dots need not be told."""

    log_level: Annotated[str, Field(pattern="^(DEBUG|INFO|WARNING|ERROR)$")] = "INFO"
    log_format: Annotated[str, Field(pattern="^(json|text)$")] = "json"

    @property
    def hard_capacity(self) -> int:
        """Calls a worker can hold at most, take-overs included."""
        return max(self.worker_hard_capacity or round(self.worker_capacity * 1.36), self.worker_capacity)

    @property
    def metrics_host_names(self) -> list[str]:
        """METRICS_ALLOWED_HOSTS, one by one."""
        return [name.strip() for name in self.metrics_allowed_hosts.split(",") if name.strip()]

    @property
    def public_url(self) -> str:
        """The orchestrator's address as Twilio knows it, without a slash at the end."""
        return (self.orch_public_url or self.orch_url).rstrip("/")

    @property
    def livekit_http_url(self) -> str:
        """LIVEKIT_HOST for API calls: http or https."""
        return _with_scheme(self.livekit_host, {"ws": "http", "wss": "https"}, "http")

    @property
    def livekit_ws_url(self) -> str:
        """LIVEKIT_HOST for participants: ws or wss."""
        return _with_scheme(self.livekit_host, {"http": "ws", "https": "wss"}, "ws")

    @property
    def livekit_page_url(self) -> str:
        """Where the page /call finds livekit-server: ws or wss."""
        return self.livekit_public_url or self.livekit_ws_url

    def require(self, *names: str) -> None:
        """Checks that settings which have no default are set.

        Args:
            names: Fields of this class, such as "livekit_api_key".

        Raises:
            ConfigError: names all that are empty, as environment variables.
        """
        missing = []
        for name in names:
            value = getattr(self, name)
            plain = value.get_secret_value() if isinstance(value, SecretStr) else value
            if not plain:
                missing.append(name.upper())
        if missing:
            raise ConfigError(f"{', '.join(missing)} not set", "set in the environment or in .env; see .env.example")


def _with_scheme(url: str, replace: dict[str, str], default: str) -> str:
    if "://" not in url:
        return f"{default}://{url}"
    scheme, rest = url.split("://", 1)
    return f"{replace.get(scheme, scheme)}://{rest}"


def split_listen(address: str) -> tuple[str, int]:
    """HOST:PORT or :PORT as (host, port); no host means all interfaces."""
    host, _, port = address.rpartition(":")
    return host or "0.0.0.0", int(port)  # noqa: S104 (":8000" means all interfaces, as in the brief)


def host_port(url: str, default_port: int) -> tuple[str, int]:
    """Host and port of a URL."""
    parts = urlsplit(url)
    return parts.hostname or "localhost", parts.port or default_port


def load_settings(**overrides: object) -> Settings:
    """Settings from the environment and `.env`, checked.

    Args:
        overrides: Fields that win over both, from a command's options.

    Raises:
        ConfigError: one line for each wrong variable.
    """
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        lines = [
            f"{'.'.join(str(part) for part in e['loc']).upper()}: {e['msg'].removeprefix('Value error, ')}"
            for e in error.errors()
        ]
        raise ConfigError("; ".join(lines), "see .env.example") from error
    except (UnicodeDecodeError, OSError) as error:
        problem = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError(f".env can't be read: {problem}", "see .env.example") from error


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The process's settings, read once."""
    return load_settings()
