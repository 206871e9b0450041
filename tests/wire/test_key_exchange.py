"""X25519: the RFC's example, by both ways to it."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

import pytest
from cryptography.hazmat.bindings import _rust
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from netpunch.wire import key_exchange

ALICE_PUBLIC = bytes.fromhex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
BOB = bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")
BOB_PUBLIC = bytes.fromhex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")
SHARED = bytes.fromhex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742")
"""RFC 7748, section 6.1."""


@pytest.fixture(params=["straight", "documented"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """How cryptography is called: as documented if what is called straight is not there."""
    if request.param == "documented":
        monkeypatch.delattr(_rust.openssl, "x25519")
    importlib.reload(key_exchange)
    monkeypatch.undo()
    yield request.param
    importlib.reload(key_exchange)


def test_it_goes_the_way_it_is_to_go(way: str) -> None:
    documented = key_exchange.private_key == X25519PrivateKey.from_private_bytes
    assert documented == (way == "documented")


def test_the_example_of_the_rfc() -> None:
    bob = key_exchange.private_key(BOB)
    assert bob.public_key().public_bytes_raw() == BOB_PUBLIC
    assert key_exchange.exchange(bob, ALICE_PUBLIC) == SHARED


@pytest.mark.parametrize(
    "low_order",
    [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    ],
)
def test_a_point_of_low_order_gives_none(low_order: str) -> None:
    """RFC 7748, section 6.1: the result would be all zeros, whatever our own key is."""
    assert key_exchange.exchange(key_exchange.private_key(BOB), bytes.fromhex(low_order)) is None
