"""What was said in one call so far, as the metrics collector knows it: for the page of the one who is in that call."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import httpx

from trunkline.core.errors import UpstreamTimeoutError, UpstreamUnavailableError

TIMEOUT_S = 2.0
TURN_FIELDS = ("turn", "outcome", "understood", "answer", "roundtrip_ms", "response_ms")


class Spoken:
    """Asks the collector.

    Args:
        endpoint: METRICS_ENDPOINT; its host and port serve HTTP, too.
    """

    def __init__(self, endpoint: str) -> None:
        parts = urlsplit(endpoint)
        self._base = f"{parts.scheme}://{parts.netloc}"
        self._http: httpx.AsyncClient | None = None

    async def turns(self, call: str) -> list[dict[str, Any]]:
        """The turns that are over, in order: number, outcome, texts, durations in ms. Raises UpstreamError."""
        if self._http is None:
            self._http = httpx.AsyncClient(base_url=self._base, timeout=TIMEOUT_S, trust_env=False)
        try:
            response = await self._http.get(f"/page/calls/{call}")
            if response.status_code == httpx.codes.NOT_FOUND:
                return []
            response.raise_for_status()
            return [{name: turn.get(name) for name in TURN_FIELDS} for turn in response.json()["turns"]]
        except httpx.TimeoutException as error:
            raise UpstreamTimeoutError("metrics", f"no answer within {TIMEOUT_S:.0f} s") from error
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError) as error:
            raise UpstreamUnavailableError("metrics", f"{type(error).__name__} at METRICS_ENDPOINT") from error

    async def close(self) -> None:
        """Closes the connections."""
        if self._http is not None:
            await self._http.aclose()
