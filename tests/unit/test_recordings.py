"""The collector hands out recordings, and nothing else that is on the disk."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.unit.test_collector import deliver, ended, turn
from trunkline.metrics.app import create_app
from trunkline.metrics.latency_collector import Collector

pytestmark = pytest.mark.unit

SOUND = bytes(range(256)) * 8


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "recordings"
    (folder / "sub").mkdir(parents=True)
    for path in (folder / "CA1.wav", folder / "sub" / "CA2.wav", folder / ".hidden.wav", tmp_path / "secret.wav"):
        path.write_bytes(SOUND)
    (folder / "CA3.wav").symlink_to(tmp_path / "secret.wav")
    (folder / "CA4.wav").mkdir()
    (folder / "CA5.txt").write_bytes(SOUND)
    return folder


async def get(folder: Path | None, path: str, **headers: str) -> httpx.Response:
    collector = Collector(60.0)
    deliver(collector, turn(1), ended(2), turn(3, call="CA9"))
    transport = httpx.ASGITransport(create_app(collector, recordings_dir=folder))
    async with httpx.AsyncClient(transport=transport, base_url="http://collector") as client:
        return await client.get(path, headers=headers)


async def test_a_recording_is_served_whole_and_in_parts(folder: Path) -> None:
    whole = await get(folder, "/calls/CA1/recording")
    assert (whole.status_code, whole.content, whole.headers["content-type"]) == (200, SOUND, "audio/wav")
    assert whole.headers["x-content-type-options"] == "nosniff"
    part = await get(folder, "/calls/CA1/recording", range="bytes=10-19")
    assert (part.status_code, part.content) == (206, SOUND[10:20])


@pytest.mark.parametrize(
    "call",
    ["CA2", "CA3", "CA4", "CA5", "CA9", ".hidden", "..%2fsecret", "%2e%2e%2fsecret", "sub%2fCA2", "CA1.wav", "CA1%00",
     "..", "x" * 200],
)  # fmt: skip
async def test_nothing_else_is_served(folder: Path, call: str) -> None:
    answer = await get(folder, f"/calls/{call}/recording")
    assert answer.status_code == 404
    assert SOUND not in answer.content


async def test_without_a_folder_there_are_none() -> None:
    assert (await get(None, "/calls/CA1/recording")).status_code == 404


@pytest.mark.parametrize(("call", "recorded"), [("CA1", True), ("CA9", False)])
async def test_the_page_is_told_whether_a_call_was_recorded(folder: Path, call: str, recorded: bool) -> None:
    assert (await get(folder, f"/page/calls/{call}")).json()["recorded"] is recorded
