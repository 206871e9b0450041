"""A control node on real sockets."""

from __future__ import annotations

import socket
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from netpunch.address import Address
from netpunch.core.control.node import ControlNode
from netpunch.core.events import Event, Registered, Via
from netpunch.errors import NetpunchError
from netpunch.net.driver import Driver, Endpoint, Observer
from netpunch.net.sockets import SocketOptions, bind
from netpunch.net.wildcard import on_wildcard
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


class TlsAt(NamedTuple):
    """Where a control takes TLS connections, and with which certificate."""

    host: str
    port: int
    context: ssl.SSLContext


class Listener:
    """Binds every address of `listen`, (host, port) each, and serves from `open` to `close`. It
    binds those of `observe` if it can: without them ends don't learn how their NAT maps. It relays
    at every address of `relay`, which have one port. With `tls` it takes the same datagrams over
    TLS, too.

    `observer` sees every event and, with `trace`, every datagram."""

    def __init__(
        self,
        machine: ControlNode,
        listen: Sequence[tuple[str, int]],
        *,
        observe: Sequence[tuple[str, int]] = (),
        relay: Sequence[tuple[str, int]] = (),
        tls: TlsAt | None = None,
        observer: Observer | None = None,
        trace: bool = True,
    ) -> None:
        self.addresses: list[Address] = []
        """The bound addresses: `listen`, then `observe`."""
        self.relay_addresses: list[Address] = []
        self.refused: list[NetpunchError] = []
        """Why some addresses of `observe` are not bound."""
        self.tls: TlsEndpoint | None = None
        """The TLS connections."""
        self._machine = machine
        self._listen = listen
        self._observe = observe
        self._relay = relay
        self._tls = tls
        self._observer = observer
        self._trace = trace
        self._driver: Driver | None = None

    def open(self) -> None:
        """Binds and serves from now on. Raises what `net.sockets.bind` raises; then nothing is
        bound."""
        sockets: list[socket.socket] = []
        relaying: list[socket.socket] = []
        streams: socket.socket | None = None
        try:
            for host, port in self._listen:
                sockets += bind(host, port, SocketOptions(receive_buffer=RECEIVE_BUFFER))
            for host, port in self._relay:
                relaying += bind(host, port, SocketOptions(receive_buffer=RECEIVE_BUFFER))
            if self._tls is not None:
                from netpunch.net.tcp import listen  # few controls use it

                streams = listen(self._tls.host, self._tls.port)
        except BaseException:
            for sock in sockets + relaying:
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
        if relaying:
            self._open_relay(self._driver, relaying)
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

    def _open_relay(self, driver: Driver, sockets: Sequence[socket.socket]) -> None:
        from netpunch.net.relay import RelayPaths, relay_endpoint  # few controls relay

        relay = self._machine.v2.relay
        is_traced = self._trace and self._observer is not None
        make = partial(relay_endpoint, RelayPaths(relay), is_traced)
        self.relay_addresses = [driver.attach(sock, endpoint=make).local for sock in sockets]
        relay.port = self.relay_addresses[0].port

    def _open_tls(self, driver: Driver, sock: socket.socket, tls: TlsAt) -> None:
        from netpunch.net.tls_listener import TlsEndpoint

        endpoint = driver.attach(sock, endpoint=partial(TlsEndpoint, context=tls.context))
        assert isinstance(endpoint, TlsEndpoint)
        if self._relay:
            relay = self._machine.v2.relay
            relay.serve(endpoint.via)
            endpoint.on_gone = partial(relay.forget, endpoint.via)
        self.tls = endpoint

    def _take_event(self, event: Event) -> None:
        if self.tls is not None and isinstance(event, Registered):
            self.tls.registered(event.address)
        if self._observer is not None:
            self._observer(event)


def open_listener(driver: Driver, sockets: Mapping[Via, socket.socket]) -> None:
    """As `driver.open()`, but wildcard sockets answer from the address that was asked, on Linux."""
    driver.open(sockets, endpoint=partial(on_wildcard, PlainEndpoint))
