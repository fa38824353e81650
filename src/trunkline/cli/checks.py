"""What `trunkline doctor` looks at: each check is one question, its answer, and what to do about it."""

from __future__ import annotations

import asyncio
import ipaddress
import shutil
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import httpx
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, RedisError

from trunkline.agent.pipeline.stt import check_providers
from trunkline.core.errors import ConfigError, TrunklineError, UpstreamRejectedError
from trunkline.media.choice import EngineChoice, choose_engine
from trunkline.orchestrator.livekit_admin import LiveKitAdmin
from trunkline.settings import MediaEngineChoice, Settings, host_port
from trunkline.stack.binaries import LIVEKIT_SERVER, LIVEKIT_SIP, MEDIA_ENGINE, PHONE, REDIS, Wanted, built, find
from trunkline.stack.commands import run
from trunkline.stack.ports import holder, is_free
from trunkline.stack.probes import sip_answers

CHECK_TIMEOUT_S = 5.0
RTP_TRIES = 3


class Status(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Check:
    """One answer.

    Args:
        name: What was looked at.
        status: How it is.
        detail: What was found.
        fix: What to do; empty where nothing is to be done.
    """

    name: str
    status: Status
    detail: str
    fix: str = ""


def ok(name: str, detail: str) -> Check:
    """All is well."""
    return Check(name, Status.OK, detail)


def failed(name: str, detail: str, fix: str) -> Check:
    """It can't work like this."""
    return Check(name, Status.FAILED, detail, fix)


def warning(name: str, detail: str, fix: str) -> Check:
    """It works, but perhaps not as wanted."""
    return Check(name, Status.WARNING, detail, fix)


async def programs(environment: Mapping[str, str]) -> list[Check]:
    """Python, the servers and the tools, with what builds them where they are missing."""
    version = ".".join(map(str, sys.version_info[:3]))
    checks = [ok("python", version)]
    go = shutil.which("go")
    for wanted in (REDIS, LIVEKIT_SERVER, LIVEKIT_SIP, MEDIA_ENGINE, PHONE):
        checks.append(await _program(wanted, environment, go))
    speaks = shutil.which("espeak-ng")
    checks.append(ok("espeak-ng", speaks) if speaks else failed("espeak-ng", "not found", "apt-get install espeak-ng"))
    return checks


async def _program(wanted: Wanted, environment: Mapping[str, str], go: str | None) -> Check:
    try:
        found = await find(wanted, environment, lambda *_: None)
    except ConfigError as error:
        return failed(wanted.name, error.problem, error.fix or f"unset {wanted.variable}")
    if found is None and wanted in (PHONE, MEDIA_ENGINE) and built(wanted, environment).exists():
        found = built(wanted, environment)
    if found is not None:
        return ok(wanted.name, str(found))
    if wanted is REDIS:
        return failed(wanted.name, "not found", "apt-get install redis-server")
    if go is not None:
        return warning(wanted.name, "not found; built at the first start", "make servers")
    return failed(wanted.name, "not found, and no Go to build it", f"install Go 1.26, or set {wanted.variable}")


async def media_engine(settings: Settings, environment: Mapping[str, str]) -> Check:
    """Which media engine an agent with these settings runs, and why; does its program run?"""
    try:
        choice = choose_engine(settings)
    except ConfigError as error:
        return failed("media engine", error.problem, error.fix)
    if choice.program is not None:
        return await _runs(choice)
    if settings.media_engine is MediaEngineChoice.SDK:
        return ok("media engine", f"sdk: {choice.why}")
    if (program := built(MEDIA_ENGINE, environment)).exists():
        return ok("media engine", f"native under trunkline up, which built {program}; else sdk: {choice.why}")
    return warning("media engine", f"sdk: {choice.why}", "the native one costs a tenth: make servers, or make wheel")


async def _runs(choice: EngineChoice) -> Check:
    problem = ""
    try:
        said = await run(str(choice.program), "--version", limit_s=CHECK_TIMEOUT_S)
    except (OSError, TimeoutError) as error:
        problem = str(error) or "no answer"
    else:
        problem = said.text.strip()[:200] if said.code else ""
    if problem:
        return failed("media engine", f"{choice.program}: {problem}", "apt-get install libopus0, or MEDIA_ENGINE=sdk")
    return ok("media engine", f"native: {choice.why}, {choice.program}")


def providers(settings: Settings) -> list[Check]:
    """What the agents hear and speak with."""
    used = f"STT {settings.stt_provider}, TTS {settings.tts_provider}, brain {settings.brain}"
    try:
        check_providers(settings)
    except ConfigError as error:
        return [failed("providers", error.problem, error.fix)]
    return [ok("providers", used)]


def keys(settings: Settings) -> list[Check]:
    """Secrets that a stack of one's own must have; `up` and `demo` make theirs for each run."""
    checks = []
    for name, why in (
        ("livekit_api_key", "nothing works"),
        ("livekit_api_secret", "nothing works"),
        ("twilio_auth_token", "webhooks are refused"),
        ("orch_api_key", "/token and /calls are closed"),
        ("sip_trunk_password", "phone calls are refused, unless SIP_TRUNK_ADDRESSES is set"),
    ):
        value = getattr(settings, name)
        plain = value if isinstance(value, str) else value.get_secret_value()
        variable = name.upper()
        if not plain:
            checks.append(warning(variable, f"not set: {why}", "trunkline tokens --init, or set it in .env"))
        elif name == "livekit_api_secret" and len(plain) < 32:
            checks.append(warning(variable, f"{len(plain)} characters", "use at least 32, LiveKit asks for that"))
        else:
            checks.append(ok(variable, "set"))
    return checks


def standard_ports(host: str) -> list[Check]:
    """Those that `trunkline up` takes."""
    checks = []
    for name, port in (("orchestrator", 8000), ("metrics", 9100), ("livekit", 7880), ("sip", 5060)):
        if is_free(host, port):
            checks.append(ok(f"port {port}", f"free, for {name}"))
        else:
            checks.append(
                failed(f"port {port}", f"taken by {holder(port)}", f"stop it, or: trunkline up --ports free ({name})")
            )
    return checks


async def redis(settings: Settings) -> Check:
    """Does it answer?"""
    host, port = host_port(settings.redis_url, 6379)
    client = Redis.from_url(settings.redis_url, socket_timeout=2, socket_connect_timeout=2)
    try:
        await client.ping()
    except AuthenticationError:
        return failed("redis", f"{host}:{port} refuses the password", "correct REDIS_URL")
    except (RedisError, OSError, ValueError) as error:
        return failed("redis", f"{host}:{port}: {str(error)[:120]}", "start Redis, or correct REDIS_URL")
    finally:
        await client.aclose()
    return ok("redis", f"{host}:{port} answers")


async def livekit(settings: Settings) -> Check:
    """Does it answer, and take our key?"""
    try:
        settings.require("livekit_api_key", "livekit_api_secret")
    except ConfigError as error:
        return failed("livekit-server", error.problem, error.fix)
    admin = LiveKitAdmin(settings)
    try:
        await admin.ping()
    except UpstreamRejectedError as error:
        return failed("livekit-server", error.problem, "LIVEKIT_API_KEY and _SECRET must be those in its keys:")
    except TrunklineError as error:
        return failed("livekit-server", str(error), "start it, or correct LIVEKIT_HOST")
    finally:
        await admin.close()
    return ok("livekit-server", f"{settings.livekit_host} answers and takes our key")


async def orchestrator(settings: Settings) -> list[Check]:
    """Is it ready, and are there workers?"""
    bearer = {"Authorization": f"Bearer {settings.orch_api_key.get_secret_value()}"}
    async with httpx.AsyncClient(base_url=settings.orch_url, timeout=CHECK_TIMEOUT_S, trust_env=False) as http:
        try:
            ready = (await http.get("/readyz")).json()
            workers = await http.get("/workers", headers=bearer)
        except (httpx.HTTPError, ValueError):
            return [failed("orchestrator", f"{settings.orch_url} does not answer", "start it, or correct ORCH_URL")]
    problems = [f"{name}: {state}" for name, state in ready.get("checks", {}).items() if state != "ok"]
    checks = [
        failed("orchestrator", "; ".join(problems), "see its log") if problems else ok("orchestrator", "ready"),
    ]
    if workers.status_code == 401:
        return [*checks, failed("workers", "ORCH_API_KEY is refused", "use the orchestrator's ORCH_API_KEY")]
    alive = [worker for worker in workers.json().get("workers", []) if worker["alive"]]
    if not alive:
        return [*checks, failed("workers", "none is alive: every call hears busy", "start one: trunkline agent")]
    room = sum(worker["soft_capacity"] for worker in alive)
    return [*checks, ok("workers", f"{len(alive)} alive, room for {room} calls")]


async def metrics(settings: Settings) -> Check:
    """Does the collector answer?"""
    url = settings.metrics_endpoint.removesuffix("/ingest")
    async with httpx.AsyncClient(timeout=CHECK_TIMEOUT_S, trust_env=False) as http:
        try:
            answer = await http.get(f"{url}/healthz")
        except httpx.HTTPError:
            return failed("metrics", f"{url} does not answer", "start it, or correct METRICS_ENDPOINT")
    if answer.status_code != 200:
        return failed("metrics", f"{url} answers {answer.status_code}", "see its log")
    return ok("metrics", f"{url} answers")


async def sip(settings: Settings) -> list[Check]:
    """Does livekit-sip answer where Twilio would dial, and can Twilio reach that address?"""
    target = settings.twilio_sip_ingress_host
    if not target:
        return [failed("sip", "TWILIO_SIP_INGRESS_HOST is not set", "set it to the name under which Twilio dials")]
    host, port = host_port(f"sip://{target}", 5060)
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, family=socket.AF_INET, type=socket.SOCK_DGRAM)
    except OSError as error:
        return [failed("sip", f"{host} has no address: {error.strerror}", "correct TWILIO_SIP_INGRESS_HOST or its DNS")]
    address = str(found[0][4][0])
    checks = [_reachable_by_twilio(host, address)]
    try:
        await sip_answers(address, port)()
    except (OSError, TimeoutError) as error:
        problem = str(error) or "no answer to OPTIONS over UDP"
        fix = "start livekit-sip, open its UDP port; behind NAT your own router may not send it back to you"
        return [*checks, failed("sip", f"{address}:{port}: {problem}", fix)]
    return [*checks, ok("sip", f"{address}:{port} answers OPTIONS over UDP")]


def _reachable_by_twilio(host: str, address: str) -> Check:
    name = address if host == address else f"{host} is {address}, which"
    if ipaddress.ip_address(address).is_global:
        if _is_own(address):
            return ok("nat", f"{address} is this machine's own public address")
        return warning("nat", f"{name} is no address of this machine", "forward UDP 5060 and the RTP ports to it")
    return warning(
        "nat",
        f"{name} can't be reached by Twilio; simulated calls can use it",
        "for real calls: a public name in TWILIO_SIP_INGRESS_HOST, and trunkline up --host 0.0.0.0",
    )


def _is_own(address: str) -> bool:
    """Whether a socket can be bound to it: names and their files may tell anything."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


async def rtp(host: str, ports: tuple[int, int]) -> Check:
    """Do datagrams come through where livekit-sip will receive sound? Tried on free ports of its range.

    Args:
        host: IP address on which sound comes in.
        ports: First and one past the last port.
    """
    span = range(ports[0], ports[1], max(1, (ports[1] - ports[0]) // RTP_TRIES))
    arrived = 0
    for port in span:
        arrived += await _datagram_comes_through(host, port)
    name = f"rtp {ports[0]}-{ports[1] - 1}"
    if arrived == len(span):
        return ok(name, f"datagrams come through on {host}; a firewall outside of this machine is not seen from here")
    return failed(name, f"{arrived} of {len(span)} ports take datagrams on {host}", "open UDP for them in the firewall")


async def _datagram_comes_through(host: str, port: int) -> bool:
    loop = asyncio.get_running_loop()
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        receiver.setblocking(False)
        try:
            receiver.bind((host, port))
        except OSError:
            # A call of the running stack has it: that proves as much.
            return True
        sender.sendto(b"rtp?", (host, port))
        try:
            return await asyncio.wait_for(loop.sock_recv(receiver, 16), 1.0) == b"rtp?"
        except TimeoutError:
            return False


async def bounded(name: str, check: Awaitable[Check | list[Check]]) -> list[Check]:
    """A check that may hang does not keep the others."""
    try:
        found = await asyncio.wait_for(check, CHECK_TIMEOUT_S)
    except TimeoutError:
        return [failed(name, f"no answer within {CHECK_TIMEOUT_S:.0f} s", "is a firewall dropping packets?")]
    return found if isinstance(found, list) else [found]


async def running(settings: Settings, rtp_host: str, rtp_ports: tuple[int, int]) -> list[Check]:
    """Everything about a stack that should be running under these settings."""
    asked: dict[str, Callable[[], Awaitable[Check | list[Check]]]] = {
        "redis": lambda: redis(settings),
        "livekit-server": lambda: livekit(settings),
        "orchestrator": lambda: orchestrator(settings),
        "metrics": lambda: metrics(settings),
        "sip": lambda: sip(settings),
        "rtp": lambda: rtp(rtp_host, rtp_ports),
    }
    found = await asyncio.gather(*(bounded(name, check()) for name, check in asked.items()))
    return [check for group in found for check in group]
