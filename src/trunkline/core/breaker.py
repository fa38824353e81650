"""Whether a provider may be used now: one breaker for each, shared by all calls of a worker.

CLOSED --failures in a row--> OPEN --cool-down--> HALF_OPEN --success--> CLOSED
                               ^------failure, twice the cool-down----'
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class BreakerState(StrEnum):
    """Where a breaker stands."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class BreakerParams:
    """When it opens and for how long.

    Args:
        failures: So many in a row open it, unless they lie further apart than `window_s`.
        window_s: Older failures are forgotten.
        cool_down_s: First time for which it stays open; doubled with each probe that fails.
        longest_s: It stays open no longer than that.
        probe_s: A probe of which nothing was heard for so long counts as lost, and another may be sent.
    """

    failures: int = 3
    window_s: float = 30.0
    cool_down_s: float = 5.0
    longest_s: float = 60.0
    probe_s: float = 10.0


class Breaker:
    """Counts what calls tell of one provider.

    Args:
        params: When it opens and for how long.
    """

    def __init__(self, params: BreakerParams | None = None) -> None:
        self.params = params or BreakerParams()
        self.state = BreakerState.CLOSED
        self._failed_at: list[float] = []
        self._cool_down_s = self.params.cool_down_s
        self._retry_at = 0.0

    def allows(self, now: float) -> bool:
        """Whether the asker may use the provider now. After a cool-down the first asker's use is the probe."""
        if self.state is BreakerState.CLOSED:
            return True
        if now < self._retry_at:
            return False
        self.state = BreakerState.HALF_OPEN
        self._retry_at = now + self.params.probe_s
        return True

    def succeeded(self, now: float) -> None:
        """It did what it was asked for. Closes it, unless it is open: then the success belongs to an earlier time."""
        if self.state is BreakerState.OPEN:
            return
        self.state = BreakerState.CLOSED
        self._failed_at.clear()
        self._cool_down_s = self.params.cool_down_s

    def failed(self, now: float) -> None:
        """It refused, broke off or stalled."""
        if self.state is BreakerState.OPEN:
            return
        if self.state is BreakerState.HALF_OPEN:
            self._cool_down_s = min(2 * self._cool_down_s, self.params.longest_s)
            self._open(now)
            return
        self._failed_at = [at for at in self._failed_at if now - at < self.params.window_s] + [now]
        if len(self._failed_at) >= self.params.failures:
            self._open(now)

    def _open(self, now: float) -> None:
        self.state = BreakerState.OPEN
        self._failed_at.clear()
        self._retry_at = now + self._cool_down_s
