"""This host's own addresses, as candidates for partners in the same network."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from netpunch.address import Address, is_pingable

# Interface flags, the same on Linux (netdevice(7)) and the BSDs.
IFF_UP = 0x1
IFF_POINTOPOINT = 0x10

# Address flags of Linux, linux/if_addr.h.
IFA_F_TEMPORARY = 0x01
IFA_F_DEPRECATED = 0x20

IN6_ADDRESSES = Path("/proc/net/if_inet6")
INTERFACES = Path("/sys/class/net")

IP_IN_SOCKADDR = {int(socket.AF_INET): (4, 4), int(socket.AF_INET6): (8, 16)}
"""Offset and length of the IP in struct sockaddr_in and sockaddr_in6, the same everywhere."""

SOMEWHERE = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
"""Documentation addresses, never sent to: connect() only asks the routing table."""

UNIQUE_LOCAL = ipaddress.IPv6Network("fc00::/7")


class InterfaceAddress(NamedTuple):
    """One IP (canonical) of one interface, with the interface's IFF_ flags."""

    interface: str
    flags: int
    host: str


def host_addresses() -> list[str]:
    """The canonical IPs that a partner in the same network may reach this host at.

    Of interfaces that are up; no loopback, no link-local, no deprecated ones, none of
    point-to-point, tun or tap interfaces: a path through the VPN that is to be built would cut
    itself off. IPv4 first, then IPv6; those that the default route uses before others (bridges
    of containers), IPv6 global before unique local and stable before temporary. Empty where the
    system can't tell."""
    try:
        found = _getifaddrs()
    except (OSError, AttributeError, ImportError):
        return []
    return candidate_hosts(found, ipv6_flags=_ipv6_flags(), preferred=_preferred_hosts())


def candidate_hosts(
    found: Iterable[InterfaceAddress], *, ipv6_flags: dict[str, int], preferred: set[str]
) -> list[str]:
    """The rules of `host_addresses`. `ipv6_flags`: IFA_ flags by host, where known;
    `preferred`: the sources the system would choose towards the Internet."""

    def order(host: str) -> tuple[bool, bool, bool, bool]:
        ip = ipaddress.ip_address(host)
        temporary = bool(ipv6_flags.get(host, 0) & IFA_F_TEMPORARY)
        return (ip.version == 6, ip in UNIQUE_LOCAL, temporary, host not in preferred)

    hosts = {
        host: None
        for interface, flags, host in found
        if flags & IFF_UP
        and not flags & IFF_POINTOPOINT
        and not ipv6_flags.get(host, 0) & IFA_F_DEPRECATED
        and is_pingable(Address(host, 1), loopback=False)
        and not _is_tap(interface)
    }
    return sorted(hosts, key=order)


def _is_tap(interface: str) -> bool:
    return (INTERFACES / interface / "tun_flags").exists()


def _ipv6_flags() -> dict[str, int]:
    """IFA_ flags by host from Linux's /proc/net/if_inet6; empty elsewhere."""
    try:
        lines = IN6_ADDRESSES.read_text("ascii").splitlines()
    except OSError:
        return {}
    fields = [line.split() for line in lines]  # address, index, prefix, scope, flags, interface
    return {str(ipaddress.IPv6Address(bytes.fromhex(f[0]))): int(f[4], 16) for f in fields}


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

    class Ifaddrs(ctypes.Structure):
        """The head of struct ifaddrs, the same on Linux, macOS and the BSDs."""

    Ifaddrs._fields_ = [
        ("next", ctypes.POINTER(Ifaddrs)),
        ("name", ctypes.c_char_p),
        ("flags", ctypes.c_uint),
        ("address", ctypes.c_void_p),
    ]
    libc = ctypes.CDLL(None, use_errno=True)
    libc.freeifaddrs.argtypes = [ctypes.POINTER(Ifaddrs)]
    libc.freeifaddrs.restype = None
    first = ctypes.POINTER(Ifaddrs)()
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


def _host_at(sockaddr: int) -> str | None:
    """The IP of the struct sockaddr at this place in memory, None when it has none."""
    from ctypes import string_at

    start = string_at(sockaddr, 2)  # BSD: a length and the family, a byte each
    family = int.from_bytes(start, sys.byteorder) if sys.platform == "linux" else start[1]
    if family not in IP_IN_SOCKADDR:
        return None
    offset, length = IP_IN_SOCKADDR[family]
    return socket.inet_ntop(family, string_at(sockaddr + offset, length))
