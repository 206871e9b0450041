"""NAT64: how a host in an IPv6-only network reaches IPv4 addresses (RFC 6052, RFC 7050).

The network's translator forwards datagrams to IPv6 addresses that hold an IPv4 one behind its
prefix. Name servers there (DNS64) give such addresses for names; for other addresses, such as a
partner's, the host has to know the prefix.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import NamedTuple

from netpunch.address import Address

LENGTHS = (96, 64, 56, 48, 40, 32)
"""Bits that a prefix may have, RFC 6052, 2.2; the usual one first."""
RESERVED_BYTE = 8
"""Bits 64 to 71 are zero: the IPv4 address is written around them."""
DISCOVERY_NAME = "ipv4only.arpa"
DISCOVERY_HOSTS = ("192.0.0.170", "192.0.0.171")
"""The IPv4 addresses of that name; it has IPv6 ones only where DNS64 makes them (RFC 7050)."""


class Nat64(NamedTuple):
    """A translator's prefix: its bytes up to `length` bits."""

    prefix: bytes
    length: int

    def translated(self, address: Address) -> Address:
        """Where an IPv4 address is reached through the translator."""
        packed = bytearray(16)
        packed[: len(self.prefix)] = self.prefix
        host = ipaddress.IPv4Address(address.host).packed
        for place, byte in zip(_places(self.length), host, strict=True):
            packed[place] = byte
        return Address(str(ipaddress.IPv6Address(bytes(packed))), address.port)

    def original(self, address: Address) -> Address | None:
        """The IPv4 address in an IPv6 one; None if that is not the translator's."""
        packed = ipaddress.ip_address(address.host).packed
        if len(packed) != 16 or not packed.startswith(self.prefix):
            return None
        host = bytes(packed[place] for place in _places(self.length))
        return Address(str(ipaddress.IPv4Address(host)), address.port)


WELL_KNOWN = Nat64(ipaddress.IPv6Address("64:ff9b::").packed[:12], 96)
"""RFC 6052, 2.1."""


def learned(synthesised: Iterable[Address], known: Iterable[str] = DISCOVERY_HOSTS) -> Nat64 | None:
    """The prefix of the first IPv6 address that holds one of the `known` IPv4 addresses, or has the
    well-known prefix. `synthesised` and `known` are addresses of one name."""
    packed = [ipaddress.IPv4Address(host).packed for host in known]
    for address in synthesised:
        if address.family != 6:
            continue
        if WELL_KNOWN.original(address) is not None:
            return WELL_KNOWN
        host = ipaddress.IPv6Address(address.host).packed
        for length in LENGTHS:
            held = bytes(host[place] for place in _places(length))
            if held in packed and not host[RESERVED_BYTE]:
                return Nat64(host[: length // 8], length)
    return None


def _places(length: int) -> list[int]:
    """Which bytes of the IPv6 address hold the IPv4 one."""
    first = length // 8
    return [place for place in range(first, first + 5) if place != RESERVED_BYTE][:4]
