"""X25519 (RFC 7748), by cryptography.

Its documented constructors first import all that it has (RSA, the other curves...), to ask
whether X25519 is supported: a twelfth of what `netpunch run` takes until its first datagram.
What they call then is called here at once, or, should it have another place some day, by them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

try:
    from cryptography.hazmat.bindings._rust import openssl

    private_key = openssl.x25519.from_private_bytes
    _public_key = openssl.x25519.from_public_bytes
except (ImportError, AttributeError):
    from cryptography.hazmat.primitives.asymmetric import x25519

    private_key = x25519.X25519PrivateKey.from_private_bytes
    _public_key = x25519.X25519PublicKey.from_public_bytes

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey


def exchange(private: X25519PrivateKey, partner_public: bytes) -> bytes | None:
    """What both sides alone know; None for a bad public key, one with which it is all zeros."""
    try:
        return private.exchange(_public_key(partner_public))
    except ValueError:  # cryptography refuses the all-zero result
        return None
