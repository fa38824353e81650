"""Clients of a process share a TLS context, and nobody weakens it."""

import ssl
from collections.abc import Iterator

import certifi
import httpx
import pytest

from trunkline.agent import tls


@pytest.fixture(autouse=True)
def _sharing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(ssl, "create_default_context", ssl.create_default_context)
    tls.share_tls_contexts()
    yield
    tls._shared.cache_clear()


def test_two_clients_with_the_same_roots_share_a_context(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    assert ssl.create_default_context() is ssl.create_default_context()
    assert ssl.create_default_context(cafile=certifi.where()) is httpx.create_ssl_context()
    assert ssl.create_default_context() is not ssl.create_default_context(cafile=certifi.where())


def test_the_shared_context_verifies_what_the_usual_one_does() -> None:
    shared, usual = ssl.create_default_context(), tls._made()
    for name in ("verify_mode", "check_hostname", "minimum_version", "maximum_version", "protocol", "verify_flags"):
        assert getattr(shared, name) == getattr(usual, name), name
    assert shared.get_ca_certs() == usual.get_ca_certs()


@pytest.mark.parametrize(("name", "value"), [("check_hostname", False), ("verify_mode", ssl.CERT_NONE)])
def test_nobody_can_weaken_it_for_all(name: str, value: object) -> None:
    context = ssl.create_default_context()
    with pytest.raises(AttributeError, match="can't be weakened"):
        setattr(context, name, value)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def test_servers_and_roots_given_as_data_get_contexts_of_their_own() -> None:
    assert ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) is not ssl.create_default_context(
        ssl.Purpose.CLIENT_AUTH
    )
    pem = ssl.DER_cert_to_PEM_cert(ssl.create_default_context(cafile=certifi.where()).get_ca_certs(binary_form=True)[0])
    assert ssl.create_default_context(cadata=pem) is not ssl.create_default_context(cadata=pem)
