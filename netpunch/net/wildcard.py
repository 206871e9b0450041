"""A control that is bound to every address answers from the one that was asked.

An end takes an answer only from the address it asked, and so does its NAT. From a wildcard
socket the system answers with whatever address its routes prefer, on a host with several the
wrong one. So the first datagram to an address gets that address a socket of its own, which the
kernel then prefers to the wildcard. Addresses that come later work by themselves, and after its
first datagram each is served by a socket that knows its address.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Iterator, Mapping

from netpunch.core.events import Via
from netpunch.errors import lack_behind
from netpunch.net.driver import Driver, Endpoint, clock
from netpunch.net.pktinfo import IP_PKTINFO, PKTINFO, PKTINFO6
from netpunch.net.sockets import WILDCARDS, SocketOptions, open_socket

if sys.platform == "linux":
    from netpunch.net.crowd import CrowdEndpoint as PlainEndpoint
else:
    PlainEndpoint = Endpoint

MAX_ADDRESSES = 64
"""Sockets per wildcard: whoever asks on all addresses of a routed /64 gets no more."""

ANCILLARY_SIZE = 64
"""Bytes: more than the header and one of these structures take."""


def open_listener(driver: Driver, sockets: Mapping[Via, socket.socket]) -> None:
    """`driver.open()` for a control: its wildcard sockets answer from the address asked.

    Linux only; elsewhere they are opened as they are."""
    driver.open(sockets, endpoint=_endpoint)


def _endpoint(driver: Driver, via: Via, sock: socket.socket) -> Endpoint:
    is_wildcard = sock.getsockname()[0] in WILDCARDS.values()
    kind = WildcardEndpoint if is_wildcard and sys.platform == "linux" else PlainEndpoint
    return kind(driver, via, sock)


class WildcardEndpoint(Endpoint):
    """A wildcard socket that knows to which address each datagram was sent."""

    __slots__ = ("_via_of",)

    def __init__(self, driver: Driver, via: Via, sock: socket.socket) -> None:
        super().__init__(driver, via, sock)
        self._via_of: dict[str, Via] = {}
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)

    def _read_one(self) -> bool:
        driver = self._driver
        try:
            data, ancillary, _flags, source = self._sock.recvmsg(
                driver.max_datagram, ANCILLARY_SIZE
            )
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
        """A socket for `host`; if there can't be one, the wildcard goes on answering for it: for
        good, unless it was only for now that the system had none left."""
        try:
            self._via_of[host] = self._driver.attach(
                _bind_beside(self._sock, host), endpoint=PlainEndpoint
            ).via
        except OSError as error:
            if lack_behind(error) is None:
                self._via_of[host] = self.via


def asked_address(ancillary: list[tuple[int, int, bytes]]) -> str | None:
    """The unicast address a datagram was sent to, None when it was none."""
    for level, kind, data in ancillary:
        if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
            _interface, answer_from, destination = PKTINFO.unpack_from(data)
            # They differ for broadcast and multicast.
            unicast = answer_from == destination
            return socket.inet_ntop(socket.AF_INET, destination) if unicast else None
        if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
            destination, _interface = PKTINFO6.unpack_from(data)
            unicast = destination[0] != 0xFF
            return socket.inet_ntop(socket.AF_INET6, destination) if unicast else None
    return None


def _bind_beside(wildcard: socket.socket, host: str) -> socket.socket:
    """A socket on the wildcard's port, and its like in all but the address."""
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
    """Linux compares the flags of both sockets as they are at bind(): these may share a port,
    and nobody else may afterwards."""
    try:
        for sock in sockets:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        yield
    finally:
        for sock in sockets:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
