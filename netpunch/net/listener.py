"""A control node on real sockets, which answers from the address that was asked.

An end accepts an answer only from the address that it asked, and so does its NAT. From a wildcard
socket the system answers with the address that its routes prefer: on a host with several, the wrong
one. So on the first datagram to an address the listener binds a socket to that address, which the
kernel then prefers to the wildcard. Addresses that the host gets later work in the same way.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from netpunch.address import Address
from netpunch.core.control.node import ControlNode
from netpunch.core.events import Event, Registered, Via
from netpunch.errors import NetpunchError, lack_behind
from netpunch.net.driver import Driver, Endpoint, Observer, clock
from netpunch.net.sockets import (
    IP_PKTINFO,
    WILDCARDS,
    SocketOptions,
    asked_address,
    bind,
    open_socket,
)
from netpunch.wire.envelope import CONTROL_DATAGRAM

if TYPE_CHECKING:
    import ssl

    from netpunch.net.tls_listener import TlsEndpoint

if sys.platform == "linux":
    from netpunch.net.batch import BatchEndpoint as PlainEndpoint
else:
    PlainEndpoint = Endpoint

RECEIVE_BUFFER = 4 * 1024 * 1024
"""Bytes: enough for 5,000 datagrams of 384 (with the kernel's overhead), so that a hook's fork or a
burst of a whole fleet drops nothing. The system may grant less."""

MAX_ADDRESSES = 64
"""Sockets for each wildcard, even if ends ask on all addresses of a routed /64."""

ANCILLARY_SIZE = 64
"""Bytes: more than the header and one structure of IP_PKTINFO take."""


class TlsAt(NamedTuple):
    """Where a control takes TLS connections, and with which certificate."""

    host: str
    port: int
    context: ssl.SSLContext


class Listener:
    """Binds every address of `listen`, (host, port) each, and serves from `open` to `close`. It
    binds those of `observe` if it can: without them ends don't learn how their NAT maps. With `tls`
    it takes the same datagrams over TLS, too.

    `observer` sees every event and, with `trace`, every datagram."""

    def __init__(
        self,
        machine: ControlNode,
        listen: Sequence[tuple[str, int]],
        *,
        observe: Sequence[tuple[str, int]] = (),
        tls: TlsAt | None = None,
        observer: Observer | None = None,
        trace: bool = True,
    ) -> None:
        self.addresses: list[Address] = []
        """The bound addresses: `listen`, then `observe`."""
        self.refused: list[NetpunchError] = []
        """Why some addresses of `observe` are not bound."""
        self.tls: TlsEndpoint | None = None
        """The TLS connections."""
        self._machine = machine
        self._listen = listen
        self._observe = observe
        self._tls = tls
        self._observer = observer
        self._trace = trace
        self._driver: Driver | None = None

    def open(self) -> None:
        """Binds and serves from now on. Raises what `net.sockets.bind` raises; then nothing is
        bound."""
        sockets: list[socket.socket] = []
        streams: socket.socket | None = None
        try:
            for host, port in self._listen:
                sockets += bind(host, port, SocketOptions(receive_buffer=RECEIVE_BUFFER))
            if self._tls is not None:
                from netpunch.net.tcp import listen  # few controls use it

                streams = listen(self._tls.host, self._tls.port)
        except BaseException:
            for sock in sockets:
                sock.close()
            raise
        for host, port in self._observe:
            try:
                sockets += bind(host, port)
            except NetpunchError as error:
                self.refused.append(error)
        self.addresses = [Address(*sock.getsockname()[:2]) for sock in sockets]
        self._driver = Driver(
            self._machine,
            on_event=self._take_event,
            observer=self._observer if self._trace else None,
            max_datagram=CONTROL_DATAGRAM + 1,  # one more byte shows that a datagram is too long
        )
        open_listener(self._driver, dict(enumerate(sockets)))
        if self._tls is not None and streams is not None:
            self._open_tls(self._driver, streams, self._tls)

    def close(self) -> None:
        """Closes the sockets: the ports are free when it returns."""
        if self._driver is not None:
            self._driver.close()

    def pump(self) -> None:
        """Call it after calling one of the machine's methods."""
        assert self._driver is not None
        self._driver.pump()

    @property
    def send_errors(self) -> Counter[str]:
        """How many datagrams the system refused to send, by errno name."""
        return self._driver.send_errors if self._driver is not None else Counter()

    @property
    def queue_drops(self) -> int:
        """How many datagrams the system dropped because they were not read in time."""
        return self._driver.queue_drops if self._driver is not None else 0

    def _open_tls(self, driver: Driver, sock: socket.socket, tls: TlsAt) -> None:
        from netpunch.net.tls_listener import TlsEndpoint

        endpoint = driver.attach(sock, endpoint=partial(TlsEndpoint, context=tls.context))
        assert isinstance(endpoint, TlsEndpoint)
        self.tls = endpoint

    def _take_event(self, event: Event) -> None:
        if self.tls is not None and isinstance(event, Registered):
            self.tls.registered(event.address)
        if self._observer is not None:
            self._observer(event)


def open_listener(driver: Driver, sockets: Mapping[Via, socket.socket]) -> None:
    """As `driver.open()`, but wildcard sockets answer from the address that was asked, on Linux."""
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
        """Opens a socket for `host`. If that fails, the wildcard goes on answering for it: for
        good, unless the system only lacked resources."""
        try:
            self._via_of[host] = self._driver.attach(
                _bind_beside(self._sock, host), endpoint=PlainEndpoint
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
