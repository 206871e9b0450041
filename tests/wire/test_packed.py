"""An address in 19 bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netpunch.address import Address
from netpunch.wire.packed import ADDRESS_LENGTH, Malformed, pack_address, unpack_address
from tests.wire.v2_strategies import addresses


@given(addresses)
def test_an_address_comes_back_as_it_went(address: Address) -> None:
    packed = pack_address(address)
    assert len(packed) == ADDRESS_LENGTH
    assert unpack_address(packed) == address


@pytest.mark.parametrize(
    ("address", "packed"),
    [
        (Address("192.0.2.1", 5000), "04 c0000201 000000000000000000000000 1388"),
        (Address("0.0.0.0", 0), "04 00000000 000000000000000000000000 0000"),
        (Address("2001:db8::1", 65535), "06 20010db8000000000000000000000001 ffff"),
    ],
)
def test_the_layout_is_fixed(address: Address, packed: str) -> None:
    assert pack_address(address) == bytes.fromhex(packed)


@pytest.mark.parametrize("family", [0, 1, 5, 7, 255])
def test_another_family_is_malformed(family: int) -> None:
    with pytest.raises(Malformed):
        unpack_address(bytes([family]) + bytes(18))


def test_mapped_ipv4_is_unwrapped() -> None:
    """So that no mapped form gets past the policy for addresses."""
    mapped = bytes([6]) + bytes(10) + b"\xff\xff" + bytes([127, 0, 0, 1]) + b"\x13\x88"
    assert unpack_address(mapped) == Address("127.0.0.1", 5000)


@given(st.binary(min_size=ADDRESS_LENGTH, max_size=ADDRESS_LENGTH))
def test_any_19_bytes_are_a_canonical_address_or_malformed(data: bytes) -> None:
    try:
        address = unpack_address(data)
    except Malformed:
        assert data[0] not in (4, 6)
    else:
        assert unpack_address(pack_address(address)) == address
