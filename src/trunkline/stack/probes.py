"""Whether each kind of process serves. A probe returns, or raises OSError or TimeoutError."""

from __future__ import annotations

import asyncio
import secrets
import ssl

import httpx

from trunkline.stack.process import Probe


def redis_answers(port: int, password: str) -> Probe:
    """AUTH and PING on loopback."""

    async def probe() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(f"AUTH {password}\r\nPING\r\n".encode())
            if not (await reader.readline()).startswith(b"+OK"):
                raise ConnectionError("another Redis, or another password")
            if not (await reader.readline()).startswith(b"+PONG"):
                raise ConnectionError("no PONG")
        finally:
            writer.close()

    return probe


def http_answers(url: str, bearer: str = "") -> Probe:
    """GET is answered 200."""

    async def probe() -> None:
        await _get(url, bearer)

    return probe


def worker_alive(url: str, bearer: str, worker: str) -> Probe:
    """The orchestrator's GET /workers lists this worker as alive."""

    async def probe() -> None:
        try:
            listed = (await _get(url, bearer)).json()["workers"]
            alive = any(entry["worker"] == worker and entry["alive"] for entry in listed)
        except (ValueError, KeyError, TypeError) as error:
            raise ConnectionError(f"{url}: unexpected answer") from error
        if not alive:
            raise ConnectionError(f"{worker} is not alive")

    return probe


def sip_answers(host: str, port: int) -> Probe:
    """OPTIONS over UDP (RFC 3261, section 11) is answered, whatever the answer."""

    async def probe() -> None:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bytes] = loop.create_future()

        class Client(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, addr: object) -> None:
                if not answer.done():
                    answer.set_result(data)

            def error_received(self, exc: Exception) -> None:
                if not answer.done():
                    answer.set_exception(exc)

        transport, _ = await loop.create_datagram_endpoint(Client, remote_addr=(host, port))
        try:
            transport.sendto(_options(host, port, transport.get_extra_info("sockname")))
            # A lost datagram must not cost the whole limit of a probe.
            async with asyncio.timeout(0.5):
                if not (await answer).startswith(b"SIP/2.0 "):
                    raise ConnectionError("answers, but not in SIP")
        finally:
            transport.close()

    return probe


def _options(host: str, port: int, own: tuple[str, int]) -> bytes:
    mark = secrets.token_hex(8)
    lines = (
        f"OPTIONS sip:{host}:{port} SIP/2.0",
        f"Via: SIP/2.0/UDP {own[0]}:{own[1]};branch=z9hG4bK{mark};rport",
        "Max-Forwards: 70",
        f"From: <sip:probe@{own[0]}>;tag={mark}",
        f"To: <sip:{host}>",
        f"Call-ID: {mark}@{own[0]}",
        "CSeq: 1 OPTIONS",
        "Content-Length: 0",
        "",
        "",
    )
    return "\r\n".join(lines).encode()


async def _get(url: str, bearer: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
    # Loopback is plain HTTP; reading the system's certificates for each probe would cost more than the probe.
    nobody_trusted = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        async with httpx.AsyncClient(timeout=1.5, trust_env=False, verify=nobody_trusted) as client:
            response = await client.get(url, headers=headers)
    except httpx.HTTPError as error:
        raise ConnectionError(f"{url}: {error}") from error
    if response.status_code != 200:
        raise ConnectionError(f"{url}: {response.status_code}")
    return response
