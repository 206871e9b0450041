"""Datagrams in words, without anything secret in them."""

from __future__ import annotations

import pytest

from netpunch.address import Address
from netpunch.core.describe import describe
from netpunch.wire import v2
from tests.core.v2_pair import CONTROL_CHANNELS, PEER_CHANNELS, A, seal

ATTEMPT, OTHER = b"\x01" * 8, b"\x02" * 8
CONTROL = CONTROL_CHANNELS["a"]
PEER = PEER_CHANNELS["a"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (
            seal(CONTROL.to_control, v2.Announce(ATTEMPT, 7, b"k" * 15, 1, b"c" * 268)),
            "ANNOUNCE attempt=0101010101010101 counter=7 purpose=1",
        ),
        (
            seal(CONTROL.from_control, v2.Challenge(ATTEMPT, 7, b"k" * 15)),
            "CHALLENGE attempt=0101010101010101 counter=7 conflict=0",
        ),
        (
            seal(CONTROL.from_control, v2.Observed(OTHER, Address("2001:db8::1", 5))),
            "OBSERVED echo=0202020202020202 observed=[2001:db8::1]:5 relay_port=0 relay_more=0",
        ),
        (
            seal(PEER.outgoing, v2.Accept(ATTEMPT, OTHER, b"\x03" * 8)),
            "ACCEPT sender=0101010101010101 receiver=0202020202020202 sequence=0303030303030303",
        ),
        (
            seal(PEER.incoming, v2.Pong(OTHER, ATTEMPT, b"\x03" * 8, A)),
            "PONG sender=0202020202020202 receiver=0101010101010101 sequence=0303030303030303"
            " source=198.51.100.1:5000",
        ),
        (b"", "0 bytes: malformed"),
        (b"a VPN's", "7 bytes: malformed"),
        (bytes(384), "384 bytes: malformed"),
        (bytes(128), "128 bytes: malformed"),
        (
            seal(CONTROL_CHANNELS["b"].to_control, v2.Leave(ATTEMPT, 1)),
            "384 bytes: malformed",
        ),
    ],
)
def test_a_datagram_in_words(data: bytes, words: str) -> None:
    assert describe(data, [CONTROL], [PEER]) == words


def test_what_does_not_authenticate_is_told_as_such() -> None:
    damaged = bytearray(seal(PEER.incoming, v2.Accept(ATTEMPT, OTHER, b"\x03" * 8)))
    damaged[-1] ^= 1
    assert describe(bytes(damaged), [CONTROL], [PEER]) == "128 bytes: bad_mac"


def test_control_reads_nothing_that_ends_tell_each_other() -> None:
    data = seal(PEER.incoming, v2.Accept(ATTEMPT, OTHER, b"\x03" * 8))
    assert describe(data, [CONTROL]) == "128 bytes: malformed"
