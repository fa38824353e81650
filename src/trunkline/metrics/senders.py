"""Tells repetitions and gaps in the numbered records of many senders.

A sender numbers its records from 1 on, and a record may come late or twice, so the last numbers of each are remembered.
Bounded: of more than `MAX_SENDERS` the one not heard of for longest is forgotten.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

MAX_SENDERS = 1_000
REMEMBERED = 4_096
"""Numbers below the highest by more than this count as repetitions: nobody knows any more."""


@dataclass(slots=True)
class _Sender:
    first: int
    highest: int
    accepted: int = 0
    seen: int = 0
    """Bit n is set where number `highest - n` was seen."""

    @property
    def lost(self) -> int:
        return self.highest - self.first + 1 - self.accepted


class Senders:
    """Remembers who sent which number."""

    def __init__(self) -> None:
        self._senders: OrderedDict[str, _Sender] = OrderedDict()
        self._lost_by_forgotten = 0

    def is_new(self, name: str, seq: int) -> bool:
        """Whether this number of this sender was not seen before; it is from now on."""
        sender = self._senders.get(name)
        if sender is None:
            # What a sender said before this collector began to listen is no loss.
            sender = self._senders[name] = _Sender(first=seq, highest=seq)
            self._forget()
        self._senders.move_to_end(name)
        ahead = seq - sender.highest
        if ahead > 0:
            sender.seen = (sender.seen << ahead) & ((1 << REMEMBERED) - 1) if ahead < REMEMBERED else 0
            sender.highest = seq
        bit = 1 << (sender.highest - seq) if sender.highest - seq < REMEMBERED else 0
        if not bit or sender.seen & bit:
            return False
        sender.seen |= bit
        sender.first = min(sender.first, seq)
        sender.accepted += 1
        return True

    def lost(self) -> int:
        """Numbers that are missing between the first and the last of each sender."""
        return self._lost_by_forgotten + sum(sender.lost for sender in self._senders.values())

    def by_sender(self) -> dict[str, dict[str, int]]:
        """What is known of each remembered sender."""
        return {
            name: {"accepted": sender.accepted, "lost": sender.lost, "last_seq": sender.highest}
            for name, sender in self._senders.items()
        }

    def _forget(self) -> None:
        while len(self._senders) > MAX_SENDERS:
            _, sender = self._senders.popitem(last=False)
            self._lost_by_forgotten += sender.lost
