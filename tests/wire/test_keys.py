"""The tree of keys, against a second HKDF and fixed vectors, and X25519."""

from __future__ import annotations

import hashlib
import hmac
import importlib
from collections.abc import Iterator

import pytest
from cryptography.hazmat.bindings import _rust
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
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
"""Of SECRET and NAME. A change of any of them breaks the link with all older versions."""


MESH_NAME = "lan.home.office"
MESH_VECTORS = {
    "mesh control": "255b8163431819dd05e9c10a2bd5ed0249dfde22b4aae015189349729422f1fc",
    "control": "f44d1b9ea3dbd27e5dc7928e60385e5a6278d2a80f25460c5c64c098578284a1",
    "peer": "f8e44f0723866f72b531f04231a49b03028ed4028349151de38a14282bd943c6",
    "tag": "833d03b7ae3a847a",
}
"""Of SECRET as the secret of the mesh `lan`, and its pair MESH_NAME. Likewise."""


def hkdf(key: bytes, info: bytes, salt: bytes) -> bytes:
    """RFC 5869 for one block: extract, then expand once."""
    extracted = hmac.digest(salt, key, "sha256")
    return hmac.digest(extracted, info + b"\x01", "sha256")


def test_reference_hkdf_agrees_with_rfc_5869() -> None:
    """Appendix A.1, its first 32 bytes."""
    salt, info = bytes(range(13)), bytes(range(0xF0, 0xFA))
    expected = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"
    assert hkdf(b"\x0b" * 22, info, salt).hex() == expected


def test_keys_equal_the_fixed_vectors() -> None:
    control = keys.control_key(SECRET, NAME)
    assert control.hex() == VECTORS["control"]
    assert keys.peer_key(SECRET, NAME).hex() == VECTORS["peer"]
    assert keys.derive(control, "control>a").hex() == VECTORS["control>a"]


@given(st.binary(min_size=32, max_size=32), st.text("az09-", min_size=1, max_size=32))
def test_every_key_is_derived_by_hkdf(secret: bytes, name: str) -> None:
    salt = b"netpunch/2"
    assert keys.control_key(secret, name) == hkdf(secret, f"control|{name}".encode(), salt)
    assert keys.peer_key(secret, name) == hkdf(secret, f"peer|{name}".encode(), salt)
    assert keys.derive(secret, "a>b") == hkdf(secret, b"a>b", salt)


def test_keys_of_a_mesh_equal_the_fixed_vectors() -> None:
    of_mesh = keys.control_key(SECRET, "lan")
    assert of_mesh.hex() == MESH_VECTORS["mesh control"]
    assert keys.pair_control_key(of_mesh, MESH_NAME).hex() == MESH_VECTORS["control"]
    assert keys.control_key(SECRET, MESH_NAME).hex() == MESH_VECTORS["control"]
    assert keys.peer_key(SECRET, MESH_NAME).hex() == MESH_VECTORS["peer"]
    assert keys.pair_tag(MESH_NAME).hex() == MESH_VECTORS["tag"]


def test_keys_of_a_mesh_are_derived_as_documented() -> None:
    salt, info = b"netpunch/2", b"mesh|lan|home|office"
    of_mesh, of_pair = hkdf(SECRET, b"control|lan", salt), hkdf(SECRET, info, salt)
    assert keys.control_key(SECRET, MESH_NAME) == hkdf(of_mesh, info, salt)
    assert keys.peer_key(SECRET, MESH_NAME) == hkdf(of_pair, b"peer|lan.home.office", salt)


def test_a_pairs_own_control_key_is_used_as_it_is() -> None:
    assert keys.pair_control_key(SECRET, NAME) == SECRET


def test_pairs_of_a_mesh_share_no_key() -> None:
    names = ("lan", "lan.a.b", "lan.a.c", "lan.b.c", "wan.a.b")
    derived = [f(SECRET, name) for f in (keys.control_key, keys.peer_key) for name in names]
    assert len({SECRET, *derived}) == 1 + 2 * len(names)


def test_pairs_that_share_a_secret_share_no_key() -> None:
    derived = [f(SECRET, name) for f in (keys.control_key, keys.peer_key) for name in ("x", "y")]
    assert len({SECRET, *derived}) == 5


def test_pair_tag_equals_the_fixed_vector() -> None:
    assert keys.pair_tag(NAME) == hashlib.sha256(b"netpunch/2 tag" + NAME.encode()).digest()[:8]
    assert keys.pair_tag(NAME).hex() == VECTORS["tag"]


def test_fingerprint_is_short_and_reveals_nothing_of_the_key() -> None:
    control = keys.control_key(SECRET, NAME)
    fingerprint = keys.fingerprint(control)
    assert fingerprint == VECTORS["fingerprint"]
    assert fingerprint.replace("-", "") not in control.hex()
    assert fingerprint != keys.fingerprint(keys.control_key(SECRET, "other"))


class TestSessionKey:
    SHARED, SALT = b"s" * 32, b"p" * 32

    def test_session_key_is_hkdf_of_the_exchange(self) -> None:
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
    def test_session_key_depends_on_every_argument(
        self, shared: bytes, salt: bytes, name: str, context: bytes
    ) -> None:
        key = keys.session_key(self.SHARED, self.SALT, NAME, b"context")
        assert key != keys.session_key(shared, salt, name, context)


ALICE_PUBLIC = bytes.fromhex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
BOB = bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")
BOB_PUBLIC = bytes.fromhex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")
SHARED = bytes.fromhex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742")
"""RFC 7748, section 6.1."""


class TestKeyExchange:
    @pytest.fixture(params=["direct", "documented"], autouse=True)
    def constructors(
        self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[str]:
        """Which constructors of cryptography are called: the documented ones if the direct ones
        are missing."""
        if request.param == "documented":
            monkeypatch.delattr(_rust.openssl, "x25519")
        importlib.reload(keys)
        monkeypatch.undo()
        yield request.param
        importlib.reload(keys)

    def test_documented_constructors_are_the_fallback(self, constructors: str) -> None:
        documented = keys.private_key == X25519PrivateKey.from_private_bytes
        assert documented == (constructors == "documented")

    def test_example_of_rfc_7748(self) -> None:
        bob = keys.private_key(BOB)
        assert bob.public_key().public_bytes_raw() == BOB_PUBLIC
        assert keys.exchange(bob, ALICE_PUBLIC) == SHARED

    @pytest.mark.parametrize(
        "low_order",
        [
            "0000000000000000000000000000000000000000000000000000000000000000",
            "0100000000000000000000000000000000000000000000000000000000000000",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        ],
    )
    def test_public_key_of_low_order_gives_no_secret(self, low_order: str) -> None:
        """RFC 7748, section 6.1: the result would be all zeros, for any private key."""
        assert keys.exchange(keys.private_key(BOB), bytes.fromhex(low_order)) is None
