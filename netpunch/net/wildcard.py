"""Wildcard sockets that answer from the address that was asked.

An end accepts an answer only from the address that it asked, and so does its NAT. From a wildcard
socket the system answers with the address that its routes prefer: on a host with several, the wrong
one. So on the first datagram to an address a socket is bound to that address, which the kernel then
prefers to the wildcard. Addresses that the host gets later work in the same way.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Iterator

from netpunch.core.events import Via
from netpunch.errors import lack_behind
from netpunch.net.driver import Driver, Endpoint, EndpointFactory, clock
from netpunch.net.sockets import (
    IP_PKTINFO,
    WILDCARDS,
    SocketOptions,
    asked_address,
    open_socket,
)

MAX_ADDRESSES = 64
"""Sockets for each wildcard, even if ends ask on all addresses of a routed /64."""

ANCILLARY_SIZE = 64
"""Bytes: more than the header and one structure of IP_PKTINFO take."""


def on_wildcard(beside: EndpointFactory, driver: Driver, via: Via, sock: socket.socket) -> Endpoint:
    """An endpoint of this kind or, for a wildcard on Linux, one that opens such ones beside it."""
    is_wildcard = sock.getsockname()[0] in WILDCARDS.values()
    if is_wildcard and sys.platform == "linux":
        return WildcardEndpoint(driver, via, sock, beside)
    return beside(driver, via, sock)


class WildcardEndpoint(Endpoint):
    """A wildcard socket that knows to which address each datagram was sent. `beside` makes the
    endpoints of the sockets that it opens for these addresses."""

    __slots__ = ("_beside", "_via_of")

    def __init__(
        self,
        driver: Driver,
        via: Via,
        sock: socket.socket,
        beside: EndpointFactory,
    ) -> None:
        super().__init__(driver, via, sock)
        self._beside = beside
        self._via_of: dict[str, Via] = {}
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)

    def _read_one(self) -> bool:
        driver = self._driver
        try:
            data, ancillary, _flags, source = self._sock.recvmsg(self.room, ANCILLARY_SIZE)
        except OSError as error:
            self._count(error)
            return False
        via = self._via_for(asked_address(ancillary))
        driver.take(data, self._address_of(source), clock(), via)
        return True

    def _via_for(self, asked: str | None) -> Via:
        if asked is None:
            return self.via
        if asked not in self._via_of:
            if len(self._via_of) < MAX_ADDRESSES:
                self._open_beside(asked)
            return self._via_of.get(asked, self.via)
        return self._via_of[asked]

    def _open_beside(self, host: str) -> None:
        """Opens a socket for `host`. If that fails, the wildcard goes on answering for it: for
        good, unless the system only lacked resources."""
        try:
            self._via_of[host] = self._driver.attach(
                _bind_beside(self._sock, host), endpoint=self._beside
            ).via
        except OSError as error:
            if lack_behind(error) is None:
                self._via_of[host] = self.via


def _bind_beside(wildcard: socket.socket, host: str) -> socket.socket:
    """A socket on the wildcard's port, like it in all but the address."""
    doubled = wildcard.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)  # by Linux: socket(7)
    sock = open_socket(wildcard.family, SocketOptions(receive_buffer=doubled // 2))
    try:
        with _sharing_allowed(wildcard, sock):
            sock.bind((host, wildcard.getsockname()[1]))
    except BaseException:
        sock.close()
        raise
    return sock


@contextlib.contextmanager
def _sharing_allowed(*sockets: socket.socket) -> Iterator[None]:
    """Lets these sockets share a port, and no other ones afterwards: Linux compares the flags that
    sockets have at bind()."""
    try:
        for sock in sockets:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        yield
    finally:
        for sock in sockets:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
