"""Where programs come from: the environment, the PATH, the cache, a build; and what is said when there is none."""

from __future__ import annotations

import asyncio
import fcntl
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from trunkline.core.errors import ConfigError
from trunkline.stack import binaries, build, debian
from trunkline.stack.binaries import LIVEKIT_SERVER, LIVEKIT_SIP, PHONE, REDIS, container_argv, find, find_servers
from trunkline.stack.commands import Output, Progress, run

Said = list[tuple[str, str]]


@pytest.fixture
def said() -> Said:
    return []


@pytest.fixture
def progress(said: Said) -> Progress:
    return lambda name, state, _seconds: said.append((name, state))


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., Path]:
    """Makes a program that prints something when asked for its version."""

    def make(folder: str, name: str, says: str, code: int = 0) -> Path:
        path = tmp_path / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\necho '{says}'\nexit {code}\n")
        path.chmod(0o755)
        return path

    return make


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"PATH": str(tmp_path / "path"), "TRUNKLINE_CACHE": str(tmp_path / "cache")}


@pytest.fixture
def no_go(monkeypatch: pytest.MonkeyPatch) -> None:
    async def problem() -> str:
        return "Go is not installed"

    monkeypatch.setattr(build, "go_problem", problem)


def apt_forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian.os, "geteuid", lambda: 1000)


async def test_environment_wins_over_path_and_cache(
    program: Callable[..., Path], env: dict[str, str], progress: Progress, said: Said
) -> None:
    cached = program("cache/bin", "livekit-server-v1.13.5", "")
    assert await find(LIVEKIT_SERVER, env, progress) == cached
    on_path = program("path", "livekit-server", "livekit-server version 1.13.5")
    assert await find(LIVEKIT_SERVER, env, progress) == on_path
    named = program("own", "server", "livekit-server version 1.13.5")
    assert await find(LIVEKIT_SERVER, {**env, "TRUNKLINE_LIVEKIT_SERVER": str(named)}, progress) == named
    assert said == []


async def test_nothing_found(env: dict[str, str], progress: Progress) -> None:
    for wanted in (REDIS, LIVEKIT_SERVER, LIVEKIT_SIP, PHONE):
        assert await find(wanted, env, progress) is None


async def test_another_version_is_used_with_a_warning(
    program: Callable[..., Path], env: dict[str, str], progress: Progress, said: Said
) -> None:
    newer = program("path", "livekit-server", "livekit-server version 1.14.0")
    assert await find(LIVEKIT_SERVER, env, progress) == newer
    unstamped = program("path", "livekit-sip", "SIP version 0.0.0-dev")
    assert await find(LIVEKIT_SIP, env, progress) == unstamped
    assert said == [
        ("livekit-server", f"warning: {newer} is version 1.14.0; tested is 1.13.5"),
        ("livekit-sip", f"warning: {unstamped} is version 0.0.0; tested is 1.8.0"),
    ]


async def test_too_old_on_the_path_is_passed_over_and_named_is_refused(
    program: Callable[..., Path], env: dict[str, str], progress: Progress, said: Said
) -> None:
    old = program("path", "livekit-server", "livekit-server version 1.9.9")
    assert await find(LIVEKIT_SERVER, env, progress) is None
    assert said == [("livekit-server", f"{old} is not used: version 1.9.9 is too old, 1.13 is needed")]
    with pytest.raises(ConfigError, match=r"TRUNKLINE_LIVEKIT_SERVER=.* version 1\.9\.9 is too old, 1\.13 is needed"):
        await find(LIVEKIT_SERVER, {"TRUNKLINE_LIVEKIT_SERVER": str(old)}, progress)


async def test_redis_tells_its_version_in_its_own_way(
    program: Callable[..., Path], env: dict[str, str], progress: Progress
) -> None:
    found = program("path", "redis-server", "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64")
    assert await find(REDIS, env, progress) == found


async def test_a_program_that_fails_is_not_used(
    program: Callable[..., Path], env: dict[str, str], progress: Progress, said: Said
) -> None:
    program("path", "livekit-sip", "cannot open shared object file 1.2.3", code=127)
    assert await find(LIVEKIT_SIP, env, progress) is None
    assert said[0][1].endswith("is not used: does not tell its version")


async def test_a_named_program_must_be_there(env: dict[str, str], progress: Progress, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"TRUNKLINE_PHONE=.*none is not a program"):
        await find(PHONE, {**env, "TRUNKLINE_PHONE": str(tmp_path / "none")}, progress)


@pytest.mark.usefixtures("no_go")
async def test_without_go_and_engine_one_line_says_what_to_install(
    program: Callable[..., Path],
    env: dict[str, str],
    progress: Progress,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program("path", "redis-server", "Redis server v=7.0.15")
    monkeypatch.setenv("PATH", env["PATH"])
    with pytest.raises(ConfigError) as raised:
        await find_servers(tmp_path / "run", progress, env)
    assert str(raised.value) == (
        "livekit-server 1.13.5 not found, and it can't be built: Go is not installed "
        "(put it on the PATH, or set TRUNKLINE_LIVEKIT_SERVER, or install Go from https://go.dev/dl)"
    )


@pytest.mark.usefixtures("no_go")
async def test_without_go_a_container_engine_that_answers_is_used(
    program: Callable[..., Path],
    env: dict[str, str],
    progress: Progress,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    redis = program("path", "redis-server", "Redis server v=7.0.15")
    program("path", "docker", "no daemon", code=1)
    program("path", "podman", "fine")
    monkeypatch.setenv("PATH", env["PATH"])
    programs = await find_servers(tmp_path / "run", progress, env)
    assert programs.redis == (str(redis),)
    assert programs.livekit_sip == container_argv("podman", "docker.io/livekit/sip:v1.8.0", tmp_path / "run")


def test_container_argv(tmp_path: Path) -> None:
    assert container_argv("docker", "image:v1", tmp_path) == (
        *("docker", "run", "--rm", "--network", "host", "-v", f"{tmp_path}:{tmp_path}:ro"),
        "image:v1",
    )


@pytest.mark.parametrize(
    ("says", "problem"),
    [
        ("go1.26.8", ""),
        ("go1.27", ""),
        ("go1.19.8", "Go 1.26 or newer is needed, this is go1.19.8"),
        ("", "Go 1.26 or newer is needed, this is unknown"),
    ],
)
async def test_go_must_be_new_enough(
    program: Callable[..., Path], env: dict[str, str], monkeypatch: pytest.MonkeyPatch, says: str, problem: str
) -> None:
    monkeypatch.setenv("PATH", env["PATH"])
    assert await build.go_problem() == "Go is not installed"
    program("path", "go", says)
    assert await build.go_problem() == problem


async def test_build_is_whole_or_not_at_all(tmp_path: Path, progress: Progress) -> None:
    target = tmp_path / "bin" / "server-v1"

    async def half(made: Path, _: Progress) -> None:
        made.write_text("half")
        raise ConfigError("no space")

    with pytest.raises(ConfigError, match="no space"):
        await build.build("server", target, half, progress)
    assert [path.name for path in target.parent.iterdir()] == [".server.lock"]

    async def whole(made: Path, _: Progress) -> None:
        made.write_text("whole")
        made.chmod(0o755)

    assert await build.build("server", target, whole, progress) == target
    assert target.read_text() == "whole"


async def test_two_builds_at_once_build_once(tmp_path: Path, progress: Progress, said: Said) -> None:
    target = tmp_path / "bin" / "server-v1"
    go_on = asyncio.Event()
    built = []

    async def recipe(made: Path, _: Progress) -> None:
        await go_on.wait()
        built.append(made)
        made.write_text("program")
        made.chmod(0o755)

    both = [asyncio.create_task(build.build("server", target, recipe, progress)) for _ in range(2)]
    async with asyncio.timeout(5):
        while ("server", "waiting for another process that builds it") not in said:
            await asyncio.sleep(0.01)
        go_on.set()
        assert await asyncio.gather(*both) == [target, target]
    assert len(built) == 1


async def test_waiting_for_another_build_can_be_cancelled(tmp_path: Path, progress: Progress, said: Said) -> None:
    with (tmp_path / ".server.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        building = asyncio.create_task(build.build("server", tmp_path / "server", _forbidden, progress))
        while not said:
            await asyncio.sleep(0.01)
        building.cancel()
        with pytest.raises(asyncio.CancelledError):
            await building


async def _forbidden(made: Path, _: Progress) -> None:
    raise AssertionError(f"{made} must not be built")


async def test_cache_that_cannot_be_written_is_one_line(tmp_path: Path, progress: Progress) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"can't keep programs in .*set TRUNKLINE_CACHE"):
        await build.build("server", tmp_path / "file" / "bin" / "server", _forbidden, progress)


async def test_failed_build_shows_the_end_of_what_go_said(
    program: Callable[..., Path],
    tmp_path: Path,
    progress: Progress,
    env: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program("path", "go", "go: module not found", code=1)
    monkeypatch.setenv("PATH", f"{env['PATH']}:/bin:/usr/bin")
    with pytest.raises(ConfigError, match="livekit-server can't be built: go: module not found"):
        await build.livekit_server(tmp_path / "made", "1.13.5", progress)


async def test_phone_is_built_again_when_a_source_changed(
    program: Callable[..., Path],
    tmp_path: Path,
    env: dict[str, str],
    progress: Progress,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = tmp_path / "media-engine" / "cmd" / "phone" / "main.go"
    source.parent.mkdir(parents=True)
    source.write_text("package main")
    go = program("path", "go", "go1.26.1")
    go.write_text('#!/bin/sh\nif [ "$1" = env ]; then echo go1.26.1; else echo x > "$5"; chmod 755 "$5"; fi\n')
    monkeypatch.setattr(binaries, "project_root", lambda: tmp_path)
    monkeypatch.setenv("PATH", f"{env['PATH']}:/bin:/usr/bin")
    env["PATH"] = str(tmp_path / "nothing")
    first = await binaries.find_phone(progress, env)
    assert await binaries.find_phone(progress, env) == first
    source.write_text("package main // changed")
    second = await binaries.find_phone(progress, env)
    assert second != first
    assert not first.exists()


async def test_missing_packages_are_one_command(monkeypatch: pytest.MonkeyPatch, progress: Progress) -> None:
    async def lacking(*argv: str, **_: object) -> Output:
        return Output(1 if argv[-1] in ("opusfile", "soxr") else 0, "")

    monkeypatch.setattr(debian, "run", lacking)
    monkeypatch.setattr(debian.shutil, "which", lambda name: f"/bin/{name}")
    missing = await debian.missing_for(debian.SIP_LIBRARIES)
    assert missing == ["libopusfile-dev", "libsoxr-dev"]
    apt_forbidden(monkeypatch)
    with pytest.raises(ConfigError) as raised:
        await debian.install(missing, "livekit-sip", progress)
    assert raised.value.fix == "run: sudo apt-get install -y --no-install-recommends libopusfile-dev libsoxr-dev"


async def test_root_installs_after_fetching_lists_when_needed(
    monkeypatch: pytest.MonkeyPatch, progress: Progress
) -> None:
    asked: list[str] = []

    async def apt(*argv: str, **_: object) -> Output:
        asked.append(argv[1])
        return Output(0 if "update" in asked else 100, "E: Unable to locate package")

    monkeypatch.setattr(debian, "run", apt)
    monkeypatch.setattr(debian.os, "geteuid", lambda: 0)
    monkeypatch.setattr(debian.shutil, "which", lambda name: f"/bin/{name}")
    await debian.install(["redis-server"], "the stack", progress)
    assert asked == ["install", "update", "install"]
    await debian.install([], "the stack", progress)
    assert len(asked) == 3


async def test_command_is_killed_with_its_children_when_it_takes_too_long(tmp_path: Path) -> None:
    shell = shutil.which("sh")
    assert shell
    with pytest.raises(TimeoutError):
        await run(shell, "-c", f"(sleep 60; echo late > {tmp_path}/late) & echo $!; wait", limit_s=0.3)
    output = await run(shell, "-c", "echo out; echo err >&2; exit 3", limit_s=10)
    assert (output.code, sorted(output.text.split())) == (3, ["err", "out"])
