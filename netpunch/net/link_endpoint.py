"""The socket of a held link whose program is in this process. Linux only."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from netpunch.address import Address
from netpunch.core.events import Via
from netpunch.core.machine import Machine
from netpunch.net.carrying import CarryingEndpoint
from netpunch.net.driver import Driver
from netpunch.net.program import Program
from netpunch.wire.envelope import Buffer
from netpunch.wire.sealed import OVERHEAD

ALONE = 65
"""Datagrams to receive one by one between two checks whether more wait: what has waited is received
as fast as it is sent for so long. Not a power of two, as in `net.bulk`."""


class LinkEndpoint(CarryingEndpoint):
    """Its program gets and sends each datagram by itself, but those of a burst leave together."""

    __slots__ = ()

    def __init__(
        self, machine: Machine, program: Program, driver: Driver, via: Via, sock: socket.socket
    ) -> None:
        super().__init__(machine, program, driver, via, sock, joins=False, alone=ALONE)

    def joinable(self, payloads: Sequence[Buffer], /) -> int:
        more = 0 if self._machine.sealing is None else OVERHEAD
        return self._outlet.joinable([len(each) + more for each in payloads])

    def put_together(self, payloads: Sequence[Buffer], destination: Address, /) -> bool:
        sealing = self._machine.sealing
        if sealing is not None:
            payloads = sealing.seal(payloads)
        pinned = self._source if destination == self._pinned else ()
        return self._outlet.put_together(payloads, len(payloads[0]), destination, pinned)
