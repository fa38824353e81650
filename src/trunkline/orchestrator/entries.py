"""What the registry knows, as it is read: calls, workers, all at one instant."""

from __future__ import annotations

from dataclasses import dataclass

from trunkline.core import wire
from trunkline.core.admission import WORKER_ALIVE_S
from trunkline.core.failover import Orphan


@dataclass(frozen=True, slots=True)
class CallEntry:
    """One call as the registry knows it; instants in milliseconds of the registry's clock."""

    call: str
    room: str
    kind: wire.CallKind
    participant: str
    worker: str
    """Who holds it, or held it last."""
    assigned: str
    """To whom it was given; empty where there was nobody."""
    fence: int
    created_ms: int
    answered_ms: int
    admitted: bool
    orphan: Orphan

    def state(self, now_ms: int) -> str:
        """reserved, leased, admitted or answered; orphaned where a worker left it behind."""
        if self.fence and self.orphan.lease_until_ms <= now_ms:
            return "orphaned"
        if self.answered_ms:
            return "answered"
        if self.admitted:
            return "admitted"
        return "leased" if self.fence else "reserved"


@dataclass(frozen=True, slots=True)
class WorkerEntry:
    """One worker as the registry knows it."""

    worker: str
    seen_ms: int
    soft_capacity: int
    hard_capacity: int
    calls: int

    def alive(self, now_ms: int) -> bool:
        """True where it gave a sign of life lately."""
        return now_ms - self.seen_ms <= WORKER_ALIVE_S * 1000


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything the registry knows at one instant."""

    now_ms: int
    calls: list[CallEntry]
    workers: list[WorkerEntry]


def pairs(fields: list[str]) -> dict[str, str]:
    """A hash as Redis's scripts return it: field, value, field, value, …"""
    return dict(zip(fields[::2], fields[1::2], strict=True))


def call_entry(call: str, fields: dict[str, str]) -> CallEntry:
    """Reads a call's hash."""
    return CallEntry(
        call=call,
        room=fields["room"],
        kind=wire.CallKind(fields["kind"]),
        participant=fields["participant"],
        worker=fields["worker"],
        assigned=fields["assigned"],
        fence=int(fields["fence"]),
        created_ms=int(fields["created"]),
        answered_ms=int(fields["answered"]),
        admitted=fields["admitted"] == "1",
        orphan=Orphan(
            lease_until_ms=int(fields["lease_until"]),
            orphaned_ms=int(fields["orphaned"]),
            dispatched_ms=int(fields["dispatched"]),
            dispatches=int(fields["dispatches"]),
        ),
    )


def worker_entry(worker: str, seen: str, fields: dict[str, str]) -> WorkerEntry:
    """Reads a worker's hash; `seen` is its score among the workers."""
    return WorkerEntry(
        worker=worker,
        seen_ms=int(float(seen)),
        soft_capacity=int(fields["soft"]),
        hard_capacity=int(fields["hard"]),
        calls=int(float(fields["calls"])),
    )
