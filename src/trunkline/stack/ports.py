"""Which ports a stack uses: free ones, or the standard ones, and who holds one that is taken."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import random
import socket
from dataclasses import dataclass
from pathlib import Path

from trunkline.core.errors import ConfigError

FREE_FROM, FREE_TO = 20000, 32000
"""Free ports are taken below the range in which the kernel picks ports for outgoing connections (from 32768)."""

RTP_PORTS = 600
"""A call takes an even one, and each rests for 30 s after its call: 300 calls, now and in the last 30 s."""


@dataclass(frozen=True)
class Ports:
    """Every port of one stack; all are TCP and UDP, so that each can serve both."""

    orchestrator: int
    metrics: int
    livekit: int
    rtc_udp: int
    sip: int
    redis: int
    rtp_from: int
    rtp_to: int


def free_ports(host: str) -> Ports:
    """Ports that nobody holds now.

    Args:
        host: IPv4 address they are bound to.

    Raises:
        ConfigError: there are none.
    """
    dice = random.SystemRandom()
    rtp_from = dice.randrange(FREE_FROM, FREE_TO - RTP_PORTS, 2)
    rtp = range(rtp_from, rtp_from + RTP_PORTS)
    found: list[int] = []
    for port in dice.sample(range(FREE_FROM, FREE_TO), 2000):
        if port not in rtp and is_free(host, port):
            found.append(port)
        if len(found) == 6:
            orchestrator, metrics, livekit, rtc_udp, sip, redis = found
            return Ports(orchestrator, metrics, livekit, rtc_udp, sip, redis, rtp.start, rtp.stop)
    raise ConfigError(f"no free ports between {FREE_FROM} and {FREE_TO} on {host}")


def standard_ports(host: str) -> Ports:
    """The documented ports; Redis, which only the stack itself uses, gets a free one.

    Args:
        host: IPv4 address they are bound to.

    Raises:
        ConfigError: one line naming each port that is taken, and its holder.
    """
    ports = Ports(8000, 9100, 7880, 7882, 5060, free_ports("127.0.0.1").redis, 10000, 20000)
    names = ("orchestrator", "metrics", "livekit", "rtc_udp", "sip")
    taken = [(name, getattr(ports, name)) for name in names if not is_free(host, getattr(ports, name))]
    if taken:
        holders = ", ".join(f"port {port} ({name}) is taken by {holder(port)}" for name, port in taken)
        raise ConfigError(holders, "stop it, or use --ports free")
    return ports


def is_free(host: str, port: int) -> bool:
    """Whether the port can be bound, over TCP and UDP.

    Raises:
        ConfigError: not an IPv4 address, or not one of this machine's.
    """
    try:
        ipaddress.IPv4Address(host)
    except ValueError as error:
        raise ConfigError(f"--host {host} is not an IPv4 address") from error
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as bound:
            if kind == socket.SOCK_STREAM:
                # As servers do: connections of an earlier stack that linger in TIME_WAIT are no obstacle.
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                bound.bind((host, port))
                if kind == socket.SOCK_STREAM:
                    bound.listen(1)
            except OSError as error:
                if error.errno in (errno.EADDRINUSE, errno.EACCES):
                    return False
                raise ConfigError(
                    f"can't listen on {host}: {error.strerror}", "give an address of this machine"
                ) from error
    return True


def holder(port: int, proc: Path = Path("/proc")) -> str:
    """Who holds a port, as "pid 42 (redis-server ...)", or "another process" where we may not see it."""
    inodes = {inode for table in ("tcp", "tcp6", "udp", "udp6") for inode in _listeners(proc / "net" / table, port)}
    if not inodes:
        return "another process"
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for process in sorted(entry for entry in proc.iterdir() if entry.name.isdecimal()):
        with contextlib.suppress(OSError):
            if any(os.readlink(link) in wanted for link in (process / "fd").iterdir()):
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                return f"pid {process.name} ({' '.join(command.split())[:80]})"
    return "another process"


def _listeners(table: Path, port: int) -> list[str]:
    """Inodes of sockets in one table of /proc/net that are bound to the port and wait for anybody."""
    try:
        rows = [line.split() for line in table.read_text().splitlines()[1:]]
    except OSError:
        return []
    listening = {"tcp": "0A"}.get(table.name[:3], "07")
    return [row[9] for row in rows if int(row[1].rsplit(":", 1)[1], 16) == port and row[3] == listening]
