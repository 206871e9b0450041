"""The tree of keys, against an HKDF of its own and fixed vectors."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netpunch.wire import keys

SECRET = bytes(range(32))
NAME = "home-office"
VECTORS = {
    "control": "8127226d2823b4278a8bb3d6445e724b34435ad7f68eb033f8a5560d3dd4eed4",
    "peer": "cc62bc9fabeb0b1364105e93b9fef224e623b90e83f7a747c5bb4a007913bcd6",
    "control>a": "2e8d4d3901ff0399904f830bff089b8531293ec1305a30449739c493201ba2c2",
    "tag": "fc0ac47938f18945",
    "fingerprint": "456e-799e-c90d-5ac2",
}
"""Of SECRET and NAME. A change of any of them cuts all older versions off."""


def hkdf(key: bytes, info: bytes, salt: bytes) -> bytes:
    """RFC 5869 for one block: extract, then expand once."""
    extracted = hmac.digest(salt, key, "sha256")
    return hmac.digest(extracted, info + b"\x01", "sha256")


def test_the_reference_is_right() -> None:
    """RFC 5869, A.1, its first 32 bytes."""
    salt, info = bytes(range(13)), bytes(range(0xF0, 0xFA))
    expected = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"
    assert hkdf(b"\x0b" * 22, info, salt).hex() == expected


def test_the_keys_are_those_of_the_protocol() -> None:
    control = keys.control_key(SECRET, NAME)
    assert control.hex() == VECTORS["control"]
    assert keys.peer_key(SECRET, NAME).hex() == VECTORS["peer"]
    assert keys.derive(control, "control>a").hex() == VECTORS["control>a"]


@given(st.binary(min_size=32, max_size=32), st.text("az09-", min_size=1, max_size=32))
def test_every_derivation_is_hkdf(secret: bytes, name: str) -> None:
    salt = b"netpunch/2"
    assert keys.control_key(secret, name) == hkdf(secret, f"control|{name}".encode(), salt)
    assert keys.peer_key(secret, name) == hkdf(secret, f"peer|{name}".encode(), salt)
    assert keys.derive(secret, "a>b") == hkdf(secret, b"a>b", salt)


def test_pairs_that_share_a_secret_share_no_key() -> None:
    derived = [f(SECRET, name) for f in (keys.control_key, keys.peer_key) for name in ("x", "y")]
    assert len({SECRET, *derived}) == 5


def test_the_pair_tag() -> None:
    assert keys.pair_tag(NAME) == hashlib.sha256(b"netpunch/2 tag" + NAME.encode()).digest()[:8]
    assert keys.pair_tag(NAME).hex() == VECTORS["tag"]


def test_a_fingerprint_is_short_and_tells_nothing_of_the_key() -> None:
    control = keys.control_key(SECRET, NAME)
    fingerprint = keys.fingerprint(control)
    assert fingerprint == VECTORS["fingerprint"]
    assert fingerprint.replace("-", "") not in control.hex()
    assert fingerprint != keys.fingerprint(keys.control_key(SECRET, "other"))


class TestSessionKey:
    SHARED, SALT = b"s" * 32, b"p" * 32

    def test_it_is_hkdf_of_the_exchange(self) -> None:
        key = keys.session_key(self.SHARED, self.SALT, NAME, b"context")
        assert key == hkdf(self.SHARED, b"session|home-office" + b"context", self.SALT)

    @pytest.mark.parametrize(
        ("shared", "salt", "name", "context"),
        [
            (b"t" * 32, SALT, NAME, b"context"),
            (SHARED, b"q" * 32, NAME, b"context"),
            (SHARED, SALT, "other", b"context"),
            (SHARED, SALT, NAME, b"another"),
        ],
    )
    def test_it_depends_on_everything(
        self, shared: bytes, salt: bytes, name: str, context: bytes
    ) -> None:
        key = keys.session_key(self.SHARED, self.SALT, NAME, b"context")
        assert key != keys.session_key(shared, salt, name, context)
