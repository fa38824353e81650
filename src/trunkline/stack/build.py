"""Builds programs with Go, once: into the cache, whole or not at all, by one process at a time."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

from trunkline.core.errors import ConfigError
from trunkline.stack import debian
from trunkline.stack.commands import Progress, reported, run

GO_NEEDED = (1, 26)
BUILD_LIMIT_S = 900.0
LOCK_PAUSE_S = 0.2

Recipe = Callable[[Path, Progress], Awaitable[None]]
"""Builds a program into the given path; raises ConfigError."""


async def go_problem() -> str:
    """Why Go can't be used here, in one line; empty if it can."""
    if shutil.which("go") is None:
        return "Go is not installed"
    try:
        # A Go that may fetch newer ones itself does so outside of any module, too, when it builds.
        output = await run("go", "env", "GOVERSION", limit_s=30)
    except (OSError, TimeoutError) as error:
        return f"Go does not run: {error or 'no answer'}"
    found = re.search(r"go(\d+)\.(\d+)", output.text)
    if not found or (int(found[1]), int(found[2])) < GO_NEEDED:
        needed = ".".join(map(str, GO_NEEDED))
        return f"Go {needed} or newer is needed, this is {output.text.strip() or 'unknown'}"
    return ""


async def build(name: str, target: Path, recipe: Recipe, progress: Progress) -> Path:
    """The program at `target`, built now unless it is there already.

    Args:
        name: For messages.
        target: Where it shall be, in the cache.
        recipe: Makes it.
        progress: Told once a second.

    Raises:
        ConfigError: it can't be built; the line says what is missing.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"can't keep programs in {target.parent}: {error.strerror}", "set TRUNKLINE_CACHE") from error
    async with _lock(target.with_name(f".{name}.lock"), name, progress):
        if not os.access(target, os.X_OK):  # else another process built it while we waited
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=".build-") as folder:
                made = Path(folder) / target.name
                await recipe(made, progress)
                made.replace(target)
    return target


async def livekit_server(made: Path, version: str, progress: Progress) -> None:
    """The recipe for livekit-server: the Go module proxy serves it, pinned by the checksum database."""
    package = f"github.com/livekit/livekit-server/cmd/server@v{version}"
    env = {"GOBIN": str(made.parent)}
    await _go("livekit-server", progress, "install", "-trimpath", package, env=env, cwd=made.parent)
    (made.parent / "server").rename(made)


async def livekit_sip(made: Path, module: Path, version: str, progress: Progress) -> None:
    """The recipe for livekit-sip: from a module of ours that pins it by hash, because `go install` can't.

    Args:
        module: Folder with go.mod, go.sum and tools.go. It is copied, as Go may want to write to it.
        version: What it shall say about itself; else it says 0.0.0-dev.
    """
    await debian.install(await debian.missing_for(debian.SIP_LIBRARIES), "livekit-sip", progress)
    copy = shutil.copytree(module, made.parent / "module")
    stamp = f"-X github.com/livekit/sip/version.Version={version}"
    options = ("-mod=mod", "-trimpath", "-ldflags", stamp, "-o", str(made))
    package = "github.com/livekit/sip/cmd/livekit-sip"
    await _go("livekit-sip", progress, "build", *options, package, env={"CGO_ENABLED": "1"}, cwd=copy)


async def phone(made: Path, module: Path, progress: Progress) -> None:
    """The recipe for trunkline-phone, from `media-engine`."""
    options = ("-trimpath", "-buildvcs=false", "-o", str(made))
    await _go("trunkline-phone", progress, "build", *options, "./cmd/phone", env={}, cwd=module)


async def media_engine(made: Path, module: Path, progress: Progress) -> None:
    """The recipe for trunkline-media, from `media-engine`. Raises ConfigError where libopus can't be had."""
    await debian.install(await debian.missing_for(debian.ENGINE_LIBRARIES), "trunkline-media", progress)
    # Go may want to complete go.sum's list of what it already has: not in the checkout.
    copy = shutil.copytree(module, made.parent / "module")
    options = ("-mod=mod", "-trimpath", "-buildvcs=false", "-tags", "nolibopusfile", "-o", str(made))
    await _go("trunkline-media", progress, "build", *options, "./cmd/engine", env={"CGO_ENABLED": "1"}, cwd=copy)


def sources_digest(module: Path) -> str:
    """A short hash over all that our Go programs are built from: it changes when a source does."""
    digest = hashlib.sha256()
    files = [*module.glob("go.*"), *module.glob("cmd/**/*.go"), *module.glob("internal/**/*.go")]
    for path in sorted(files):
        digest.update(str(path.relative_to(module)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


async def _go(name: str, progress: Progress, *arguments: str, env: Mapping[str, str], cwd: Path) -> None:
    async with reported(progress, name, "building with Go, once"):
        try:
            output = await run("go", *arguments, limit_s=BUILD_LIMIT_S, env={**os.environ, **env}, cwd=cwd)
        except TimeoutError as error:
            raise ConfigError(f"{name}: not built within {BUILD_LIMIT_S:.0f} s") from error
        except OSError as error:
            raise ConfigError(f"{name}: go can't be run: {error.strerror}") from error
    if output.code:
        lines = [line for line in output.text.splitlines() if not line.startswith("go: downloading")]
        raise ConfigError(f"{name} can't be built: {' | '.join(lines[-6:])}")


@contextlib.asynccontextmanager
async def _lock(path: Path, name: str, progress: Progress) -> AsyncIterator[None]:
    """Holds a lock file; the kernel lets go of it when we die. Waiting can be cancelled."""
    with path.open("w") as file:
        if not _try_lock(file.fileno()):
            async with reported(progress, name, "waiting for another process that builds it"):
                while not _try_lock(file.fileno()):  # noqa: ASYNC110 (the kernel has no event for it)
                    await asyncio.sleep(LOCK_PAUSE_S)
        yield


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
