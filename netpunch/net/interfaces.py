"""This host's own addresses, as candidates for partners in the same network."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import sys
from collections.abc import Collection, Iterable
from functools import cache
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

from netpunch.address import Address, is_pingable
from netpunch.net.routes import default_gateways

# Interface flags, the same on Linux (netdevice(7)) and the BSDs.
IFF_UP = 0x1
IFF_POINTOPOINT = 0x10

# Address flags of Linux, linux/if_addr.h.
IFA_F_TEMPORARY = 0x01
IFA_F_OPTIMISTIC = 0x04
IFA_F_DADFAILED = 0x08
IFA_F_DEPRECATED = 0x20
IFA_F_TENTATIVE = 0x40

IN6_ADDRESSES = Path("/proc/net/if_inet6")
INTERFACES = Path("/sys/class/net")

IP_IN_SOCKADDR = {int(socket.AF_INET): (4, 4), int(socket.AF_INET6): (8, 16)}
"""Offset and length of the IP in struct sockaddr_in and sockaddr_in6, the same everywhere."""

SOMEWHERE = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
"""Documentation addresses, never sent to: connect() only asks the routing table."""

CACHE_SECONDS = 1.0
"""Seconds for which the attempts of a process share what was found: with thousands of addresses
reading the interfaces takes tens of milliseconds, and many pairs start at the same moment."""

UNIQUE_LOCAL = ipaddress.IPv6Network("fc00::/7")


class InterfaceAddress(NamedTuple):
    """One IP (canonical) of one interface, with the interface's IFF_ flags."""

    interface: str
    flags: int
    host: str


_cached: tuple[float, tuple[str, ...]] | None = None
"""When the interfaces were read (monotonic()), and what was found."""


def host_addresses(*, afresh: bool = False) -> tuple[str, ...]:
    """The canonical IPs at which a partner in the same network may reach this host, at most
    CACHE_SECONDS old, or read `afresh`; none where the system can't tell.

    Left out: interfaces that are down; loopback, link-local and deprecated addresses; those of
    point-to-point, tun and tap interfaces, as a path through the VPN that the link is to carry
    would cut itself off. Order: IPv4, then IPv6; in each family interfaces with a default route
    first and bridges (of containers and virtual machines) last; then IPv6 global before unique
    local and stable before temporary addresses."""
    global _cached
    now = monotonic()
    if afresh or _cached is None or now - _cached[0] >= CACHE_SECONDS:
        _cached = now, _read()
    return _cached[1]


def _read() -> tuple[str, ...]:
    try:
        found = _getifaddrs()
    except (OSError, AttributeError, ImportError):
        return ()
    preferred = _preferred_hosts()
    uplinks = {interface for interface, _, host in found if host in preferred}
    uplinks.update(gateway.interface for gateway in default_gateways())  # a VPN may hide those
    hosts = candidate_hosts(found, ipv6_flags=_ipv6_flags(), preferred=preferred, uplinks=uplinks)
    return tuple(hosts)


def usable_addresses() -> frozenset[tuple[str, str]]:
    """The addresses that this host can send from now, each with its interface; none where the
    system can't tell. IPv6 link-local ones, which every new interface has, are left out."""
    try:
        found = _getifaddrs()
    except (OSError, AttributeError, ImportError):
        return frozenset()
    flags = _ipv6_flags()
    return frozenset(
        (interface, host)
        for interface, interface_flags, host in found
        if interface_flags & IFF_UP
        and not _is_unusable(flags.get(host, 0))
        and not (":" in host and ipaddress.IPv6Address(host).is_link_local)
    )


def candidate_hosts(
    found: Iterable[InterfaceAddress],
    *,
    ipv6_flags: dict[str, int],
    preferred: Collection[str] = (),
    uplinks: Collection[str] = (),
) -> list[str]:
    """Selects and sorts by the rules of `host_addresses`. `ipv6_flags`: IFA_ flags by host, where
    known; `preferred`: the addresses that the system would send from to the Internet; `uplinks`:
    the interfaces with a default route."""
    is_tap, is_bridge = cache(_is_tap), cache(_is_bridge)

    def order(candidate: InterfaceAddress) -> tuple[bool, ...]:
        interface, _, host = candidate
        ipv6, uplink = ":" in host, interface in uplinks
        return (
            ipv6,
            not uplink,
            not uplink and is_bridge(interface),
            ipv6 and ipaddress.IPv6Address(host) in UNIQUE_LOCAL,
            bool(ipv6_flags.get(host, 0) & IFA_F_TEMPORARY),
            host not in preferred,
        )

    candidates = [
        each
        for each in found
        if each.flags & IFF_UP
        and not each.flags & IFF_POINTOPOINT
        and not ipv6_flags.get(each.host, 0) & IFA_F_DEPRECATED
        and is_pingable(Address(each.host, 1), loopback=False)
        and not is_tap(each.interface)
    ]
    return list(dict.fromkeys(each.host for each in sorted(candidates, key=order)))


def _is_tap(interface: str) -> bool:
    return (INTERFACES / interface / "tun_flags").exists()


def _is_bridge(interface: str) -> bool:
    return (INTERFACES / interface / "bridge").exists()


def _ipv6_flags() -> dict[str, int]:
    """IFA_ flags by host from Linux's /proc/net/if_inet6; empty elsewhere."""
    try:
        lines = IN6_ADDRESSES.read_text("ascii").splitlines()
    except OSError:
        return {}
    fields = [line.split() for line in lines]  # address, index, prefix, scope, flags, interface
    return {str(ipaddress.IPv6Address(bytes.fromhex(f[0]))): int(f[4], 16) for f in fields}


def _is_unusable(flags: int) -> bool:
    """Whether an IPv6 address is being checked for duplicates, or is one."""
    tentative = flags & IFA_F_TENTATIVE and not flags & IFA_F_OPTIMISTIC
    return bool(tentative or flags & IFA_F_DADFAILED)


def _preferred_hosts() -> set[str]:
    preferred = set()
    for family, destination in SOMEWHERE.items():
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((destination, 1))
            preferred.add(sock.getsockname()[0])
    return preferred


def _getifaddrs() -> list[InterfaceAddress]:
    """getifaddrs(3). Raises OSError; AttributeError where the C library lacks it."""
    if sys.platform == "win32":
        return []
    import ctypes

    libc, pointer = _libc()
    first = pointer()
    if libc.getifaddrs(ctypes.byref(first)) != 0:
        raise OSError(ctypes.get_errno(), "getifaddrs")
    found = []
    try:
        entry = first
        while entry:
            head = entry.contents
            host = _host_at(head.address) if head.address else None
            if host is not None:
                found.append(InterfaceAddress(os.fsdecode(head.name), head.flags, host))
            entry = head.next
    finally:
        libc.freeifaddrs(first)
    return found


@cache
def _libc() -> tuple[Any, Any]:
    """The C library, and the type of pointers to struct ifaddrs: making them takes longer than a
    call."""
    import ctypes

    class Ifaddrs(ctypes.Structure):
        """The head of struct ifaddrs, the same on Linux, macOS and the BSDs."""

    pointer = ctypes.POINTER(Ifaddrs)
    Ifaddrs._fields_ = [
        ("next", pointer),
        ("name", ctypes.c_char_p),
        ("flags", ctypes.c_uint),
        ("address", ctypes.c_void_p),
    ]
    libc = ctypes.CDLL(None, use_errno=True)
    libc.freeifaddrs.argtypes = [pointer]
    libc.freeifaddrs.restype = None
    return libc, pointer


def _host_at(sockaddr: int) -> str | None:
    """The IP of the struct sockaddr at this place in memory, or None."""
    from ctypes import string_at

    start = string_at(sockaddr, 2)  # BSD: a length and the family, a byte each
    family = int.from_bytes(start, sys.byteorder) if sys.platform == "linux" else start[1]
    if family not in IP_IN_SOCKADDR:
        return None
    offset, length = IP_IN_SOCKADDR[family]
    return socket.inet_ntop(family, string_at(sockaddr + offset, length))
