"""One TLS context for all connections of a process that verify the usual way.

Making one parses every root certificate: 25 ms of the loop's time, in which no call of the worker is heard. Libraries
of speech providers make one for each client, also for one that never connects, so each call paid it before it was
answered. A context is made to be shared; this one can't be weakened, since all connections would be.
"""

from __future__ import annotations

import functools
import ssl
from typing import Any

_made = ssl.create_default_context


class SharedContext(ssl.SSLContext):
    """A client's context that verifies certificates and names, for good.

    Raises:
        AttributeError: somebody tries to switch the check of certificates or of names off.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        weakened = {"check_hostname": not value, "verify_mode": value is not ssl.CERT_REQUIRED}
        if weakened.get(name):
            raise AttributeError(f"{name} of a shared TLS context can't be weakened: make an ssl.SSLContext")
        super().__setattr__(name, value)


@functools.lru_cache(maxsize=8)
def _shared(cafile: str | None, capath: str | None) -> ssl.SSLContext:
    context = SharedContext(ssl.PROTOCOL_TLS_CLIENT)
    if cafile or capath:
        context.load_verify_locations(cafile, capath)
    else:
        context.load_default_certs()
    return context


def _create(
    purpose: ssl.Purpose = ssl.Purpose.SERVER_AUTH,
    *,
    cafile: str | None = None,
    capath: str | None = None,
    cadata: str | bytes | None = None,
) -> ssl.SSLContext:
    if purpose is not ssl.Purpose.SERVER_AUTH or cadata:
        return _made(purpose, cafile=cafile, capath=capath, cadata=cadata)
    return _shared(cafile, capath)


def share_tls_contexts() -> None:
    """From now on `ssl.create_default_context` gives clients of this process one context for each set of roots."""
    ssl.create_default_context = _create  # type: ignore[assignment]
