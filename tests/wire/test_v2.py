"""The bodies of v2's messages, and the addresses in them."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netpunch.address import Address
from netpunch.wire import v2
from netpunch.wire.envelope import CONTROL_BODY, PEER_BODY
from netpunch.wire.v2 import ADDRESS_LENGTH, Malformed, pack_address, unpack_address
from tests.wire.v2_strategies import addresses, messages


@given(messages)
def test_unpacking_a_packed_message_gives_the_message(message: v2.Message) -> None:
    kind = v2.LAYOUTS[type(message)].kind
    assert v2.unpack(kind, v2.pack(message)) == message


@given(messages, st.binary(max_size=50))
def test_bytes_that_a_later_version_appends_are_ignored(message: v2.Message, later: bytes) -> None:
    kind = v2.LAYOUTS[type(message)].kind
    assert v2.unpack(kind, v2.pack(message) + later) == message


@given(st.sampled_from(v2.Kind), st.binary(max_size=CONTROL_BODY))
def test_any_body_is_a_message_or_malformed(kind: v2.Kind, body: bytes) -> None:
    try:
        message = v2.unpack(kind, body)
    except Malformed:
        return
    assert type(message) is v2.TYPES[kind]


@given(messages, st.data())
def test_truncated_body_is_malformed(message: v2.Message, data: st.DataObject) -> None:
    body = v2.pack(message)
    length = data.draw(st.integers(0, len(body) - 1))
    with pytest.raises(Malformed):
        v2.unpack(v2.LAYOUTS[type(message)].kind, body[:length])


def test_every_kind_has_one_layout() -> None:
    assert set(v2.TYPES) == set(v2.Kind)
    assert set(v2.LAYOUTS) == set(get_args(v2.Message))


def test_no_kind_uses_the_bit_that_names_the_end() -> None:
    assert all(0 < kind < 0x80 for kind in v2.Kind)


def test_every_message_fits_its_datagram() -> None:
    for message_type, layout in v2.LAYOUTS.items():
        between_ends = message_type in get_args(v2.PeerMessage)
        assert layout.struct.size <= (PEER_BODY if between_ends else CONTROL_BODY)


def test_layout_of_introduce_and_nominate_is_fixed() -> None:
    attempt, other = bytes(range(8)), bytes(range(8, 16))
    introduce = v2.Introduce(
        attempt,
        0x0102030405060708,
        Address("192.0.2.1", 5000),
        other,
        Address("2001:db8::1", 6000),
        b"c" * v2.SEALED_CARD_LENGTH,
        b"k" * v2.COOKIE_LENGTH,
        conflict=1,
    )
    assert (
        v2.pack(introduce)
        == bytes.fromhex(
            "0001020304050607 0102030405060708"
            "04 c0000201 000000000000000000000000 1388"
            "08090a0b0c0d0e0f"
            "06 20010db8000000000000000000000001 1770"
        )
        + (b"c" * v2.SEALED_CARD_LENGTH)
        + (b"k" * v2.COOKIE_LENGTH)
        + b"\x01"
    )
    nominate = v2.Nominate(attempt, other, b"sequence", 3, 0x01020304)
    assert v2.pack(nominate) == attempt + other + b"sequence" + b"\x03\x01\x02\x03\x04"


def test_layout_of_a_binding_is_fixed() -> None:
    attempt = bytes(range(8))
    bind = v2.Bind(attempt, 0x0102030405060708, b"k" * v2.COOKIE_LENGTH)
    assert v2.pack(bind) == attempt + bytes.fromhex("0102030405060708") + b"k" * 15
    bound = v2.Bound(attempt, 9, Address("192.0.2.1", 5000), partner_bound=1, lifetime=120)
    assert v2.pack(bound) == attempt + bytes.fromhex(
        "0000000000000009 04 c0000201 000000000000000000000000 1388 01 00000078"
    )


def test_observed_without_a_relay_is_what_a_control_without_relays_sends() -> None:
    observed = v2.Observed(b"echoecho", Address("192.0.2.1", 5000))
    older = b"echoecho" + pack_address(observed.observed)
    assert v2.pack(observed).ljust(CONTROL_BODY, b"\0") == older.ljust(CONTROL_BODY, b"\0")
    assert v2.unpack(v2.Kind.OBSERVED, older.ljust(CONTROL_BODY, b"\0")) == observed
    relayed = v2.pack(observed._replace(relay_port=0x1234, relay_more=0x0102))
    assert relayed == older + b"\x12\x34\x01\x02"
    with_one_port = (older + b"\x12\x34").ljust(CONTROL_BODY, b"\0")
    assert v2.unpack(v2.Kind.OBSERVED, with_one_port) == observed._replace(relay_port=0x1234)


@given(addresses)
def test_unpacking_a_packed_address_gives_the_address(address: Address) -> None:
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
def test_layout_of_an_address_is_fixed(address: Address, packed: str) -> None:
    assert pack_address(address) == bytes.fromhex(packed)


@pytest.mark.parametrize("family", [0, 1, 5, 7, 255])
def test_address_of_an_unknown_family_is_malformed(family: int) -> None:
    with pytest.raises(Malformed):
        unpack_address(bytes([family]) + bytes(18))


def test_ipv4_mapped_address_is_unpacked_as_ipv4() -> None:
    """So that no IPv4-mapped form evades the rules for addresses."""
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
