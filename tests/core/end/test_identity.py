"""An attempt: fresh, unguessable, and able to agree on a key with its partner."""

from __future__ import annotations

import hmac

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from netpunch.core.end.identity import Identity
from netpunch.wire.envelope import EndName
from netpunch.wire.v2 import ATTEMPT_LENGTH
from tests.core.v2_pair import PAIR, PEER_KEY, seeded


def session_key(identity: Identity, end: EndName, partner: Identity) -> bytes | None:
    return identity.session_key(end, partner.id, partner.public_key, pair=PAIR, peer_key=PEER_KEY)


def test_each_attempt_has_another_identity() -> None:
    random = seeded(1)
    attempts = [Identity(random) for _ in range(10)]
    assert len({attempt.id for attempt in attempts}) == 10
    assert len({attempt.public_key for attempt in attempts}) == 10
    assert {len(attempt.id) for attempt in attempts} == {ATTEMPT_LENGTH}


def test_both_ends_of_a_link_have_the_same_key() -> None:
    random = seeded(1)
    a, b = Identity(random), Identity(random)
    key = session_key(a, "a", b)
    assert key is not None
    assert len(key) == 32
    assert session_key(b, "b", a) == key


def test_the_key_belongs_to_this_link_alone() -> None:
    random = seeded(1)
    a, b, later = Identity(random), Identity(random), Identity(random)
    keys = [session_key(a, "a", b), session_key(a, "a", later), session_key(a, "b", b)]
    assert len(set(keys)) == 3


def test_the_key_is_that_of_the_protocol() -> None:
    """HKDF(X25519, salt = peer key, info = session|NAME, attempts and public keys of a, b)."""
    privates: list[bytes] = []

    def remembering(count: int) -> bytes:
        privates.append(seeded(len(privates))(count))
        return privates[-1]

    a, b = Identity(remembering), Identity(remembering)
    shared = X25519PrivateKey.from_private_bytes(privates[1]).exchange(
        X25519PublicKey.from_public_bytes(b.public_key)
    )
    info = b"session|home-office" + a.id + b.id + a.public_key + b.public_key
    extracted = hmac.digest(PEER_KEY, shared, "sha256")
    assert session_key(a, "a", b) == hmac.digest(extracted, info + b"\x01", "sha256")


def test_a_bad_public_key_gives_none() -> None:
    attempt = Identity(seeded(1))
    key = attempt.session_key("a", b"attempt2", bytes(32), pair=PAIR, peer_key=PEER_KEY)
    assert key is None
