"""UDP over IPv4 as bytes, to and from the virtual network's datagrams."""

from __future__ import annotations

import socket
import struct

from netpunch.address import Address
from tests.sim.network import Datagram

HEADER = struct.Struct("!BBHHHBBH4s4s")
"""RFC 791: version and length, service, total length, identification, fragment, TTL, protocol,
checksum, source, destination."""
UDP_HEADER = struct.Struct("!HHHH")
"""RFC 768: source port, destination port, length, checksum."""
PSEUDO_HEADER = struct.Struct("!4s4sBBH")
"""RFC 768: source, destination, zero, protocol, UDP length: summed, never sent."""
VERSION_4 = 4
WITHOUT_OPTIONS = VERSION_4 << 4 | HEADER.size // 4
DONT_FRAGMENT = 0x4000
FRAGMENT = 0x3FFF
"""More fragments follow, or this one is not the first."""


def parse(packet: bytes) -> Datagram | None:
    """The datagram in a packet; None if it is anything else, or only a fragment of one."""
    if len(packet) < HEADER.size or packet[0] >> 4 != VERSION_4:
        return None
    first, _, total, _, fragment, ttl, protocol, _, source, destination = HEADER.unpack_from(packet)
    start = (first & 0x0F) * 4
    if protocol != socket.IPPROTO_UDP or fragment & FRAGMENT or total < start + UDP_HEADER.size:
        return None
    source_port, destination_port, length, _ = UDP_HEADER.unpack_from(packet, start)
    return Datagram(
        packet[start + UDP_HEADER.size : start + length],
        Address(socket.inet_ntoa(source), source_port),
        Address(socket.inet_ntoa(destination), destination_port),
        ttl,
    )


def build(datagram: Datagram) -> bytes:
    """The whole packet, with both checksums."""
    payload, source, destination, ttl = datagram
    ends = socket.inet_aton(source.host), socket.inet_aton(destination.host)
    length = UDP_HEADER.size + len(payload)
    udp = (source.port, destination.port, length)
    pseudo = PSEUDO_HEADER.pack(*ends, 0, socket.IPPROTO_UDP, length)
    # A sum of zero is sent as its other form: zero itself means that there is none (RFC 768).
    udp_sum = checksum(pseudo + UDP_HEADER.pack(*udp, 0) + payload) or 0xFFFF
    ip = (WITHOUT_OPTIONS, 0, HEADER.size + length, 0, DONT_FRAGMENT, ttl, socket.IPPROTO_UDP)
    ip_sum = checksum(HEADER.pack(*ip, 0, *ends))
    return HEADER.pack(*ip, ip_sum, *ends) + UDP_HEADER.pack(*udp, udp_sum) + payload


def checksum(data: bytes) -> int:
    """RFC 1071; zero over data that contains its own, correct checksum."""
    padded = data + bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
