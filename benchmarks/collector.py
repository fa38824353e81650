"""What the metrics collector takes: turns over UDP at a steady rate, none lost, percentiles right, memory bounded.

    .venv/bin/python benchmarks/collector.py --rate 20000 --seconds 60

Starts a collector of its own, sends it turns with known durations from another process, and compares what it says with
what was sent. CPU time is the collector's own, so that it says what one core can do however busy the machine is.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import resource
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trunkline.core import wire
from trunkline.core.window import nearest_rank
from trunkline.core.wire import Mark, TurnOutcome
from trunkline.loadtest.usage import processor_s

SENDERS = 4
"""As many workers as take a hundred calls."""
TURNS_A_CALL = 12
TICK_S = 0.002
SAMPLES = 8_192
"""So many different turns are sent, over and over."""
WINDOW_S = 3_600


def main() -> None:
    options = read_options()
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        collector = start(port, Path(folder) if options.csv else None)
        try:
            wait_until_up(port)
            before = processor_s(collector.pid), resident_mib(collector.pid)
            sent_in_s, sender_cpu_s = send_in_another_process(port, options.rate, options.seconds)
            wait_until_taken(port, options.rate * options.seconds)
            after = processor_s(collector.pid), resident_mib(collector.pid)
            summary, stats = ask(port, f"/summary?window_sec={WINDOW_S}"), ask(port, "/stats")
        finally:
            collector.terminate()
            collector.wait(10)
    sent = options.rate * options.seconds
    used_s = after[0] - before[0]
    report = {
        "sent": sent,
        "sent_per_s": round(sent / sent_in_s),
        "accepted": stats["accepted"],
        "lost": stats["lost"],
        "missing": sent - stats["accepted"],
        "dropped": stats["dropped"],
        "cpu_share": round(used_s / sent_in_s, 3),
        "cpu_us_per_event": round(1e6 * used_s / max(stats["accepted"], 1), 1),
        "events_per_s_and_core": round(stats["accepted"] / max(used_s, 1e-9)),
        "sender_cpu_share": round(sender_cpu_s / sent_in_s, 3),
        "resident_mib": [before[1], after[1]],
        "off_by_percent": off_by_percent(summary, sent),
    }
    print(json.dumps(report, indent=2))
    if options.check and (report["missing"] or report["dropped"] or max(report["off_by_percent"].values()) > 1.0):
        sys.exit("events are missing, or a percentile is off by more than 1 %")


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, default=20_000, help="events a second")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--csv", action="store_true", help="with METRICS_CSV_DIR")
    parser.add_argument("--check", action="store_true", help="fail where events are missing or a percentile is off")
    return parser.parse_args()


def start(port: int, csv_dir: Path | None) -> subprocess.Popen[bytes]:
    env = {
        **os.environ,
        "METRICS_LISTEN": f"127.0.0.1:{port}",
        "METRICS_WINDOW_S": str(WINDOW_S),
        "METRICS_CSV_DIR": str(csv_dir or ""),
        "LOG_LEVEL": "WARNING",
    }
    return subprocess.Popen([str(Path(sys.executable).with_name("trunkline")), "metrics"], env=env)


def send_in_another_process(port: int, rate: int, seconds: int) -> tuple[float, float]:
    """Returns how long sending took, and the CPU time that it took, in seconds."""
    context = multiprocessing.get_context("spawn")
    told: Any = context.SimpleQueue()
    process = context.Process(target=send, args=(port, rate, seconds, told))
    process.start()
    process.join()
    if process.exitcode:
        sys.exit("the sender failed")
    took: tuple[float, float] = told.get()
    return took


def send(port: int, rate: int, seconds: int, told: Any) -> None:
    """Sends a few datagrams every tick, so that none of them waits long for the next."""
    heads = [(f'{{"sender":"bench-{n}","seq":').encode() for n in range(SENDERS)]
    tails = [b"," + rest for rest in turns()]
    door = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    door.connect(("127.0.0.1", port))
    total, sent = rate * seconds, 0
    began = time.monotonic()
    while sent < total:
        due = min(total, int((time.monotonic() - began + TICK_S) * rate))
        for number in range(sent, due):
            door.send(b"%b%d%b" % (heads[number % SENDERS], number // SENDERS + 1, tails[number % SAMPLES]))
        sent = due
        time.sleep(TICK_S)
    used = resource.getrusage(resource.RUSAGE_SELF)
    told.put((time.monotonic() - began, used.ru_utime + used.ru_stime))


def responses_us() -> list[int]:
    """Known durations: most answers come in 200 to 500 ms, some much later."""
    chance = random.Random(1)  # the same every time
    return [int(1_000_000 * chance.lognormvariate(-1.2, 0.5)) for _ in range(SAMPLES)]


def turns() -> list[bytes]:
    """The events without sender and number, as JSON that has lost its first brace."""
    found = []
    for number, response_us in enumerate(responses_us()):
        begun_us = 5_000_000_000 + number * 10_000
        ended_us = begun_us + 1_400_000
        marks = {
            Mark.SPEECH_START: begun_us,
            Mark.STT_PARTIAL: begun_us + 250_000,
            Mark.SPEECH_END: ended_us,
            Mark.STT_FINAL: ended_us + response_us // 2,
            Mark.AGENT_DECISION: ended_us + response_us // 2 + 1_000,
            Mark.TTS_FIRST_BYTE: ended_us + response_us - 20_000,
            Mark.PLAYBACK_START: ended_us + response_us,
            Mark.PLAYBACK_STOP: ended_us + response_us + 2_000_000,
        }
        record = wire.TurnRecord(
            sender="",
            seq=0,
            host="bench",
            worker=f"worker-{number % SENDERS}",
            call=f"CA{number // TURNS_A_CALL:032x}",
            turn=number % TURNS_A_CALL + 1,
            policy="final",
            outcome=TurnOutcome.ANSWERED,
            marks_us=marks,
            understood="where is my order",
            answer="You said: where is my order. Nice!",
            heard="You said: where is my order. Nice!",
            heard_samples=32_000,
        )
        fields = {name: value for name, value in asdict(record).items() if name not in ("sender", "seq")}
        found.append(json.dumps(fields, separators=(",", ":")).encode()[1:])
    return found


def off_by_percent(summary: dict[str, Any], sent: int) -> dict[str, float]:
    """By how much count, average and percentiles of Response differ from those of what was sent."""
    known = responses_us()
    whole, rest = divmod(sent, SAMPLES)
    ordered = sorted(known * whole + known[:rest])
    exact = {"count": sent, "avg_ms": sum(ordered) / len(ordered) / 1_000}
    exact |= {f"p{percent}_ms": nearest_rank(ordered, percent) / 1_000 for percent in (50, 95, 99)}
    told = summary["response"]
    return {name: round(100 * abs((told[name] or 0) - value) / value, 3) for name, value in exact.items()}


def free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return int(door.getsockname()[1])


def wait_until_up(port: int) -> None:
    for _ in range(300):
        try:
            ask(port, "/healthz")
            return
        except OSError:
            time.sleep(0.1)
    sys.exit("the collector did not start")


def wait_until_taken(port: int, sent: int) -> None:
    """Until all have arrived, or nothing more comes."""
    taken, quiet = -1, 0
    while quiet < 20 and taken < sent:
        time.sleep(0.1)
        before, taken = taken, ask(port, "/stats")["accepted"]
        quiet = 0 if taken > before else quiet + 1


def ask(port: int, path: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def resident_mib(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1_048_576


if __name__ == "__main__":
    main()
