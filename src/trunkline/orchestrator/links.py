"""One-time links to the page /call: each lets one caller in, once, within a quarter of an hour.

In Redis, under a hash of the link's code, so that whoever reads Redis learns no code. A link that was used is
remembered as used until it would have run out, so that the page can say what is wrong.
"""

from __future__ import annotations

import hashlib
import secrets

from redis.asyncio import Redis
from redis.exceptions import RedisError

from trunkline.core.errors import UpstreamUnavailableError

LINK_TTL_S = 900
CODE_BYTES = 24
CODE_PATTERN = r"^[A-Za-z0-9_-]{32}$"

_FRESH, _USED = "fresh", "used"


class LinkRefusedError(Exception):
    """A link does not let anybody in.

    Args:
        used: It did before; False: it never existed, or has run out.
    """

    def __init__(self, used: bool) -> None:
        super().__init__("used" if used else "unknown")
        self.used = used


class Links:
    """The links there are. Every method raises UpstreamUnavailableError without Redis.

    Args:
        redis: Decodes answers to text.
        prefix: Of all keys.
    """

    def __init__(self, redis: Redis, prefix: str) -> None:
        self._redis = redis
        self._prefix = prefix

    async def make(self) -> str:
        """A new link's code: 192 random bits in 32 characters of a URL's."""
        code = secrets.token_urlsafe(CODE_BYTES)
        try:
            await self._redis.set(self._key(code), _FRESH, ex=LINK_TTL_S)
        except (RedisError, OSError) as error:
            raise UpstreamUnavailableError("redis", str(error)) from error
        return code

    async def use(self, code: str) -> None:
        """Uses a link up. Raises LinkRefusedError; of two at the same time, one gets it."""
        before = await self._put(code, _USED)
        if before != _FRESH:
            raise LinkRefusedError(used=before == _USED)

    async def give_back(self, code: str) -> None:
        """The call did not come about: the link is good again, for the rest of its time."""
        await self._put(code, _FRESH)

    async def _put(self, code: str, state: str) -> str | None:
        """What it was before; None, and nothing is put, where there is none."""
        try:
            before = await self._redis.set(self._key(code), state, xx=True, keepttl=True, get=True)
        except (RedisError, OSError) as error:
            raise UpstreamUnavailableError("redis", str(error)) from error
        return None if before is None else str(before)

    def _key(self, code: str) -> str:
        return f"{self._prefix}link:{hashlib.sha256(code.encode()).hexdigest()}"
