"""One supervised child, with tiny Python programs as children."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from trunkline.core.errors import ConfigError, UpstreamTimeoutError, UpstreamUnavailableError
from trunkline.stack import process as processes
from trunkline.stack.process import Probe, Process, Spec, State

SLEEP = "import time; time.sleep(60)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
POLITE_AT_SECOND = """
import signal, sys, time
asked = []
def stop(*_):
    asked.append(1)
    print('asked', len(asked), flush=True)
    if len(asked) == 2:
        sys.exit(0)
signal.signal(signal.SIGTERM, stop)
print('set', flush=True)
while True:
    time.sleep(60)
"""
WITH_CHILD = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])
print('child', child.pid, flush=True)
time.sleep(60)
"""


async def always() -> None:
    return


async def never() -> None:
    raise ConnectionRefusedError


def says(log: Path, text: str) -> Probe:
    async def probe() -> None:
        if text not in log.read_text():
            raise ConnectionRefusedError

    return probe


def child(folder: Path, code: str, probe: Probe = always, **options: float) -> Process:
    spec = Spec("tiny", (sys.executable, "-S", "-c", code), probe, dict(os.environ), **options)  # type: ignore[arg-type]
    return Process(spec, folder)


def alive(pid: int) -> bool:
    """Whether a process runs; one that is dead and not yet collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


async def gone(pid: int) -> None:
    async with asyncio.timeout(5):
        while alive(pid):
            await asyncio.sleep(0.01)


async def test_starts_serves_and_stops(tmp_path: Path) -> None:
    process = child(tmp_path, SLEEP)
    await process.start()
    pid = process.pid
    assert pid is not None
    assert process.state is State.READY
    assert await process.healthy()
    await process.stop()
    assert process.state is State.STOPPED
    assert process.pid is None
    assert not await process.healthy()
    assert not alive(pid)


async def test_end_at_start_is_an_error_with_the_last_lines_of_this_run(tmp_path: Path) -> None:
    (tmp_path / "tiny.log").write_text("of an earlier run\n")
    process = child(tmp_path, "import sys; print('no such key'); sys.exit(3)", never)
    with pytest.raises(UpstreamUnavailableError, match=r"tiny: ended \(exit code 3\)") as raised:
        await process.start()
    assert "no such key" in str(raised.value)
    assert "earlier" not in str(raised.value)
    assert process.state is State.FAILED
    assert (tmp_path / "tiny.log").read_text().startswith("of an earlier run\n")


async def test_one_that_never_serves_is_ended(tmp_path: Path) -> None:
    process = child(tmp_path, f"import os; print('pid', os.getpid(), flush=True); {SLEEP}", never, ready_limit_s=0.5)
    with pytest.raises(UpstreamTimeoutError, match=r"did not serve within 0\.5 s"):
        await process.start()
    pid = int((tmp_path / "tiny.log").read_text().split()[1])
    assert not alive(pid)


async def test_cancelled_start_leaves_nothing(tmp_path: Path) -> None:
    process = child(tmp_path, SLEEP, never)
    starting = asyncio.create_task(process.start())
    while process.pid is None:
        await asyncio.sleep(0.01)
    pid = process.pid
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    await gone(pid)
    assert process.state is State.STOPPED, "nothing failed"


async def test_program_that_is_not_there_is_a_config_error(tmp_path: Path) -> None:
    process = Process(Spec("tiny", (str(tmp_path / "none"),), always), tmp_path)
    with pytest.raises(ConfigError, match="No such file"):
        await process.start()


async def test_stop_kills_what_does_not_listen(tmp_path: Path) -> None:
    process = child(tmp_path, DEAF, says(tmp_path / "tiny.log", "deaf"), grace_s=0.1)
    await process.start()
    pid = process.pid
    assert pid
    await process.stop()
    assert not alive(pid)


async def test_second_sigterm_comes_before_the_kill(tmp_path: Path) -> None:
    probe = says(tmp_path / "tiny.log", "set")
    process = child(tmp_path, POLITE_AT_SECOND, probe, grace_s=0.2, insist_s=10.0)
    await process.start()
    await process.stop()
    assert "asked 2" in (tmp_path / "tiny.log").read_text()


async def test_children_of_the_child_go_with_it(tmp_path: Path) -> None:
    process = child(tmp_path, WITH_CHILD, says(tmp_path / "tiny.log", "child"))
    await process.start()
    grandchild = int((tmp_path / "tiny.log").read_text().split()[1])
    assert alive(grandchild)
    await process.stop()
    await gone(grandchild)


async def test_end_by_itself_is_noticed_and_it_can_start_again(tmp_path: Path) -> None:
    process = child(tmp_path, SLEEP)
    await process.start()
    assert process.pid
    os.kill(process.pid, signal.SIGKILL)
    code = await process.wait()
    assert "killed by SIGKILL" in str(process.ended(code))
    await process.kill()
    await process.start()
    assert process.state is State.READY
    await process.stop()


async def test_child_dies_with_us(tmp_path: Path) -> None:
    parent = f"""
import asyncio, pathlib, sys
from trunkline.stack.process import Process, Spec
async def always(): return
async def main():
    process = Process(Spec('tiny', (sys.executable, '-S', '-c', {SLEEP!r}), always), pathlib.Path({str(tmp_path)!r}))
    await process.start()
    print(process.pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        pid = int(running.stdout.readline())
        assert alive(pid)
        running.kill()
    await gone(pid)


async def test_log_file_starts_anew_above_its_cap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "LOG_CAP_BYTES", 10)
    code = f"import sys; print('more than ten', flush=True); sys.stdin.read(); {SLEEP}"
    process = child(tmp_path, code, says(tmp_path / "tiny.log", ""))
    await process.start()
    async with asyncio.timeout(10):
        while not (tmp_path / "tiny.log.1").exists():
            await process.healthy()
            await asyncio.sleep(0.01)
    assert "more than ten" in (tmp_path / "tiny.log.1").read_text()
    assert (tmp_path / "tiny.log").read_text() == ""
    await process.stop()


def test_spec_does_not_show_the_environment() -> None:
    assert "hush" not in repr(Spec("tiny", ("true",), always, {"SECRET": "hush"}))
