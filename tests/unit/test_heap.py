"""What a service loads before its first call."""

from __future__ import annotations

import subprocess
import sys

LOADED = "import sys; from trunkline.cli.heap import load_late_modules; {first}; load_late_modules(); print({wanted})"


def loaded(first: str, wanted: str) -> str:
    program = LOADED.format(first=first, wanted=wanted)
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.strip()


def test_what_a_loaded_package_would_load_in_a_call_is_loaded_before() -> None:
    assert loaded("import httpx", "'httpcore' in sys.modules") == "True"


def test_what_is_not_needed_is_not_loaded() -> None:
    assert loaded("pass", "[m for m in ('deepgram', 'httpx', 'numpy', 'websockets') if m in sys.modules]") == "[]"
