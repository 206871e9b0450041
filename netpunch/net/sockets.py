"""Binding UDP sockets, with errors that people can act on."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
import sys

from netpunch.address import Address
from netpunch.errors import (
    MORE_FILES_ADVICE,
    ConfigurationError,
    NetpunchError,
    PermissionsError,
    PortInUseError,
    ResourcesError,
)

WILDCARDS = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}  # noqa: S104

FRESH_PORT_ATTEMPTS = 16
"""A port that the system chose for IPv4 is seldom taken in IPv6; 16 times in a row it is not."""

MISSING_FAMILY = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}
"""How a host without IPv6 (or without IPv4) answers to its wildcard."""

EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
"""The system has none left now; later it may."""

SHOW_OWNER = "ss -ulpn 'sport = :{}'" if sys.platform == "linux" else "lsof -nP -iUDP:{}"
"""The command that tells who has a port."""


MEMINFO_OPTION = 55
"""SO_MEMINFO, asm-generic/socket.h; Python's socket module has no name for it."""

MEMINFO = struct.Struct("@9I")
"""The SK_MEMINFO_… of linux/sock_diag.h; the last, SK_MEMINFO_DROPS, counts full queues."""


def bind(host: str, port: int, *, receive_buffer: int = 0) -> list[socket.socket]:
    """Bound, non-blocking UDP sockets; all or none.

    `host` is an IP literal (one socket), or empty: every address of the families this host has,
    one socket each, on the same port. Port 0: a fresh one. `receive_buffer`: bytes to ask the
    system for, 0 for its default.

    The port is never shared. Raises PortInUseError, PermissionsError, ConfigurationError, and
    ResourcesError when the system has no socket left."""
    if host:
        return [_bind_literal(host, port, receive_buffer)]
    attempts = 1 if port else FRESH_PORT_ATTEMPTS
    while True:
        attempts -= 1
        try:
            return _bind_wildcards(port, receive_buffer)
        except PortInUseError:
            if attempts == 0:
                raise


def queue_drops(sock: socket.socket) -> int:
    """How many datagrams the system threw away because the receive queue was full. Linux only;
    elsewhere, and where it is not known, 0."""
    if sys.platform != "linux":
        return 0
    try:
        drops: int = MEMINFO.unpack(
            sock.getsockopt(socket.SOL_SOCKET, MEMINFO_OPTION, MEMINFO.size)
        )[-1]
    except (OSError, struct.error):  # before Linux 4.12
        return 0
    return drops


def _bind_wildcards(port: int, receive_buffer: int) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    for family, host in WILDCARDS.items():
        try:
            sock = _bind(family, (host, port), receive_buffer)
        except OSError as error:
            if error.errno in MISSING_FAMILY:
                continue
            for sock in sockets:
                sock.close()
            raise _explained(error, host, port) from error
        sockets.append(sock)
        port = sock.getsockname()[1]
    if not sockets:
        raise ConfigurationError("this host has neither IPv4 nor IPv6")
    return sockets


def _bind_literal(host: str, port: int, receive_buffer: int) -> socket.socket:
    numeric = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    try:
        # As bytes: for text Python would import its IDNA codec, which takes a descriptor, and time.
        found = socket.getaddrinfo(host.encode(), port, type=socket.SOCK_DGRAM, flags=numeric)
    except (socket.gaierror, UnicodeError) as error:
        raise ConfigurationError(
            f"{host!r} is no IP address: a local address is given as one, like 192.0.2.1:5000, "
            "or as :5000 for all addresses of this host"
        ) from error
    family, *_, sockaddr = found[0]
    try:
        return _bind(family, sockaddr, receive_buffer)
    except OSError as error:
        raise _explained(error, host, port) from error


def _bind(
    family: int, sockaddr: tuple[str | int, ...] | tuple[int, bytes], receive_buffer: int
) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if receive_buffer:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.bind(sockaddr)
    except BaseException:
        sock.close()
        raise
    return sock


def _explained(error: OSError, host: str, port: int) -> NetpunchError:
    address = Address(host, port)
    match error.errno:
        case errno.EADDRINUSE if port:
            return PortInUseError(
                f"{address} is in use by another socket: `{SHOW_OWNER.format(port)}` shows whose; "
                "stop that program or choose another port"
            )
        case errno.EADDRINUSE:
            return PortInUseError(f"{host} has no free port left")
        case errno.EACCES | errno.EPERM:
            return PermissionsError(
                f"{address} may not be bound: ports below 1024 need root or CAP_NET_BIND_SERVICE"
            )
        case number if number in EXHAUSTED:
            advice = f"; {MORE_FILES_ADVICE}" if number == errno.EMFILE else ""
            return ResourcesError(f"{address} cannot be bound: {error.strerror}{advice}")
        case errno.EADDRNOTAVAIL | errno.EAFNOSUPPORT:
            return ConfigurationError(
                f"{address} cannot be bound: {host} is no address of this host; "
                f"choose one of its own, or :{port} for all of them"
            )
        case _:
            return ConfigurationError(f"{address} cannot be bound: {error.strerror}")
