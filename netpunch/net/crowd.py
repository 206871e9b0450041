"""The socket of a control node: it may hear a crowd at once, and answers a crowd at once."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from netpunch.core.events import Via
from netpunch.core.machine import Transmit
from netpunch.net.batch import Receiver, Sender
from netpunch.net.driver import ANSWERED_AT_ONCE, Driver, Endpoint, clock

CROWD = 8
"""Datagrams found together: the next time there will be as many, then nobody reads one by one."""


class CrowdEndpoint(Endpoint):
    """Reads one by one what comes one by one, and the rest in batches."""

    __slots__ = ("_in_crowd", "_receiver", "_sender")

    def __init__(self, driver: Driver, via: Via, sock: socket.socket) -> None:
        super().__init__(driver, via, sock)
        self._receiver = Receiver(sock.family, driver.max_datagram)
        self._sender = Sender(sock.family, driver.max_datagram)
        self._in_crowd = False

    def read(self) -> None:
        if self._in_crowd or self._read_some(ANSWERED_AT_ONCE):
            self._in_crowd = self._read_batch() >= CROWD
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
