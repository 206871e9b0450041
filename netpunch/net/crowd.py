"""The socket of a control node: it may hear a crowd at once, and answers a crowd at once."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from netpunch.address import Address
from netpunch.core.events import Via
from netpunch.net.batch import Receiver, Sender
from netpunch.net.driver import Driver, Endpoint, clock

CROWD = 4
"""Datagrams: fewer cost less one by one."""

LOOK_EVERY = 0.01
"""Seconds: so often it is looked whether there is a crowd. To look for a second datagram after each
one would make answering those who ask one by one a third more expensive; not to look for long would
let a crowd wait where many other sockets share the loop."""


class CrowdEndpoint(Endpoint):
    """Reads one by one what comes one by one, and a crowd in batches."""

    __slots__ = ("_in_crowd", "_look_at", "_receiver", "_sender")

    def __init__(self, driver: Driver, via: Via, sock: socket.socket) -> None:
        super().__init__(driver, via, sock)
        self._receiver = Receiver(sock.family, driver.max_datagram)
        self._sender = Sender(sock.family, driver.max_datagram)
        self._in_crowd = False
        self._look_at = clock()

    def read(self) -> None:
        now = clock()
        if self._in_crowd or now >= self._look_at:
            self._in_crowd = self._read_batch(now) >= CROWD
            self._look_at = now + LOOK_EVERY
        else:
            self._read_one()  # the loop calls again if there are more
        self._driver.pump()

    def send_together(self, datagrams: Sequence[bytes], destinations: Sequence[Address], /) -> bool:
        self._sender.send(self._sock, datagrams, destinations, self._driver.count_error)
        return True

    def _read_batch(self, now: float) -> int:
        """How many there were."""
        try:
            arrived = self._receiver.receive(self._sock)
        except OSError as error:
            self._count(error)
            return 0
        take, via = self._driver.take, self.via
        for data, source in arrived:
            take(data, source, now, via)
        return len(arrived)
