"""The bodies of v2's messages."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netpunch.address import Address
from netpunch.wire import v2
from netpunch.wire.packed import Malformed
from tests.wire.v2_strategies import messages

CONTROL_BODY = 346
"""384 bytes without the envelope's 22 and the tag's 16."""
PEER_BODY = 90
"""128 bytes without the same."""


@given(messages)
def test_a_message_comes_back_as_it_went(message: v2.Message) -> None:
    kind = v2.LAYOUTS[type(message)].kind
    assert v2.unpack(kind, v2.pack(message)) == message


@given(messages, st.binary(max_size=50))
def test_readers_ignore_what_later_versions_append(message: v2.Message, later: bytes) -> None:
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
def test_a_truncated_body_is_malformed(message: v2.Message, data: st.DataObject) -> None:
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


def test_the_layout_is_fixed() -> None:
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
