"""How often somebody may ask: counted in this process, in a moving window.

A number that calls too often and an address that keeps sending what we refuse are answered 429. Requests that prove who
they are have a wider limit, so that a hundred calls in one second from one Twilio address are let in.
"""

from __future__ import annotations

import re

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from trunkline.core.errors import ConfigError
from trunkline.settings import Settings

_NUMBER = re.compile(r"\+[0-9]{2,15}")


class RateLimits:
    """The limits of one orchestrator.

    Args:
        settings: ORCH_RATE_LIMIT and ORCH_TOKEN_RATE_LIMIT.

    Raises:
        ConfigError: a limit that is not like "60/minute".
    """

    def __init__(self, settings: Settings) -> None:
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._narrow = _parse("ORCH_RATE_LIMIT", settings.orch_rate_limit)
        self._wide = _parse("ORCH_TOKEN_RATE_LIMIT", settings.orch_token_rate_limit)

    def caller_may(self, number: str) -> bool:
        """Counts a call from a number; False where it called too often. Callers who hide theirs are not one caller."""
        if not _NUMBER.fullmatch(number):
            return True
        return self._limiter.hit(self._narrow, "caller", number)

    def token_may(self, address: str) -> bool:
        """Counts a token; False where the address has had too many."""
        return self._limiter.hit(self._wide, "token", address)

    def count_refused(self, address: str) -> None:
        """Counts a request that we refused."""
        self._limiter.hit(self._narrow, "refused", address)

    def address_may(self, address: str) -> bool:
        """False where too many of an address's requests were refused lately."""
        return self._limiter.test(self._narrow, "refused", address)


def _parse(name: str, text: str) -> RateLimitItem:
    try:
        return parse(text)
    except ValueError as error:
        raise ConfigError(f"{name}={text!r} is no rate limit", 'write it like "60/minute"') from error
