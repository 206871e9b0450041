"""What TLS needs at a control: a certificate and its key, configured or made at start."""

from __future__ import annotations

import contextlib
import os
import ssl
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from netpunch.errors import (
    ConfigurationError,
    MissingFileError,
    NetpunchError,
    access_errors,
)

LIFETIME_DAYS = 3650
"""Of a certificate made at start. No end verifies it."""


def server_context(
    certificate: Path | None = None, key: Path | None = None, *, name: str = "localhost"
) -> ssl.SSLContext:
    """TLS for a control. `certificate` is a PEM file, with the chain; its key stands in `key`, or
    in the same file. Without a certificate one is made, for `name`.

    Raises MissingFileError, PermissionsError, ConfigurationError and ResourcesError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # TLS 1.3 alone, without tickets: nothing of a session is kept, and no peer can ask for another
    # handshake. OpenSSL speaks it since 1.1.1, which Python requires.
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0
    if certificate is not None:
        load(context, certificate, key)
    else:
        with _made(name) as path:
            context.load_cert_chain(path)
    return context


def load(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    """Takes a certificate for the handshakes that begin from now on; raises as `server_context`
    does, and then the former one stays in use."""
    for path in filter(None, (certificate, key)):
        _check_readable(path)
    keys = certificate if key is None else key
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except _EncryptedKeyError:
        raise ConfigurationError(
            f"{keys}: the key is protected by a passphrase: expected one without"
        ) from None
    except ssl.SSLError as error:
        raise _explained(error, certificate, keys) from None


class _EncryptedKeyError(Exception):
    """A passphrase is asked for. (Without a function that says so, OpenSSL asks at the
    terminal.)"""


def _no_password() -> str:
    raise _EncryptedKeyError


def _check_readable(path: Path) -> None:
    try:
        with access_errors(path):
            if not stat.S_ISREG(path.stat().st_mode):  # opening a FIFO would wait for its writer
                raise ConfigurationError(f"{path}: is not a regular file")
            with path.open("rb") as file:
                file.read(1)
    except OSError as error:
        raise MissingFileError(f"{path}: {error.strerror}") from None
    except ValueError as error:  # a NUL, or half a character, in its name
        raise MissingFileError(f"{str(path)!r}: no file has such a name: {error}") from None


def _explained(error: ssl.SSLError, certificate: Path, keys: Path) -> NetpunchError:
    if error.reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"):
        return ConfigurationError(
            f"{keys}: the key does not belong to the certificate in {certificate}"
        )
    lack = "a private key" if _has_certificate(certificate) else "a certificate"
    path = keys if _has_certificate(certificate) else certificate
    example = "PRIVATE KEY" if lack == "a private key" else "CERTIFICATE"
    return ConfigurationError(
        f"{path}: expected {lack} in PEM form, which begins with -----BEGIN {example}-----"
    )


def _has_certificate(path: Path) -> bool:
    """Whether OpenSSL can read the certificates of a file."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        return False
    return True


@contextlib.contextmanager
def _made(name: str) -> Iterator[str]:
    """The path of a new certificate, for `name`, and its key. They are in memory only, where the
    system has files that are."""
    pem = self_signed(name)
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("certificate")
        try:
            os.write(descriptor, pem)
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
    else:
        with tempfile.NamedTemporaryFile() as file:
            file.write(pem)
            file.flush()
            yield file.name


def self_signed(name: str, lifetime_days: int = LIFETIME_DAYS) -> bytes:
    """A key for P-256, whose handshakes are cheap, and a certificate, in PEM. It is valid from the
    beginning of 2024, whatever the clock says."""
    import datetime  # with x509 few controls need it, and it takes 20 ms

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name[:64])])
    begins = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)  # no clock needs to be right
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + datetime.timedelta(days=lifetime_days))
        .sign(key, hashes.SHA256())
    )
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ) + certificate.public_bytes(serialization.Encoding.PEM)
