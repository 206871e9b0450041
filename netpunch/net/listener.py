"""A control node on real sockets."""

from __future__ import annotations

import socket
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from netpunch.address import Address
from netpunch.core.control.node import ControlNode
from netpunch.core.events import Event, Registered, Via
from netpunch.errors import NetpunchError
from netpunch.net.driver import Driver, Endpoint, Observer
from netpunch.net.sockets import SocketOptions, bind, local_address
from netpunch.net.wildcard import on_wildcard
from netpunch.wire.envelope import CONTROL_DATAGRAM

if TYPE_CHECKING:
    import ssl

    from netpunch.net.tls_listener import TlsEndpoint

PlainEndpoint: type[Endpoint] = Endpoint
if sys.platform == "linux":
    from netpunch.net.batch import BatchEndpoint, batches_allowed

    if batches_allowed():
        PlainEndpoint = BatchEndpoint

RECEIVE_BUFFER = 4 * 1024 * 1024
"""Bytes: enough for 5,000 datagrams of 384 (with the kernel's overhead), so that a hook's fork or a
burst of a whole fleet drops nothing. The system may grant less."""

HIGHEST_PORT = 65535


class TlsAt(NamedTuple):
    """Where a control takes TLS connections, and with which certificate."""

    host: str
    port: int
    context: ssl.SSLContext


class Listener:
    """Binds every address of `listen`, (host, port) each, and serves from `open` to `close`. It
    binds those of `observe` (None: the port after each of `listen`) if it can: without them ends
    don't learn how their NAT maps. It relays at every address of `relay`, whose ports follow each
    other.
    With `tls` it takes the same datagrams over TLS, too.

    `observer` sees every event and, with `trace`, every datagram."""

    def __init__(
        self,
        machine: ControlNode,
        listen: Sequence[tuple[str, int]],
        *,
        observe: Sequence[tuple[str, int]] | None = (),
        relay: Sequence[tuple[str, int]] = (),
        tls: TlsAt | None = None,
        observer: Observer | None = None,
        trace: bool = True,
    ) -> None:
        self.listening: list[Address] = []
        """The bound addresses of `listen`."""
        self.observing: list[Address] = []
        """Those of `observe`."""
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
        opened: list[socket.socket] = []
        try:
            self._open(opened)
        except BaseException:
            self.close()
            for sock in opened:
                sock.close()
            raise

    def _open(self, opened: list[socket.socket]) -> None:
        """Adds each socket to `opened`."""
        options = SocketOptions(receive_buffer=RECEIVE_BUFFER)
        for host, port in self._listen:
            opened += bind(host, port, options)
        listening = opened[:]
        for host, port in self._relay:
            opened += bind(host, port, options)
        relaying = opened[len(listening) :]
        if self._tls is not None:
            from netpunch.net.tcp import listen  # few controls use it

            opened.append(listen(self._tls.host, self._tls.port))
        self.listening = list(map(local_address, listening))
        observing: list[socket.socket] = []
        for host, port in self._next_ports() if self._observe is None else self._observe:
            try:
                observing += bind(host, port)
            except NetpunchError as error:
                self.refused.append(error)
        opened += observing
        self.observing = list(map(local_address, observing))
        self._driver = Driver(
            self._machine,
            on_event=self._take_event,
            observer=self._observer if self._trace else None,
            max_datagram=CONTROL_DATAGRAM + 1,  # one more byte shows that a datagram is too long
        )
        open_listener(self._driver, dict(enumerate(listening + observing)))
        if relaying:
            self._open_relay(self._driver, relaying)
        if self._tls is not None:
            streams = opened[len(listening) + len(relaying)]
            self._open_tls(self._driver, streams, self._tls)

    def close(self) -> None:
        """Closes the sockets: the ports are free when it returns."""
        if self._driver is not None:
            self._driver.close()

    def pairs_removed(self, names: Iterable[str]) -> None:
        """Call it after the machine was told to serve these pairs no longer."""
        if self.tls is not None:
            for name in names:
                self.tls.removed(name)
        self.pump()

    def pump(self) -> None:
        """Call it after calling one of the machine's methods."""
        assert self._driver is not None
        self._driver.pump()

    @property
    def addresses(self) -> list[Address]:
        """Where it answers: `listening`, then `observing`."""
        return self.listening + self.observing

    @property
    def send_errors(self) -> Counter[str]:
        """How many datagrams the system refused to send, by errno name."""
        return self._driver.send_errors if self._driver is not None else Counter()

    @property
    def queue_drops(self) -> int:
        """How many datagrams the system dropped because they were not read in time."""
        return self._driver.queue_drops if self._driver is not None else 0

    def _next_ports(self) -> list[tuple[str, int]]:
        """Where ends ask for an observation if nothing says otherwise, unless they can already."""
        after = [(each.host, each.port + 1) for each in self.listening]
        return [each for each in after if each not in self.listening and each[1] <= HIGHEST_PORT]

    def _open_relay(self, driver: Driver, sockets: Sequence[socket.socket]) -> None:
        from netpunch.net.relay import RelayPaths, relay_endpoint  # few controls relay

        relay = self._machine.v2.relay
        is_traced = self._trace and self._observer is not None
        make = partial(relay_endpoint, RelayPaths(relay), is_traced)
        self.relay_addresses = [driver.attach(sock, endpoint=make).local for sock in sockets]
        ports = {address.port for address in self.relay_addresses}
        relay.port, relay.more_ports = min(ports), len(ports) - 1

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
            self.tls.registered(event.pair, event.address)
        if self._observer is not None:
            self._observer(event)


def open_listener(driver: Driver, sockets: Mapping[Via, socket.socket]) -> None:
    """As `driver.open()`, but wildcard sockets answer from the address that was asked, on Linux."""
    driver.open(sockets, endpoint=partial(on_wildcard, PlainEndpoint))
