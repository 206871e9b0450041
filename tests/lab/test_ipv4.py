from __future__ import annotations

import pytest

from netpunch.address import Address
from tests.lab.ipv4 import HEADER, build, checksum, parse
from tests.sim.network import Datagram

HERE, THERE = Address("192.168.1.10", 5000), Address("203.0.113.10", 10001)
DATAGRAM = Datagram(b"payload", HERE, THERE, 64)
PACKET = bytes.fromhex(
    "45000023 6a824000 4011d28a c0a8010a cb00710a 13882711 000f0a4a 7061796c6f6164"
)
"""DATAGRAM as Linux sent it into a TUN device."""
IDENTIFICATION, HEADER_SUM, UDP_SUM = slice(4, 6), slice(10, 12), slice(26, 28)


def test_a_packet_of_the_kernel_is_parsed() -> None:
    assert parse(PACKET) == DATAGRAM


def test_a_packet_is_built_as_by_the_kernel() -> None:
    """But for the identification, which it need not have (RFC 6864)."""
    expected = bytearray(PACKET)
    expected[IDENTIFICATION] = expected[HEADER_SUM] = b"\0\0"
    expected[HEADER_SUM] = checksum(bytes(expected[: HEADER.size])).to_bytes(2)
    assert build(DATAGRAM) == expected


def test_a_checksum_is_right_for_the_kernels_packet() -> None:
    assert checksum(PACKET[: HEADER.size]) == 0
    assert checksum(PACKET[: HEADER.size - 1] + b"\x00") != 0


@pytest.mark.parametrize("length", [0, 1, 2, 127, 128, 1472])
def test_what_is_built_is_parsed(length: int) -> None:
    datagram = DATAGRAM._replace(data=bytes(i % 251 for i in range(length)), ttl=2)
    packet = build(datagram)
    assert checksum(packet[: HEADER.size]) == 0
    assert parse(packet) == datagram


def test_options_and_padding_are_skipped() -> None:
    options = b"\x01\x01\x01\x00"
    packet = b"\x46" + PACKET[1 : HEADER.size] + options + PACKET[HEADER.size :] + b"padding"
    assert parse(packet) == DATAGRAM


@pytest.mark.parametrize(
    ("offset", "value"),
    [(0, 0x65), (6, 0x20), (7, 0x01), (9, 6)],
    ids=["IPv6", "first fragment", "later fragment", "TCP"],
)
def test_other_packets_are_no_datagrams(offset: int, value: int) -> None:
    assert parse(PACKET[:offset] + bytes([value]) + PACKET[offset + 1 :]) is None


@pytest.mark.parametrize("length", [0, 19])
def test_torn_packets_are_no_datagrams(length: int) -> None:
    assert parse(PACKET[:length]) is None


def test_a_packet_too_short_for_a_udp_header_is_no_datagram() -> None:
    assert parse(PACKET[:2] + b"\x00\x1b" + PACKET[4:27]) is None


def test_a_sum_of_zero_is_sent_as_ones() -> None:
    """Zero on the wire would mean that there is no checksum."""
    other = build(DATAGRAM._replace(data=b"\x00\x00"))
    packet = build(DATAGRAM._replace(data=other[UDP_SUM]))
    assert packet[UDP_SUM] == b"\xff\xff"
