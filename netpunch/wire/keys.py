"""The keys of v2: everything is derived from one pair secret by HKDF-SHA256 (RFC 5869).

    pair secret ── control key (all that a control node needs)
                │    └─ one AEAD key per direction: a>control, b>control, control>a, control>b
                └─ peer key (never leaves the ends)
                     ├─ a>b, b>a, card a, card b
                     └─ with an X25519 exchange (RFC 7748): the session key of one link
                          └─ one key per direction for what a sealed `forward` carries

The pair's name is part of the derivation, so that two pairs that share a secret by mistake
still share no key. The pairs of a mesh, named MESH.NODE.NODE, share one on purpose:

    mesh secret ── control key of the mesh (all that a control node needs)
                │    └─ control key of each pair
                └─ secret of each pair ── its peer key
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from netpunch.mesh import MeshPair, mesh_pair

try:
    # The documented constructors import all of cryptography (RSA, the other curves...) to ask
    # whether X25519 is supported: a twelfth of the time from the start of `netpunch run` to its
    # first datagram. These are the functions that they call then.
    from cryptography.hazmat.bindings._rust import openssl

    private_key = openssl.x25519.from_private_bytes
    _public_key = openssl.x25519.from_public_bytes
except (ImportError, AttributeError):
    from cryptography.hazmat.primitives.asymmetric import x25519

    private_key = x25519.X25519PrivateKey.from_private_bytes
    _public_key = x25519.X25519PublicKey.from_public_bytes

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

SALT = b"netpunch/2"
KEY_LENGTH = 32
"""Bytes of every secret and key: AES-256."""
TAG_LENGTH = 8
"""Bytes of a pair tag: enough that a control's 100,000 names do not collide (1 in 10^9)."""


def derive(key: bytes, info: str | bytes, *, salt: bytes = SALT) -> bytes:
    """One 32-byte key from another."""
    info = info.encode() if isinstance(info, str) else info
    return HKDF(algorithm=SHA256(), length=KEY_LENGTH, salt=salt, info=info).derive(key)


def control_key(secret: bytes, name: str) -> bytes:
    """The key of pair `name` for control nodes. `secret` is the pair's, or its mesh's."""
    mesh = mesh_pair(name)
    return pair_control_key(derive(secret, f"control|{mesh.mesh if mesh else name}"), name)


def pair_control_key(control_key: bytes, name: str) -> bytes:
    """The key of pair `name` that control has: for a pair of a mesh, `control_key` is that of the
    mesh, the control key of a pair with the mesh's name."""
    mesh = mesh_pair(name)
    return derive(control_key, _mesh_info(mesh)) if mesh else control_key


def peer_key(secret: bytes, name: str) -> bytes:
    """The key of pair `name` for its two ends alone. `secret` is the pair's, or its mesh's."""
    if mesh := mesh_pair(name):
        secret = derive(secret, _mesh_info(mesh))
    return derive(secret, f"peer|{name}")


def _mesh_info(pair: MeshPair) -> str:
    return f"mesh|{'|'.join(pair)}"


def control_channel_keys(control_key: bytes, end: str) -> bytes:
    """The two keys between an end (`a` or `b`) and control, one after the other: of what the end
    says, of what control says."""
    return derive(control_key, f"{end}>control") + derive(control_key, f"control>{end}")


def peer_direction_key(peer_key: bytes, sender: str, receiver: str) -> bytes:
    """The key of what one end says to the other."""
    return derive(peer_key, f"{sender}>{receiver}")


def card_key(peer_key: bytes, end: str) -> bytes:
    """The key of an end's cards."""
    return derive(peer_key, f"card {end}")


def session_key(shared: bytes, salt: bytes, name: str, context: bytes) -> bytes:
    """The link's fresh key, equal on both ends.

    `shared` is the result of their key exchange, `salt` the pair's peer key; `context` is both
    attempts and both public keys, a's before b's, so that the key belongs to this link alone."""
    return derive(shared, f"session|{name}".encode() + context, salt=salt)


def forward_key(session_key: bytes, sender: str, receiver: str) -> bytes:
    """The key of what a sealed `forward` carries from one end (`a` or `b`) to the other."""
    return derive(session_key, f"forward {sender}>{receiver}")


def forward_epoch(session_key: bytes) -> int:
    """The byte that tells datagrams sealed for this link from those for another one."""
    return derive(session_key, "forward epoch")[0]


def generation_key(forward_key: bytes, generation: int) -> bytes:
    """The key of one generation of datagrams that a sealed `forward` carries."""
    return derive(forward_key, f"generation {generation}")


def exchange(private: X25519PrivateKey, partner_public: bytes) -> bytes | None:
    """The secret that both sides of an X25519 exchange share; None for a bad public key, one
    with which it is all zeros."""
    try:
        return private.exchange(_public_key(partner_public))
    except ValueError:  # cryptography refuses the all-zero result
        return None


def pair_tag(name: str) -> bytes:
    """The 8 bytes that say in clear which pair a datagram belongs to."""
    return hashlib.sha256(b"netpunch/2 tag" + name.encode()).digest()[:TAG_LENGTH]


def fingerprint(key: bytes) -> str:
    """A control key's fingerprint, to compare by eye: four groups of four hex digits.

    A hash, so that it reveals nothing of the key; 64 bits, as a collision is of no use."""
    digits = hashlib.sha256(b"netpunch/2 fingerprint" + key).hexdigest()[:16]
    return "-".join(digits[i : i + 4] for i in range(0, 16, 4))
