"""A control's certificate: read from files, or made at start."""

from __future__ import annotations

import datetime
import os
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from netpunch.errors import ConfigurationError, MissingFileError, NetpunchError, PermissionsError
from netpunch.net.tls_certificate import load, self_signed, server_context
from netpunch.net.tls_client import client_context


@pytest.fixture(scope="module")
def pem() -> bytes:
    return self_signed("vps.example.net")


def _split(pem: bytes) -> tuple[bytes, bytes]:
    """Key and certificate."""
    at = pem.index(b"-----BEGIN CERTIFICATE")
    return pem[:at], pem[at:]


def handshake(server: ssl.SSLContext) -> bytes:
    """The certificate that a client sees."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client_context().wrap_bio(to_client, to_server),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    for _ in range(3):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert ends[0].version() == "TLSv1.3"
    certificate = ends[0].getpeercert(binary_form=True)
    assert certificate
    return certificate


def test_a_certificate_made_at_start_works_and_is_another_one_each_time() -> None:
    first, second = (handshake(server_context(name="vps.example.net")) for _ in range(2))
    assert first != second
    certificate = x509.load_der_x509_certificate(first)
    assert "vps.example.net" in certificate.subject.rfc4514_string()
    assert certificate.not_valid_after_utc > datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)


def test_a_name_longer_than_a_certificate_may_have_is_cut() -> None:
    handshake(server_context(name="x" * 200))


@pytest.mark.parametrize("in_one_file", [True, False])
def test_a_configured_certificate_is_shown_to_clients(
    tmp_path: Path, pem: bytes, in_one_file: bool
) -> None:
    key, certificate = _split(pem)
    (tmp_path / "cert.pem").write_bytes(pem if in_one_file else certificate)
    (tmp_path / "key.pem").write_bytes(key)
    context = server_context(tmp_path / "cert.pem", None if in_one_file else tmp_path / "key.pem")
    shown = x509.load_der_x509_certificate(handshake(context))
    assert shown == x509.load_pem_x509_certificate(certificate)


def test_a_renewed_certificate_takes_the_place_of_the_former(tmp_path: Path, pem: bytes) -> None:
    path = tmp_path / "both.pem"
    path.write_bytes(pem)
    context = server_context(path)
    before = handshake(context)
    path.write_bytes(b"half a file")
    with pytest.raises(ConfigurationError):
        load(context, path, None)
    assert handshake(context) == before
    path.write_bytes(self_signed("renewed.example.net"))
    load(context, path, None)
    assert handshake(context) != before


def _key_with_passphrase() -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"correct horse"),
    )


@pytest.mark.parametrize(
    ("certificate", "key", "error", "message"),
    [
        (None, b"", MissingFileError, r"cert\.pem: No such file or directory"),
        (b"", None, MissingFileError, r"key\.pem: No such file or directory"),
        (b"nothing", b"nothing", ConfigurationError, r"cert\.pem: expected a certificate in PEM"),
        (b"", b"", ConfigurationError, r"cert\.pem: expected a certificate in PEM"),
        (b"GOOD", b"nothing", ConfigurationError, r"key\.pem: expected a private key in PEM"),
        (b"GOOD", b"OTHER", ConfigurationError, r"key\.pem: the key does not belong to the"),
        (b"GOOD", b"SEALED", ConfigurationError, r"key\.pem: the key is protected by a passphrase"),
    ],
)
def test_what_cannot_be_used_is_told_with_its_path(
    tmp_path: Path,
    pem: bytes,
    certificate: bytes | None,
    key: bytes | None,
    error: type[NetpunchError],
    message: str,
) -> None:
    known = {
        b"GOOD": _split(pem)[1],
        b"OTHER": _split(self_signed("other"))[0],
        b"SEALED": _key_with_passphrase(),
    }
    for name, content in {"cert.pem": certificate, "key.pem": key}.items():
        if content is not None:
            (tmp_path / name).write_bytes(known.get(content, content))
    with pytest.raises(error, match=message):
        server_context(tmp_path / "cert.pem", tmp_path / "key.pem")


def test_a_file_that_this_user_may_not_read_is_told(
    tmp_path: Path, pem: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_args: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "both.pem"
    path.write_bytes(pem)
    monkeypatch.setattr(Path, "open", refused)  # root may read all files
    with pytest.raises(PermissionsError, match=r"both\.pem: this user may not read it"):
        server_context(path)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_is_no_file_is_told_and_not_waited_for(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    """Opening a FIFO waits until it has a writer."""
    make(tmp_path / "cert.pem")
    with pytest.raises(ConfigurationError, match=r"cert\.pem: is not a regular file"):
        server_context(tmp_path / "cert.pem")


def test_a_certificate_without_its_key_is_told(tmp_path: Path, pem: bytes) -> None:
    (tmp_path / "cert.pem").write_bytes(_split(pem)[1])
    with pytest.raises(ConfigurationError, match=r"cert\.pem: expected a private key in PEM"):
        server_context(tmp_path / "cert.pem")
