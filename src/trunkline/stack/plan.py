"""Which processes make a stack, with which ports, secrets, environment and probes.

In: programs, ports, settings. Out: a `Plan` for `stack/stack.py`. Nothing is started here; `prepare` writes the
rendered configuration. Secrets reach children through their environment and files of mode 0600, never through argv.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trunkline.core.errors import ConfigError
from trunkline.settings import Settings
from trunkline.stack import probes
from trunkline.stack.access import EVERYWHERE, LOOPBACK, Secrets, local, reachable, shared_env
from trunkline.stack.ports import Ports
from trunkline.stack.process import Spec
from trunkline.stack.render import Value, redis_values, render, write_private

_SERVER_ENV = ("PATH", "LD_LIBRARY_PATH", "HOME", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "GOGC", "GOMAXPROCS")
"""All that the servers get of our environment: what they need is in their configuration."""
_GO_ENV = {"GOGC": "400"}
"""Go collects garbage when twice of what is in use was allocated. Calls use little, and come in bursts: five times."""


@dataclass(frozen=True)
class Programs:
    """How to start each server: a path, or a container engine's command, before its own arguments.

    Args:
        media_engine: The agents' native media engine; None: they use the Python SDK.
    """

    redis: tuple[str, ...]
    livekit_server: tuple[str, ...]
    livekit_sip: tuple[str, ...]
    media_engine: Path | None = None


@dataclass(frozen=True)
class Plan:
    """One stack, ready to be started.

    Args:
        host: IPv4 address that webhooks and phone calls come in at; all else is on loopback.
        run_dir: For rendered configuration and logs.
        env: What trunkline's processes, and tools that talk to the stack, need in their environment.
        processes: In the order of their start.
        files: Rendered configuration by path.
    """

    host: str
    ports: Ports
    secrets: Secrets
    run_dir: Path
    log_dir: Path
    env: Mapping[str, str]
    processes: tuple[Spec, ...]
    files: Mapping[Path, str]

    def __repr__(self) -> str:
        return f"Plan({self.host}, {self.ports}, {self.run_dir})"

    def prepare(self) -> None:
        """Makes the folders and writes the configuration, readable by us alone."""
        for folder in (self.run_dir, self.log_dir):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path, text in self.files.items():
            write_private(path, text)

    def clean(self) -> None:
        """Removes the configuration, as there are secrets in it; the logs stay."""
        for path in self.files:
            path.unlink(missing_ok=True)


def make_plan(
    programs: Programs,
    ports: Ports,
    settings: Settings,
    run_dir: Path,
    *,
    workers: int = 2,
    host: str = LOOPBACK,
    log_dir: Path | None = None,
    services: bool = True,
    environment: Mapping[str, str] | None = None,
) -> Plan:
    """Plans a whole stack.

    Args:
        programs: From `stack/binaries.py`.
        ports: From `stack/ports.py`, for this host.
        settings: Secrets and the servers' settings that are set there are used.
        run_dir: A folder of this run's own.
        workers: Agent workers.
        host: IPv4 address for webhooks, SIP and RTP.
        log_dir: Default: `run_dir/logs`.
        services: False: only Redis and the LiveKit servers.
        environment: Base for all children; default: this process's.

    Raises:
        ConfigError: the project's configuration files are missing or wrong.
    """
    base = dict(os.environ if environment is None else environment)
    known = Secrets.make(settings)
    env = {**base, **shared_env(ports, known, settings, host)}
    if programs.media_engine is not None and settings.media_engine_program is None:
        env["MEDIA_ENGINE_PROGRAM"] = str(programs.media_engine)
    run_dir = run_dir.absolute()
    values = _template_values(ports, settings, host, env)
    files = {run_dir / name: render(_template(name), values) for name in ("livekit.yaml", "sip.yaml")}
    # Whoever is on this machine reaches loopback, and LiveKit keeps the trunk's password in Redis.
    files[run_dir / "redis.conf"] = f"requirepass {known.redis_password}\n"
    quiet = {name: base[name] for name in _SERVER_ENV if name in base}
    processes = _servers(programs, ports, known, run_dir, sip_host=local(host), env=quiet)
    if services:
        processes += _services(ports, known, workers, env)
    return Plan(host, ports, known, run_dir, log_dir or run_dir / "logs", env, processes, files)


def project_root() -> Path:
    """The folder with `config/` and `media-engine/`: the checkout that this package is in, else the working directory.

    Raises:
        ConfigError: neither has them.
    """
    for folder in (Path(__file__).resolve().parents[3], Path.cwd()):
        if (folder / "config" / "livekit.yaml").is_file():
            return folder
    raise ConfigError("config/livekit.yaml not found", "run trunkline in its checkout")


def _template(name: str) -> str:
    path = project_root() / "config" / name
    try:
        return path.read_text()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error


def _servers(
    programs: Programs, ports: Ports, known: Secrets, run_dir: Path, *, sip_host: str, env: Mapping[str, str]
) -> tuple[Spec, ...]:
    redis_options = f"--bind {LOOPBACK} --port {ports.redis} --appendonly no --save".split()
    return (
        Spec(
            name="redis",
            argv=(*programs.redis, str(run_dir / "redis.conf"), *redis_options, "", "--dir", str(run_dir)),
            probe=probes.redis_answers(ports.redis, known.redis_password),
            env=env,
        ),
        Spec(
            name="livekit-server",
            argv=(*programs.livekit_server, "--config", str(run_dir / "livekit.yaml")),
            probe=probes.http_answers(f"http://{LOOPBACK}:{ports.livekit}/"),
            # It shares the machine with the agents; threads that wake each other on all processors cost a seventh more.
            env={**_GO_ENV, "GOMAXPROCS": str(max(1, (os.cpu_count() or 1) // 2)), **env},
            after=("redis",),
            # The first SIGTERM makes it wait for all participants, the second one ends that.
            grace_s=0.5,
            insist_s=1.5,
        ),
        Spec(
            name="livekit-sip",
            argv=(*programs.livekit_sip, "--config", str(run_dir / "sip.yaml")),
            probe=probes.sip_answers(sip_host, ports.sip),
            env={**_GO_ENV, **env},
            after=("redis",),
            # It waits for its calls, however often it is told.
            grace_s=1.0,
        ),
    )


def _template_values(ports: Ports, settings: Settings, host: str, env: Mapping[str, str]) -> dict[str, Value]:
    return {
        **redis_values(env["REDIS_URL"]),
        "LIVEKIT_PORT": ports.livekit,
        "LIVEKIT_BIND_ADDRESSES": [LOOPBACK],
        "LIVEKIT_API_KEY": env["LIVEKIT_API_KEY"],
        "LIVEKIT_API_SECRET": env["LIVEKIT_API_SECRET"],
        "LIVEKIT_WS_URL": env["LIVEKIT_HOST"],
        "LIVEKIT_WEBHOOK_URL": env["ORCH_URL"] + "/livekit/webhook",
        "LIVEKIT_LOG_LEVEL": {"WARNING": "warn"}.get(settings.log_level, settings.log_level.lower()),
        "RTC_UDP_PORT": ports.rtc_udp,
        # ICE over TCP would listen on all interfaces; on loopback nobody needs it.
        "RTC_TCP_PORT": 0,
        "RTC_NODE_IP": LOOPBACK,
        "RTC_INTERFACES": ["lo"],
        "SIP_PORT": ports.sip,
        "SIP_LISTEN_IP": host,
        "SIP_RTP_PORTS": f"{ports.rtp_from}-{ports.rtp_to}",
        "SIP_LOCAL_NET": "0.0.0.0/0" if host == EVERYWHERE else f"{host}/32",
        "SIP_PUBLIC_IP": reachable(host),
        "SIP_CODEC_G722": False,
        "SIP_CODEC_PCMU": True,
        "SIP_CODEC_PCMA": True,
        "SIP_JITTER_BUFFER": False,
    }


def _services(ports: Ports, known: Secrets, workers: int, env: Mapping[str, str]) -> tuple[Spec, ...]:
    def command(name: str) -> tuple[str, ...]:
        return (sys.executable, "-c", "from trunkline.cli.main import main; main()", name)

    orchestrator = env["ORCH_URL"]
    agents = [f"agent-{number}" for number in range(1, workers + 1)]
    return (
        Spec(
            name="metrics",
            argv=command("metrics"),
            probe=probes.http_answers(f"http://{LOOPBACK}:{ports.metrics}/healthz"),
            env=env,
        ),
        Spec(
            name="orchestrator",
            argv=command("orchestrator"),
            probe=probes.http_answers(f"{orchestrator}/readyz"),
            env=env,
            after=("redis", "livekit-server"),
        ),
        *(
            Spec(
                name=name,
                argv=command("agent"),
                probe=probes.worker_alive(f"{orchestrator}/workers", known.orch_api_key, name),
                env={**env, "WORKER_ID": name},
                # Starting takes seconds, so it does not wait for the orchestrator; it tries again.
                after=("livekit-server",),
                uses=("orchestrator", "metrics"),
                # It says goodbye to its calls; those still there after the drain are cut off.
                grace_s=4.0,
            )
            for name in agents
        ),
    )
