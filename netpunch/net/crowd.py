"""The socket of a control node: it may hear a crowd at once, and answers a crowd at once."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from netpunch.core.events import Via
from netpunch.core.machine import Transmit
from netpunch.net.batch import Receiver, Sender
from netpunch.net.driver import Driver, Endpoint, clock

CROWD = 4
"""Datagrams: fewer cost less one by one."""

ALONE = 15
"""Datagrams that are read one by one before it is looked whether others wait behind them. To look
after each would cost a third of what it takes to answer who comes alone."""


class CrowdEndpoint(Endpoint):
    """Reads one by one what comes one by one, and a crowd in batches."""

    __slots__ = ("_alone", "_receiver", "_sender")

    def __init__(self, driver: Driver, via: Via, sock: socket.socket) -> None:
        super().__init__(driver, via, sock)
        self._receiver = Receiver(sock.family, driver.max_datagram)
        self._sender = Sender(sock.family, driver.max_datagram)
        self._alone = ALONE

    def read(self) -> None:
        if self._alone:
            self._alone -= 1
            self._read_one()  # the loop calls again if there is more
        elif self._read_batch() < CROWD:
            self._alone = ALONE
        self._driver.pump()

    def send_together(self, transmits: Sequence[Transmit]) -> bool:
        datagrams, destinations, *_ = zip(*transmits, strict=True)
        self._sender.send(self._sock, datagrams, destinations, self._driver.count_error)
        return True

    def _read_batch(self) -> int:
        try:
            arrived = self._receiver.receive(self._sock)
        except OSError as error:
            self._count(error)
            return 0
        take, now, via = self._driver.take, clock(), self.via
        for data, source in arrived:
            take(data, source, now, via)
        return len(arrived)
