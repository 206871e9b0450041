"""UDP addresses as plain values, and which of them netpunch may send to.

An `Address` is always canonical: the shortest form of the IP, IPv4-mapped IPv6 unwrapped, no
scope. So equal addresses are equal tuples; it compares and hashes like `(host, port)`.
"""

import ipaddress
from typing import NamedTuple


class Address(NamedTuple):
    """An IP literal and a UDP port (0 to 65535)."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def family(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.host else 4


def canonical_host(text: str) -> str:
    """The canonical form of an IP literal; a scope (`%eth0`) is cut off.

    Raises ValueError if it is not an IP literal."""
    ip = ipaddress.ip_address(text.partition("%")[0])
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return str(mapped or ip)


def parse_address(text: str) -> Address:
    """`192.0.2.1:5000` or `[2001:db8::1]:5000`: literals only, names are not resolved.

    Raises ValueError."""
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ValueError(f"expected IP:PORT, got {text!r}")
    if (":" in host) != bracketed:
        raise ValueError(f"expected IPV4:PORT or [IPV6]:PORT, got {text!r}")
    return Address(canonical_host(host[1:-1] if bracketed else host), int(port))


def is_loopback(host: str) -> bool:
    """Whether a canonical host is in 127.0.0.0/8 or is ::1."""
    return host.startswith("127.") or host == "::1"


def is_private(host: str) -> bool:
    """Whether a canonical host is not reachable across the Internet: loopback, link-local, private
    (RFC 1918), shared by a carrier's customers (RFC 6598) or unique local (RFC 4193)."""
    if ":" in host:
        group = int(host.partition(":")[0] or "0", 16)
        return host == "::1" or group & 0xFE00 == 0xFC00 or group & 0xFFC0 == 0xFE80
    first, second = map(int, host.split(".", 2)[:2])
    return (
        first in (10, 127)
        or (first == 172 and 16 <= second < 32)
        or (first == 192 and second == 168)
        or (first == 169 and second == 254)
        or (first == 100 and 64 <= second < 128)
    )


def is_nat64(host: str) -> bool:
    """Whether a canonical host is an IPv4 address behind the NAT64 prefix 64:ff9b::/96 (RFC 6052).
    Only its last two groups differ from zero."""
    return host.startswith("64:ff9b::")


def is_pingable(address: Address, *, loopback: bool) -> bool:
    """Whether this end may send to an address that its control or partner named.

    Never to port 0, unspecified, multicast, broadcast and link-local addresses, and to loopback
    only with `loopback` (this end's control is itself on loopback). Otherwise a hostile control or
    partner could aim us, or a NAT64 translator, at services that trust their own host or link."""
    if address.port == 0:
        return False
    ip = ipaddress.ip_address(address.host)
    if is_nat64(address.host):
        original = str(ipaddress.IPv4Address(ip.packed[12:]))
        return is_pingable(Address(original, address.port), loopback=False)
    if ip.is_loopback:
        return loopback
    if ip.version == 4 and (ip.packed[0] == 0 or ip.packed[0] >= 240):
        return False  # "this network" and class E with the limited broadcast address
    return not (ip.is_unspecified or ip.is_multicast or ip.is_link_local)
