"""A control node on real sockets."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Sequence

from netpunch.address import Address
from netpunch.core.control.node import ControlNode
from netpunch.core.events import Event
from netpunch.errors import NetpunchError
from netpunch.net.driver import Driver, Observer
from netpunch.net.sockets import SocketOptions, bind
from netpunch.net.wildcard import open_listener
from netpunch.wire.envelope import CONTROL_DATAGRAM

RECEIVE_BUFFER = 4 * 1024 * 1024
"""Bytes: at 384 a datagram some 5,000 (with the kernel's overhead), so that a hook's fork or a
burst of a whole fleet drops nothing. The system may give less."""


class Listener:
    """Binds every address of `listen`, (host, port) each, and serves from `open` to `close`;
    those of `observe` only if that can be had: without them only the NAT class is lost.

    `observer` sees every event and, with `trace`, every datagram."""

    def __init__(
        self,
        machine: ControlNode,
        listen: Sequence[tuple[str, int]],
        *,
        observe: Sequence[tuple[str, int]] = (),
        observer: Observer | None = None,
        trace: bool = True,
    ) -> None:
        self.addresses: list[Address] = []
        """What is bound: `listen`, then `observe`."""
        self.refused: list[NetpunchError] = []
        """Why addresses of `observe` are not bound."""
        self._machine = machine
        self._listen = listen
        self._observe = observe
        self._observer = observer
        self._trace = trace
        self._driver: Driver | None = None

    def open(self) -> None:
        """Binds; the machine serves from now on. Raises PortInUseError, PermissionsError or
        ConfigurationError, and then nothing is bound."""
        sockets: list[socket.socket] = []
        try:
            for host, port in self._listen:
                sockets += bind(host, port, SocketOptions(receive_buffer=RECEIVE_BUFFER))
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
            max_datagram=CONTROL_DATAGRAM + 1,  # what is longer is nobody's, and known by that
        )
        open_listener(self._driver, dict(enumerate(sockets)))

    def close(self) -> None:
        """The ports are free when it returns."""
        if self._driver is not None:
            self._driver.close()

    def pump(self) -> None:
        """To be called after calling one of the machine's methods."""
        assert self._driver is not None
        self._driver.pump()

    @property
    def send_errors(self) -> Counter[str]:
        """Datagrams that the system did not send, by errno name."""
        return self._driver.send_errors if self._driver is not None else Counter()

    @property
    def queue_drops(self) -> int:
        """Datagrams that the system threw away because nobody read them in time."""
        return self._driver.queue_drops if self._driver is not None else 0

    def _take_event(self, event: Event) -> None:
        if self._observer is not None:
            self._observer(event)
