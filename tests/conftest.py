"""Servers that several kinds of test share."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from trunkline.agent.pipeline.phrases import load_phrases

# The same examples every time, however busy the machine is; HYPOTHESIS_PROFILE=explore looks for new ones.
hypothesis.settings.register_profile(
    "steady", derandomize=True, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.register_profile("explore", deadline=None, max_examples=2_000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))


def need(program: str) -> str:
    """The program's path; without it the test is skipped, or fails where servers are required."""
    path = shutil.which(program)
    if path is None:
        if os.environ.get("TRUNKLINE_REQUIRE_SERVERS") == "1":
            pytest.fail(f"{program} is not installed")
        pytest.skip(f"{program} is not installed")
    return path


def free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return int(door.getsockname()[1])


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis of its own, gone afterwards."""
    port = free_port()
    folder: Path = tmp_path_factory.mktemp("redis")
    command = [need("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        try:
            _wait_until_open(port)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            server.terminate()


def _wait_until_open(port: int) -> None:
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            return
        except OSError:
            time.sleep(0.02)
    raise RuntimeError("Redis did not start")


@pytest.fixture(scope="session")
def sentences() -> list[str]:
    """What the local recognizer understands."""
    return list(load_phrases().sentences)
