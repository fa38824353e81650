"""The doctor says which media engine runs, why, and whether its program does."""

from __future__ import annotations

from pathlib import Path

import pytest

from trunkline.cli.checks import Status, media_engine
from trunkline.media import choice
from trunkline.settings import Settings


def config(**changes: object) -> Settings:
    return Settings(_env_file=None, **changes)  # type: ignore[call-arg, arg-type]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    path = tmp_path / "trunkline-media"
    path.write_text("#!/bin/sh\necho 1.0\n")
    path.chmod(0o755)
    return path


async def test_a_named_program_runs(program: Path) -> None:
    check = await media_engine(config(media_engine_program=program), {})
    assert check.status is Status.OK
    assert check.detail == f"native: MEDIA_ENGINE=auto, named by MEDIA_ENGINE_PROGRAM, {program}"


async def test_a_package_that_carries_one_uses_it(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "INSIDE", program)
    check = await media_engine(config(), {})
    assert check.detail.startswith("native: MEDIA_ENGINE=auto, carried by the package")


async def test_a_program_that_does_not_run_is_a_failure(program: Path) -> None:
    program.write_text("#!/bin/sh\necho error while loading shared libraries; exit 127\n")
    check = await media_engine(config(media_engine_program=program), {})
    assert check.status is Status.FAILED
    assert "error while loading" in check.detail
    assert "libopus0" in check.fix


async def test_the_sdk_engine_and_its_reason(program: Path, tmp_path: Path) -> None:
    nothing_built = {"TRUNKLINE_CACHE": str(tmp_path)}
    assert (await media_engine(config(media_engine="sdk"), nothing_built)).detail == "sdk: MEDIA_ENGINE=sdk"
    missing = await media_engine(config(), nothing_built)
    assert missing.status is Status.WARNING
    assert "neither in the package nor on the PATH" in missing.detail
    refused = await media_engine(config(media_engine="native"), nothing_built)
    assert refused.status is Status.FAILED
