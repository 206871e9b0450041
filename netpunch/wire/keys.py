"""The keys of v2: everything is derived from one pair secret by HKDF-SHA256 (RFC 5869).

    pair secret ── control key (all that a control node needs)
                │    └─ one AEAD key per direction: a>control, b>control, control>a, control>b
                └─ peer key (never leaves the ends)
                     └─ a>b, b>a, card a, card b

The pair's name is part of the derivation, so that two pairs which share a secret by mistake
still share no key.
"""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SALT = b"netpunch/2"
KEY_LENGTH = 32
"""Bytes of every secret and key: AES-256."""
TAG_LENGTH = 8
"""Bytes of a pair tag: enough that a control's 100,000 names do not collide (1 in 10^9)."""


def derive(key: bytes, info: str, *, salt: bytes = SALT) -> bytes:
    """One 32-byte key from another."""
    return HKDF(algorithm=SHA256(), length=KEY_LENGTH, salt=salt, info=info.encode()).derive(key)


def control_key(pair_secret: bytes, name: str) -> bytes:
    """The key of pair `name` for control nodes."""
    return derive(pair_secret, f"control|{name}")


def peer_key(pair_secret: bytes, name: str) -> bytes:
    """The key of pair `name` for its two ends alone."""
    return derive(pair_secret, f"peer|{name}")


def control_channel_keys(control_key: bytes, end: str) -> bytes:
    """The two keys between an end (`a` or `b`) and control, one after the other: of what the end
    says, of what control says."""
    return derive(control_key, f"{end}>control") + derive(control_key, f"control>{end}")


def pair_tag(name: str) -> bytes:
    """The 8 bytes that say in clear which pair a datagram belongs to."""
    return hashlib.sha256(b"netpunch/2 tag" + name.encode()).digest()[:TAG_LENGTH]


def fingerprint(key: bytes) -> str:
    """A control key's fingerprint, to compare by eye: four groups of four hex digits.

    Derived, so that it tells nothing of the key; 64 bits, as nobody gains by a collision."""
    digits = hashlib.sha256(b"netpunch/2 fingerprint" + key).hexdigest()[:16]
    return "-".join(digits[i : i + 4] for i in range(0, 16, 4))


def session_key(shared: bytes, salt: bytes, name: str, context: bytes) -> bytes:
    """The link's fresh key, equal on both ends.

    `shared` is what their key exchange gave, `salt` the pair's peer key; `context` is both
    attempts and both public keys, a's before b's, so that the key belongs to this link alone."""
    info = f"session|{name}".encode() + context
    return HKDF(algorithm=SHA256(), length=KEY_LENGTH, salt=salt, info=info).derive(shared)
