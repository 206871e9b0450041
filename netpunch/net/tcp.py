"""TCP sockets for TLS: listening, and connecting with the options of an end."""

from __future__ import annotations

import asyncio
import socket

from netpunch.address import Address
from netpunch.net.sockets import (
    MISSING_FAMILY,
    WILDCARDS,
    SocketOptions,
    apply_options,
    explained,
    literal,
)

BACKLOG = 128
"""Connections that the system keeps until they are accepted. More of a flood would only wait."""


def listen(host: str, port: int) -> socket.socket:
    """A listening, non-blocking socket. An empty host means all addresses, of IPv4 and IPv6 alike;
    those of IPv4 then look like ::ffff:192.0.2.1.

    Raises what `net.sockets.bind` raises."""
    if host:
        family, address = literal(host, port)
        return _listen(family, address, host, port)
    try:
        return _listen(socket.AF_INET6, ("::", port), host, port, both_families=True)
    except OSError:  # a host without IPv6
        wildcard = WILDCARDS[socket.AF_INET]
        return _listen(socket.AF_INET, (wildcard, port), wildcard, port)


def _listen(
    family: int,
    sockaddr: tuple[str | int, ...],
    host: str,
    port: int,
    *,
    both_families: bool = False,
) -> socket.socket:
    sock: socket.socket | None = None
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not both_families)
        sock.bind(sockaddr)
        sock.listen(BACKLOG)
    except BaseException as error:
        if sock is not None:
            sock.close()
        if not isinstance(error, OSError) or (both_families and error.errno in MISSING_FAMILY):
            raise
        raise explained(error, host or WILDCARDS[socket.AF_INET6], port, "TCP") from error
    return sock


async def connect(address: Address, options: SocketOptions) -> socket.socket:
    """A connected, non-blocking socket. Raises OSError, and what `net.sockets.bind` raises about
    the options."""
    family = socket.AF_INET6 if address.family == 6 else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        apply_options(options, sock)
        await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock
