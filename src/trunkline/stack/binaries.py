"""Finds redis-server, livekit-server, livekit-sip, trunkline-media and trunkline-phone, or builds them.

For each: the environment (`TRUNKLINE_LIVEKIT_SERVER` and so on), the PATH, the cache (`.cache/bin`, or
`TRUNKLINE_CACHE`), a build with Go, a container engine; else one line that says what to install.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from trunkline.core.errors import ConfigError
from trunkline.stack import build, debian
from trunkline.stack.commands import Progress, run
from trunkline.stack.plan import Programs, project_root

Version = tuple[int, ...]
OurRecipe = Callable[[Path, Path, Progress], Awaitable[None]]


@dataclass(frozen=True)
class Wanted:
    """One program.

    Args:
        name: As on the PATH.
        variable: Of the environment, with its path.
        version: The one that trunkline is tested with; empty: any from `oldest`.
        oldest: Older ones are refused; empty: not asked for a version.
        image: The official container image, with its tag.
    """

    name: str
    variable: str
    version: str = ""
    oldest: Version = ()
    image: str = ""


REDIS = Wanted("redis-server", "TRUNKLINE_REDIS_SERVER", oldest=(6, 2))
LIVEKIT_SERVER = Wanted(
    "livekit-server", "TRUNKLINE_LIVEKIT_SERVER", "1.13.5", (1, 13), "docker.io/livekit/livekit-server:v1.13.5"
)
LIVEKIT_SIP = Wanted("livekit-sip", "TRUNKLINE_LIVEKIT_SIP", "1.8.0", (1, 8), "docker.io/livekit/sip:v1.8.0")
PHONE = Wanted("trunkline-phone", "TRUNKLINE_PHONE")
MEDIA_ENGINE = Wanted("trunkline-media", "TRUNKLINE_MEDIA")


async def find_servers(run_dir: Path, progress: Progress, environment: Mapping[str, str] | None = None) -> Programs:
    """The servers of a stack; those that are missing are built.

    Args:
        run_dir: Where their configuration will be; containers see this folder.
        progress: Told what is found, and once a second while something is built.
        environment: Default: this process's.

    Raises:
        ConfigError: one can't be had; the line says what to install.
    """
    env = os.environ if environment is None else environment
    redis = await find(REDIS, env, progress)
    if redis is None:
        await debian.install(["redis-server"], "the stack", progress)
        redis = await find(REDIS, env, progress)
    if redis is None:
        raise ConfigError("redis-server not found", "install it, or set TRUNKLINE_REDIS_SERVER")
    # One after the other: each build uses all cores.
    livekit_server = await _server(LIVEKIT_SERVER, run_dir, env, progress)
    livekit_sip = await _server(LIVEKIT_SIP, run_dir, env, progress)
    return Programs((str(redis),), livekit_server, livekit_sip, await find_media_engine(progress, env))


async def find_phone(progress: Progress, environment: Mapping[str, str] | None = None) -> Path:
    """The simulated phone, built again when its sources changed.

    Raises:
        ConfigError: it can't be had.
    """
    return await _ours(PHONE, build.phone, os.environ if environment is None else environment, progress)


async def find_media_engine(progress: Progress, environment: Mapping[str, str] | None = None) -> Path | None:
    """The native media engine, built again when its sources changed; None where it can't be had, with the reason told.

    The agents then use the Python SDK's engine, which needs no program.
    """
    try:
        return await _ours(
            MEDIA_ENGINE, build.media_engine, os.environ if environment is None else environment, progress
        )
    except ConfigError as error:
        progress(MEDIA_ENGINE.name, f"warning: {error}; the agents use the sdk engine instead", 0.0)
        return None


def built(wanted: Wanted, env: Mapping[str, str]) -> Path:
    """Where a Go program of ours is once it is built from its sources as they are now."""
    return cache_dir(env) / f"{wanted.name}-{build.sources_digest(project_root() / 'media-engine')}"


async def _ours(wanted: Wanted, recipe: OurRecipe, env: Mapping[str, str], progress: Progress) -> Path:
    if found := await find(wanted, env, progress):
        return found
    module = project_root() / "media-engine"
    target = built(wanted, env)
    if not target.exists():
        if problem := await build.go_problem():
            raise ConfigError(f"{wanted.name} must be built: {problem}", "install Go from https://go.dev/dl")
        await build.build(wanted.name, target, lambda made, tell: recipe(made, module, tell), progress)
        for outdated in target.parent.glob(f"{wanted.name}-*"):
            if outdated != target:
                outdated.unlink(missing_ok=True)
    return target


async def find(wanted: Wanted, env: Mapping[str, str], progress: Progress) -> Path | None:
    """A program that is there already: named by the environment, on the PATH, or in the cache.

    Raises:
        ConfigError: the environment names one that can't be used.
    """
    if named := env.get(wanted.variable):
        path = shutil.which(named, path=env.get("PATH"))
        if path is None:
            raise ConfigError(f"{wanted.variable}={named} is not a program")
        if objection := await _objection(wanted, path, progress):
            raise ConfigError(f"{wanted.variable}={named}: {objection}")
        return Path(path)
    if path := shutil.which(wanted.name, path=env.get("PATH", os.defpath)):
        objection = await _objection(wanted, path, progress)
        if not objection:
            return Path(path)
        progress(wanted.name, f"{path} is not used: {objection}", 0.0)
    cached = _cached(wanted, env)
    return cached if wanted.version and os.access(cached, os.X_OK) else None


async def _server(wanted: Wanted, run_dir: Path, env: Mapping[str, str], progress: Progress) -> tuple[str, ...]:
    if found := await find(wanted, env, progress):
        return (str(found),)
    problem = await build.go_problem()
    if not problem:
        return (str(await build.build(wanted.name, _cached(wanted, env), _recipe(wanted), progress)),)
    for engine in ("docker", "podman"):
        if shutil.which(engine) and await _answers(engine):
            return container_argv(engine, wanted.image, run_dir)
    raise ConfigError(
        f"{wanted.name} {wanted.version} not found, and it can't be built: {problem}",
        f"put it on the PATH, or set {wanted.variable}, or install Go from https://go.dev/dl",
    )


def container_argv(engine: str, image: str, run_dir: Path) -> tuple[str, ...]:
    """A command that runs a server from its official image; its own arguments follow.

    Not tried yet: it was written where no container engine runs. The engine's client passes signals on to the
    container, but a client that is killed leaves its container running.

    Args:
        engine: "docker" or "podman".
        image: With its tag.
        run_dir: Seen inside under the same path, read-only.
    """
    folder = run_dir.absolute()
    return (engine, "run", "--rm", "--network", "host", "-v", f"{folder}:{folder}:ro", image)


def cache_dir(env: Mapping[str, str]) -> Path:
    """Where built programs are kept."""
    return Path(env.get("TRUNKLINE_CACHE") or project_root() / ".cache").absolute() / "bin"


def _cached(wanted: Wanted, env: Mapping[str, str]) -> Path:
    return cache_dir(env) / f"{wanted.name}-v{wanted.version}"


def _recipe(wanted: Wanted) -> build.Recipe:
    if wanted is LIVEKIT_SERVER:
        return lambda made, tell: build.livekit_server(made, wanted.version, tell)
    module = project_root() / "media-engine" / "build" / "livekit-sip"
    return lambda made, tell: build.livekit_sip(made, module, wanted.version, tell)


async def _objection(wanted: Wanted, path: str, progress: Progress) -> str:
    """Why a program can't be used; empty if it can. A version that was not tested is reported, and used."""
    if not wanted.oldest:
        return ""
    told = await _version(path)
    if told is None:
        return "does not tell its version"
    version = tuple(map(int, told.split(".")))
    # Zeros: built from source without a stamp, so it may be any.
    if any(version) and version < wanted.oldest:
        return f"version {told} is too old, {'.'.join(map(str, wanted.oldest))} is needed"
    if wanted.version and told != wanted.version:
        progress(wanted.name, f"warning: {path} is version {told}; tested is {wanted.version}", 0.0)
    return ""


async def _version(path: str) -> str | None:
    """What a program says with --version, such as "1.13.5"; None if it does not."""
    try:
        output = await run(path, "--version", limit_s=10)
    except (OSError, TimeoutError):
        return None
    found = re.search(r"\d+(?:\.\d+)+", output.text)
    return found[0] if found and output.code == 0 else None


async def _answers(engine: str) -> bool:
    """Whether a container engine is more than a client without a server."""
    try:
        return (await run(engine, "info", limit_s=10)).code == 0
    except (OSError, TimeoutError):
        return False
