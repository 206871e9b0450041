"""The own address of a datagram, where the socket has none: IP_PKTINFO and IPV6_PKTINFO."""

from __future__ import annotations

import socket
import struct

IP_PKTINFO = 8
"""Linux's number, in linux/in.h; Python's socket module has the name since 3.14 only."""

PKTINFO = struct.Struct("@i4s4s")
"""struct in_pktinfo, ip(7): interface, address to send from, destination in the header."""

PKTINFO6 = struct.Struct("@16sI")
"""struct in6_pktinfo, RFC 3542: destination (of one to send: its source), interface."""

Ancillary = list[tuple[int, int, bytes]]
"""As `socket.sendmsg` takes it and `socket.recvmsg` gives it."""


def send_from(host: str) -> Ancillary:
    """Lets sendmsg() on a wildcard socket send from this own address. Linux only."""
    if ":" in host:
        packed = PKTINFO6.pack(socket.inet_pton(socket.AF_INET6, host), 0)
        return [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, packed)]
    packed = PKTINFO.pack(0, socket.inet_pton(socket.AF_INET, host), bytes(4))
    return [(socket.IPPROTO_IP, IP_PKTINFO, packed)]
