"""A wheel that was built here carries the media engine, and an agent that is installed from it finds it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

WHICH = """
import json, sys
sys.path.insert(0, sys.argv[1])
from trunkline.media.choice import choose_engine
from trunkline.settings import Settings
import trunkline
choice = choose_engine(Settings(_env_file=None))
print(json.dumps([choice.name, str(choice.program), choice.why, trunkline.__file__]))
"""


def build(folder: Path, **environment: str) -> Path:
    """The wheel that hatchling builds with this in the environment."""
    env = {name: value for name, value in os.environ.items() if name != "TRUNKLINE_WHEEL_ENGINE"}
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env={**env, **environment}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What stands for the engine: building the real one is the business of others."""
    path = tmp_path_factory.mktemp("bin") / "engine"
    path.write_text("#!/bin/sh\necho engine 1\n")
    path.chmod(0o755)
    return path


def test_an_installed_wheel_brings_its_engine(tmp_path: Path, program: Path) -> None:
    wheel = build(tmp_path / "dist", TRUNKLINE_WHEEL_ENGINE=str(program))
    platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    assert wheel.name.endswith(f"-py3-none-{platform}.whl")
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    python = venv / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    # What it depends on comes from here; our own code must be the installed one, which stands before it.
    (inside,) = venv.glob("lib/python*/site-packages")
    ours = sysconfig.get_paths()["purelib"]
    env = {"PATH": "/nowhere", "PYTHONPATH": ours}
    done = subprocess.run([str(python), "-c", WHICH, str(inside)], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    name, found, why, package = json.loads(done.stdout)
    assert package.startswith(str(inside))
    assert (name, why) == ("native", "MEDIA_ENGINE=auto, carried by the package")
    said = subprocess.run([found], capture_output=True, text=True, check=True)
    assert said.stdout == "engine 1\n"


def test_a_wheel_without_an_engine_is_for_any_platform(tmp_path: Path) -> None:
    wheel = build(tmp_path)
    assert wheel.name.endswith("-py3-none-any.whl")
    assert not [name for name in zipfile.ZipFile(wheel).namelist() if "/bin/" in name]
