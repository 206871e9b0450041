"""An address as 19 bytes of v2."""

from __future__ import annotations

import ipaddress
from socket import AF_INET, AF_INET6, inet_pton
from struct import Struct

from netpunch.address import Address

ADDRESS_LENGTH = 19
_LAYOUT = Struct("!B16sH")


class Malformed(Exception):  # noqa: N818 - a verdict on remote bytes that never leaves wire
    """Authentic bytes that make no message; the envelope turns it into a drop reason."""


def pack_address(address: Address) -> bytes:
    """Family (4 or 6), IP (IPv4 in the first four of 16 bytes), port."""
    host, port = address
    if ":" in host:
        return _LAYOUT.pack(6, inet_pton(AF_INET6, host), port)
    return _LAYOUT.pack(4, inet_pton(AF_INET, host), port)


def unpack_address(data: bytes) -> Address:
    """The inverse of `pack_address`, mapped IPv4 unwrapped. Raises Malformed."""
    family, ip, port = _LAYOUT.unpack(data)
    if family == 4:
        return Address(".".join(map(str, ip[:4])), port)
    if family == 6:
        v6 = ipaddress.IPv6Address(ip)
        return Address(str(v6.ipv4_mapped or v6), port)
    raise Malformed
