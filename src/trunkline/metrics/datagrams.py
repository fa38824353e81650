"""Reads datagrams as fast as they come, and hands them on in short steps.

The kernel keeps only some milliseconds of a flood, so its buffer is emptied before anything is done with what was in
it. What waits here is bounded; when it is full, what comes is dropped unread and counted.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import deque
from collections.abc import Callable

from trunkline.core.wire import MAX_DATAGRAM_BYTES

KERNEL_BYTES = 8_388_608
WAITING_BYTES = 33_554_432
"""Some seconds of 20,000 events a second."""
OVERHEAD_BYTES = 100
"""What keeping a datagram takes besides its bytes."""
READ_AT_ONCE = 256
STEP_S = 0.002
"""How long the loop is kept from other work."""
LOOK_AT_CLOCK_AFTER = 16


class Datagrams:
    """The datagrams of one socket.

    Args:
        door: Bound and non-blocking; the caller closes it.
        take: Gets each of them; one longer than `MAX_DATAGRAM_BYTES` is cut to one byte more. Must not raise.
        drop: Called for each that is dropped.
    """

    def __init__(self, door: socket.socket, take: Callable[[bytes], None], drop: Callable[[], None]) -> None:
        self._door = door
        self._take = take
        self._drop = drop
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._working = False
        self._loop = asyncio.get_running_loop()

    def open(self) -> None:
        """Begins to read."""
        _enlarge(self._door)
        self._loop.add_reader(self._door.fileno(), self._read)

    def close(self) -> None:
        """Stops reading; what was read or had arrived is still handed on."""
        self._loop.remove_reader(self._door.fileno())
        while self._read():
            pass
        while self._waiting:
            self._take(self._waiting.popleft())

    def _read(self) -> bool:
        """Whether there may be more."""
        receive, waiting = self._door.recv, self._waiting
        more = True
        for _ in range(READ_AT_ONCE):
            try:
                data = receive(MAX_DATAGRAM_BYTES + 1)
            except BlockingIOError:
                more = False
                break
            except OSError:
                # It tells of something that was sent from here, and nothing is.
                continue
            size = len(data) + OVERHEAD_BYTES
            if self._waiting_bytes + size > WAITING_BYTES:
                self._drop()
                continue
            self._waiting_bytes += size
            waiting.append(data)
        if waiting and not self._working:
            self._working = True
            self._loop.call_soon(self._work)
        return more

    def _work(self) -> None:
        until = time.perf_counter() + STEP_S
        waiting, take = self._waiting, self._take
        while waiting:
            for _ in range(min(LOOK_AT_CLOCK_AFTER, len(waiting))):
                data = waiting.popleft()
                self._waiting_bytes -= len(data) + OVERHEAD_BYTES
                take(data)
            if time.perf_counter() >= until:
                break
        self._working = bool(waiting)
        if waiting:
            self._loop.call_soon(self._work)


def _enlarge(door: socket.socket) -> None:
    """Asks for a larger buffer than the kernel gives everybody; without the right to that, for as much as it gives."""
    try:
        door.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_RCVBUFFORCE", 33), KERNEL_BYTES)
    except OSError:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL_BYTES)
