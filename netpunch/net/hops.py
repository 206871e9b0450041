"""Which routers a datagram passes, as traceroute finds out: one that lives for so many hops is
reported by the router at which it ends. Linux only; elsewhere nothing is known."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys

from netpunch.address import Address
from netpunch.errors import NetpunchError
from netpunch.net.silence import UNUSED_PORT
from netpunch.net.sockets import Bind, connected

IP_RECVERR = 11
"""linux/in.h; Python's socket module has no name for it."""
TIME_EXCEEDED = 11
"""The ICMP type."""
EXTENDED_ERROR = struct.Struct("=IBBBxII")
"""sock_extended_err of linux/errqueue.h: errno, origin, ICMP type and code, two more numbers. The
address of the reporter follows, as a sockaddr_in: family, port, address."""
REPORTER = slice(EXTENDED_ERROR.size + 4, EXTENDED_ERROR.size + 8)
PATIENCE = 1.0
"""Seconds for a report: routers of this network and the next answer in some 10 ms."""
ROOM = 512


async def router_at(hops: int, towards: Address, bind: Bind) -> str:
    """The address of the router so many hops away on the way to an IPv4 address; empty if none
    reports."""
    if sys.platform != "linux" or towards.family != 4:
        return ""
    try:
        sock = connected(towards._replace(port=UNUSED_PORT), bind)
    except (NetpunchError, OSError):
        return ""
    with sock:
        sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hops)
        sock.setblocking(False)
        return await _reported(sock)


async def _reported(sock: socket.socket) -> str:
    loop, reported = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(sock, reported.set)
    try:
        sock.send(b"")
        async with asyncio.timeout(PATIENCE):
            await reported.wait()
        _, ancillary, _, _ = sock.recvmsg(ROOM, ROOM, socket.MSG_ERRQUEUE)
    except (TimeoutError, OSError):
        return ""
    finally:
        loop.remove_reader(sock)
    for level, kind, data in ancillary:
        if (level, kind) == (socket.IPPROTO_IP, IP_RECVERR) and len(data) >= REPORTER.stop:
            _, _, icmp_type, *_ = EXTENDED_ERROR.unpack_from(data)
            if icmp_type == TIME_EXCEEDED:
                return socket.inet_ntoa(data[REPORTER])
    return ""
